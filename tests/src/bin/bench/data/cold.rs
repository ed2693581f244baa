//! How soon a worker that has nothing starts its first case, beside what it takes to unpack all of a suite.

use crate::Options;
use crate::figure::Figure;
use crate::measure::median;
use crate::measured::suites;
use std::fs;
use std::path::Path;
use std::process::Command;
use thresh_tests::events::Event;
use thresh_tests::farm::{Farm, WorkerOptions};
use thresh_tests::thresh::{Thresh, scrub};

/// The package that is measured unless a workspace is given.
const DEFAULT: &str = "globset";

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let suites = suites(options, &[DEFAULT]);
    suites
        .flat_map(|measured| suite(&measured.name, measured.folder(), options.repeats))
        .collect()
}

fn suite(name: &str, folder: &Path, repeats: usize) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let mut farm = Farm::start(temp.path());
    let thresh = Thresh::new(folder, temp.path().join("home"));
    let archive = temp.path().join("archive.tar.zst");
    nextest(folder, &["archive", "--workspace", "--archive-file"], &archive);
    let (mut first, mut unpacked) = (Vec::new(), Vec::new());
    // The first run brings the inputs to the coordinator.
    for repeat in 0..=repeats {
        let worker = format!("worker-{repeat}");
        farm.add(&WorkerOptions::new(&worker, 2));
        let url = farm.url();
        let args = ["--workspace", "--no-reuse", "--no-fail-fast", "--farm", &url];
        let finished = thresh.run(&args).expect_code(0);
        farm.remove(&worker);
        let events = finished.events();
        let at = |kind: &str| {
            let found = events.iter().find(|event| event.kind() == kind);
            found
                .and_then(|event: &Event| event.number("at"))
                .expect("the event has a time")
        };
        let to = temp.path().join(format!("unpacked-{repeat}"));
        let seconds = unpack(folder, &archive, &to);
        fs::remove_dir_all(&to).expect("what was unpacked can be removed");
        if repeat > 0 {
            first.push(at("case-started") - at("planned"));
            unpacked.push(seconds);
        }
    }
    let (first, unpacked) = (median(first), median(unpacked));
    let figure = Figure::new(format!("data: {name}, first case of an empty worker"), first, "s");
    vec![figure.at_most(unpacked).beside(unpacked)]
}

/// How long nextest says that it takes to unpack an archive, in seconds.
fn unpack(folder: &Path, archive: &Path, to: &Path) -> f64 {
    fs::create_dir_all(to).expect("a folder can be made");
    let archive = archive.to_str().expect("a temp folder is text");
    let said = nextest(folder, &["list", "--archive-file", archive, "--extract-to"], to);
    let seconds = said.lines().find_map(|line| {
        let (_, after) = line.trim().strip_prefix("Extracted ")?.rsplit_once(" in ")?;
        after.strip_suffix('s')?.parse().ok()
    });
    seconds.unwrap_or_else(|| panic!("nextest does not say how long it took:\n{said}"))
}

/// Runs a command of nextest and returns what it says.
fn nextest(folder: &Path, args: &[&str], path: &Path) -> String {
    let mut command = Command::new("cargo");
    scrub(&mut command);
    command.current_dir(folder).arg("nextest").args(args).arg(path);
    let output = command.output().expect("cargo-nextest is installed");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}:\n{said}");
    said
}
