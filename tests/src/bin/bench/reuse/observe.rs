//! What it costs to observe a case: on one slot, without and with, in turns.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cargo_metadata::Message;
use thresh_tests::packages;
use thresh_tests::workspace::Workspace;

use super::cases::{Case, listed, run};
use crate::Options;
use crate::figure::Figure;
use crate::measure::{freshness_check, generate, median};
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
        figures.extend(suite(&named(folder).unwrap_or_default(), folder, options.repeats));
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

fn suite(name: &str, folder: &Path, repeats: usize) -> Vec<Figure> {
    let cases: Vec<Case> = binaries(folder)
        .iter()
        .flat_map(|(binary, cwd)| listed(binary, cwd))
        .collect();
    let observed = run(&cases, true).observations;
    let usable = observed.iter().filter(|seen| seen.unobservable.is_none()).count();
    let [without, with] = in_turns(&cases, repeats);
    let allowed: Vec<f64> = without
        .iter()
        .map(|seconds| seconds * (1.0 + SUITE_MAX))
        .collect();
    let noise = noise(&with, &allowed, "s");
    let [without, with] = [without, with].map(median);
    vec![
        Figure::new(
            format!("reuse: observe, {name}, {} cases", cases.len()),
            with,
            "s",
        )
        .at_most(without * (1.0 + SUITE_MAX))
        .beside(without)
        .because(noise),
        Figure::new(
            format!("reuse: observe, {name}, of them observable"),
            usable as f64,
            "cases",
        ),
    ]
}

/// Seconds without and with, one after the other, so that what else the machine does meets both.
fn in_turns(cases: &[Case], repeats: usize) -> [Vec<f64>; 2] {
    let mut seconds = [const { Vec::new() }; 2];
    for repeat in 0..repeats {
        let mut order = [false, true];
        order.rotate_left(repeat % 2);
        for is_observed in order {
            seconds[usize::from(is_observed)].push(run(cases, is_observed).seconds);
        }
    }
    seconds
}

/// Builds a workspace and returns its test binaries, each with the folder that it is run in.
fn binaries(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut building = freshness_check(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo is there");
    let messages = BufReader::new(building.stdout.take().expect("it is piped"));
    let binary = |message: std::io::Result<Message>| match message.expect("cargo speaks JSON") {
        Message::CompilerArtifact(built) if built.profile.test => {
            let cwd = built.manifest_path.parent()?.to_owned().into_std_path_buf();
            Some((built.executable?.into_std_path_buf(), cwd))
        }
        _ => None,
    };
    let binaries = Message::parse_stream(messages).filter_map(binary).collect();
    let status = building.wait().expect("a child can be waited for");
    assert!(status.success(), "{} does not build", folder.display());
    binaries
}
