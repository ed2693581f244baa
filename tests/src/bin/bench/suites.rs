//! Real suites: cold, and when nothing has changed.

use crate::Options;
use crate::figure::Figure;
use crate::measure::{build, cost, freshness_check, median, nextest, thresh};
use crate::measured::suites;
use crate::why::noise;
use std::path::Path;

/// The packages that are measured unless others are given.
const DEFAULT: [&str; 2] = ["semver", "globset"];

/// The most that a verdict may take beyond cargo's own check when nothing has changed, in seconds.
const UNCHANGED: f64 = 0.3;

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let suites = suites(options, &DEFAULT);
    suites
        .flat_map(|measured| suite(&measured.name, measured.folder(), options.repeats))
        .collect()
}

fn suite(name: &str, folder: &Path, repeats: usize) -> Vec<Figure> {
    let home = tempfile::tempdir().expect("a temp folder can be made");
    build(folder);
    // Fills history, lists and stored passes.
    cost(thresh(folder, home.path(), &[]));
    let (mut check, mut double, mut single) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cold, mut unchanged) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        check.push(cost(freshness_check(folder)).wall);
        double.push(cost(nextest(folder, true, &[])).wall);
        single.push(cost(nextest(folder, false, &[])).wall);
        cold.push(cost(thresh(folder, home.path(), &["--no-reuse"])).wall);
        unchanged.push(cost(thresh(folder, home.path(), &[])).wall);
    }
    let cold_noise = noise(&cold, &single, "s");
    let allowed: Vec<f64> = check.iter().map(|check| check + UNCHANGED).collect();
    let unchanged_noise = noise(&unchanged, &allowed, "s");
    let [check, double, single, cold, unchanged] = [check, double, single, cold, unchanged].map(median);
    vec![
        Figure::new(format!("suites: {name}, cargo's freshness check"), check, "s"),
        Figure::new(format!("suites: {name}, nextest"), double, "s"),
        Figure::new(
            format!("suites: {name}, cold (peer: nextest without double spawn)"),
            cold,
            "s",
        )
        .at_most(single)
        .beside(single)
        .because(cold_noise),
        Figure::new(
            format!("suites: {name}, unchanged, beyond cargo's check (peer: nextest)"),
            unchanged - check,
            "s",
        )
        .at_most(UNCHANGED)
        .beside(double - check)
        .because(unchanged_noise),
    ]
}
