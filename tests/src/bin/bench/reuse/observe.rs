//! What it costs to observe cases, without and with, in turns: a trivial one, as if it needed watching, on one slot; and runs
//! of real suites, of which those cases are observed that can open files.

use std::path::{Path, PathBuf};

use thresh_tests::packages;
use thresh_tests::workspace::Workspace;

use super::cases::{Case, listed, run};
use crate::Options;
use crate::figure::Figure;
use crate::measure::{Cost, cost, generate, median, medians, thresh};
use crate::trivial;
use crate::why::noise;

/// The most that it may cost a trivial case, in milliseconds.
const TRIVIAL_MAX: f64 = 0.5;
/// The most that it may cost a suite, as a share of its time.
const SUITE_MAX: f64 = 0.05;
/// The packages that are measured unless others are given.
const DEFAULT: [&str; 2] = ["semver", "globset"];

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let folder = temp.path().join("trivial");
    let binary = generate(&folder, &trivial::suite(options.cases));
    let mut figures = trivial_case(&listed(&binary, &folder), options.repeats);
    let named = |folder: &PathBuf| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    for folder in &options.suites {
        let copy = Workspace::copy_of(folder);
        figures.extend(suite(
            &named(folder).unwrap_or_default(),
            &copy.root(),
            options.repeats,
        ));
    }
    for name in DEFAULT.iter().filter(|_| options.suites.is_empty()) {
        let (source, version) = packages::source(name);
        let copy = Workspace::copy_of(&source);
        figures.extend(suite(&format!("{name} {version}"), &copy.root(), options.repeats));
    }
    figures
}

fn trivial_case(cases: &[Case], repeats: usize) -> Vec<Figure> {
    let [without, with] = in_turns(cases, repeats).map(|seconds| {
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
    let mut costs = [const { Vec::<Cost>::new() }; 2];
    for repeat in 0..repeats {
        let mut order = [(0, "workspace"), (1, "seen")];
        order.rotate_left(repeat % 2);
        for (at, files) in order {
            costs[at].push(run(files));
        }
    }
    let walls = |costs: &[Cost]| costs.iter().map(|cost| cost.wall).collect::<Vec<_>>();
    let [allowed, with] = costs.each_ref().map(|costs| walls(costs));
    let allowed: Vec<f64> = allowed.iter().map(|wall| wall * (1.0 + SUITE_MAX)).collect();
    let noise = noise(&with, &allowed, "s");
    let [without, with] = costs.map(|costs| medians(&costs));
    let row = |what: &str, value: f64| Figure::new(format!("reuse: observe, {name}, {what}"), value, "s");
    vec![
        row(
            "a run that reuses nothing (peer: with files = \"workspace\")",
            with.wall,
        )
        .at_most(without.wall * (1.0 + SUITE_MAX))
        .beside(without.wall)
        .because(noise),
        row(
            "processor time of it (peer: with files = \"workspace\")",
            with.cpu,
        )
        .beside(without.cpu),
    ]
}

/// Seconds without and with, one after the other, so that what else the machine does meets both.
fn in_turns(cases: &[Case], repeats: usize) -> [Vec<f64>; 2] {
    let mut seconds = [const { Vec::new() }; 2];
    for repeat in 0..repeats {
        let mut order = [false, true];
        order.rotate_left(repeat % 2);
        for is_observed in order {
            seconds[usize::from(is_observed)].push(run(cases, is_observed));
        }
    }
    seconds
}
