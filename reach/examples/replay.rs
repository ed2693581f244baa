//! Walks commits of a repository and prints how many cases each leaves untouched: by binary and by reach.
//!
//! `replay DIR LINKER COMMITS [--head REV] [-- ARGUMENTS OF cargo test]`: `DIR` is a clone to check commits out in,
//! `LINKER` the wrapper. `REPLAY_SHOW=N` explains the first N cases of each commit that are not reused.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use thresh_core::digest::Digest;
use thresh_reach::{Analysis, Locations, explain};

struct Plan {
    folder: PathBuf,
    linker: PathBuf,
    state: PathBuf,
    arguments: Vec<String>,
    shown: usize,
}

struct Binary {
    digest: Digest,
    analysis: Option<Analysis>,
}

/// What one commit built: test binaries by name.
type Built = BTreeMap<String, Binary>;

#[derive(Default)]
struct Tally {
    cases: usize,
    binary: usize,
    exact: usize,
    masked: usize,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().unwrap_or_else(|| panic!("{what} is missing"));
    let folder = PathBuf::from(next("DIR"));
    let linker = PathBuf::from(next("LINKER"));
    let count = next("COMMITS");
    let mut rest: Vec<String> = arguments.collect();
    let head = match rest.iter().position(|argument| argument == "--head") {
        Some(at) => rest.drain(at..at + 2).next_back().expect("a revision"),
        None => "HEAD".to_owned(),
    };
    rest.retain(|argument| argument != "--");
    let plan = Plan {
        state: folder.with_extension("replay"),
        folder,
        linker,
        arguments: rest,
        shown: std::env::var("REPLAY_SHOW")
            .ok()
            .and_then(|shown| shown.parse().ok())
            .unwrap_or(0),
    };
    fs::create_dir_all(&plan.state).expect("a folder for graphs");
    let commits = git(&plan, &["rev-list", "--first-parent", "-n", &count, &head]);
    let commits: Vec<&str> = commits.lines().rev().collect();
    println!("commit     build s  analysis ms  cases  binary  exact  masked  whole");
    let mut last: Option<Built> = None;
    let mut sum = Tally::default();
    for commit in commits {
        git(&plan, &["checkout", "-q", "--force", commit]);
        let Some((built, took)) = build(&plan) else {
            println!("{} does not build", &commit[..8]);
            continue;
        };
        let tally = last
            .as_ref()
            .map(|last| compare(&plan, last, &built))
            .unwrap_or_default();
        print_row(commit, took, &built, &tally);
        for (total, one) in [
            (&mut sum.cases, tally.cases),
            (&mut sum.binary, tally.binary),
            (&mut sum.exact, tally.exact),
            (&mut sum.masked, tally.masked),
        ] {
            *total += one;
        }
        last = Some(built);
    }
    let share = |part: usize| 100.0 * part as f64 / sum.cases.max(1) as f64;
    println!(
        "reused: by binary {:.1} %, by reach {:.1} % exact, {:.1} % without lines; of {} case runs",
        share(sum.binary),
        share(sum.exact),
        share(sum.masked),
        sum.cases
    );
}

fn print_row(commit: &str, took: Duration, built: &Built, tally: &Tally) {
    let analysis: Duration = built
        .values()
        .filter_map(|binary| Some(binary.analysis.as_ref()?.took()))
        .sum();
    let whole = built
        .values()
        .filter_map(|binary| binary.analysis.as_ref()?.whole());
    println!(
        "{}  {:8.1}  {:11.0}  {:5}  {:6}  {:5}  {:6}  {}",
        &commit[..8],
        took.as_secs_f64(),
        analysis.as_secs_f64() * 1e3,
        tally.cases,
        tally.binary,
        tally.exact,
        tally.masked,
        whole.collect::<Vec<_>>().join("; ")
    );
}

fn git(plan: &Plan, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(&plan.folder)
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Builds the tests; none if they do not build.
fn build(plan: &Plan) -> Option<(Built, Duration)> {
    let start = Instant::now();
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--no-run", "--message-format", "json", "-q"])
        .args(&plan.arguments);
    cargo
        .current_dir(&plan.folder)
        .env_remove("CARGO_BUILD_JOBS")
        .env("CARGO_TARGET_DIR", plan.state.join("target"))
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", &plan.linker)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &plan.linker)
        .env(thresh_reach::FOLDER_VARIABLE, plan.state.join("reach"));
    let output = cargo.output().expect("cargo runs");
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let took = start.elapsed();
    let messages = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let mut built = Built::new();
    for message in messages {
        let message: serde_json::Value = serde_json::from_slice(message).expect("json");
        if message["profile"]["test"] != true {
            continue;
        }
        let Some(path) = message["executable"].as_str() else {
            continue;
        };
        let name = format!("{}:{}", message["target"]["kind"][0], message["target"]["name"]);
        built.insert(name, binary(plan, Path::new(path)));
    }
    Some((built, took))
}

fn binary(plan: &Plan, path: &Path) -> Binary {
    let digest = Digest::of(&fs::read(path).expect("the binary"));
    let kept = Analysis::path(&plan.state.join("reach"), &digest);
    let analysis = Analysis::load(&kept);
    if let Err(error) = &analysis {
        eprintln!("{error}");
    }
    Binary {
        digest,
        analysis: analysis.ok(),
    }
}

/// Counts the cases of `new` whose keys are those of the commit before.
fn compare(plan: &Plan, old: &Built, new: &Built) -> Tally {
    let mut tally = Tally::default();
    for (name, binary) in new {
        let Some(analysis) = &binary.analysis else {
            continue;
        };
        let before = old.get(name);
        let keys = |locations| {
            let analysis = before.and_then(|before| before.analysis.as_ref());
            let keys = analysis.into_iter().flat_map(|analysis| analysis.keys(locations));
            keys.map(|key| (key.name, key.key)).collect::<BTreeMap<_, _>>()
        };
        let (exact, masked) = (keys(Locations::Exact), keys(Locations::IgnoreUnlessObserved));
        let mut shown = 0;
        for key in analysis.keys(Locations::Exact) {
            tally.cases += 1;
            tally.binary += usize::from(before.is_some_and(|before| before.digest == binary.digest));
            tally.exact += usize::from(exact.get(key.name) == Some(&key.key));
        }
        for key in analysis.keys(Locations::IgnoreUnlessObserved) {
            let same = masked.get(key.name) == Some(&key.key);
            tally.masked += usize::from(same);
            if !same && shown < plan.shown {
                shown += 1;
                let old = before.and_then(|before| before.analysis.as_ref());
                let difference =
                    old.and_then(|old| explain(old, analysis, key.name, Locations::IgnoreUnlessObserved));
                println!(
                    "    {} {}: {difference:#?}",
                    key.name,
                    if key.observes { "(observes)" } else { "" }
                );
            }
        }
    }
    tally
}
