//! What it costs to observe cases, without and with, in turns: a trivial one, as if it needed watching, on one slot; and runs
//! of real suites, of which those cases are observed that can open files.

use std::path::Path;

use super::beside;
use super::cases::{Case, listed, run};
use crate::Options;
use crate::figure::Figure;
use crate::measure::{cost, generate, in_turns, median, thresh};
use crate::measured::{Suite, suites};
use crate::trivial;
use crate::why::noise;

/// The most that it may cost a trivial case, in milliseconds.
const TRIVIAL_MAX: f64 = 0.5;
/// The packages that are measured unless others are given.
const DEFAULT: [&str; 2] = ["semver", "globset"];

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let folder = temp.path().join("trivial");
    let binary = generate(&folder, &trivial::suite(options.cases));
    let mut figures = trivial_case(&listed(&binary, &folder), options.repeats);
    let suites = suites(options, &DEFAULT).map(Suite::copied);
    figures.extend(suites.flat_map(|measured| suite(&measured.name, measured.folder(), options.repeats)));
    figures
}

fn trivial_case(cases: &[Case], repeats: usize) -> Vec<Figure> {
    let [without, with] = in_turns(repeats, |is_observed| run(cases, is_observed)).map(|seconds| {
        let each = seconds.iter().map(|seconds| 1e3 * seconds / cases.len() as f64);
        each.collect::<Vec<_>>()
    });
    let allowed: Vec<f64> = without.iter().map(|each| each + TRIVIAL_MAX).collect();
    let noise = noise(&with, &allowed, "ms");
    let [without, with] = [without, with].map(median);
    vec![
        Figure::new("reuse: observe, a trivial case", with, "ms").beside(without),
        Figure::new(
            "reuse: observe, a trivial case, beyond one unobserved",
            with - without,
            "ms",
        )
        .at_most(TRIVIAL_MAX)
        .because(noise),
    ]
}

/// Whole runs in which no pass is reused, with cargo's check and cases that need no watching. The peer observes nothing, and makes
/// digests of the whole workspace instead.
fn suite(name: &str, folder: &Path, repeats: usize) -> Vec<Figure> {
    let home = tempfile::tempdir().expect("a temp folder can be made");
    let mut round = 0;
    let mut run = |files: &str| {
        let settings = format!("[reuse]\nfiles = \"{files}\"\n");
        std::fs::write(folder.join("thresh.toml"), settings).expect("a copy can be written");
        // Every variable counts, so that no earlier pass stands for one of this run. Some suites have cases that now and then fail.
        round += 1;
        let mut command = thresh(folder, home.path(), &["--workspace", "--retries=2"]);
        command.env("ROUND", round.to_string());
        cost(command)
    };
    // Builds.
    run("seen");
    let costs = in_turns(repeats, |is_observed| {
        run(if is_observed { "seen" } else { "workspace" })
    });
    let name = format!("observe, {name}, a run that reuses nothing (peer: with files = \"workspace\")");
    beside(&name, &costs)
}
