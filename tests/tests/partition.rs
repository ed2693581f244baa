//! The reference planners of the benchmark deal cases out as `cargo nextest --partition` does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use thresh_tests::packages;
use thresh_tests::planners::Partition;
use thresh_tests::thresh::scrub;
use thresh_tests::workspace::Kept;

const MACHINES: usize = 3;

/// Binary id and name.
type Case = (String, String);

/// The cases that nextest would run with these flags, in its order: binaries by package, then by kind and name.
fn listed(folder: &Path, flags: &[&str]) -> Vec<Case> {
    let mut command = Command::new("cargo");
    scrub(&mut command);
    command
        .current_dir(folder)
        .args(["nextest", "list", "--message-format", "json"])
        .args(flags);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let suites = list["rust-suites"].as_object().unwrap();
    let mut cases: Vec<Case> = suites
        .iter()
        .flat_map(|(binary, suite)| {
            let cases = suite["testcases"].as_object().unwrap().iter();
            let matching = cases.filter(|(_, case)| case["filter-match"]["status"] == "matches");
            matching.map(|(name, _)| (binary.clone(), name.clone()))
        })
        .collect();
    cases.sort_by_key(|(binary, name)| (place(binary), name.clone()));
    cases
}

/// What nextest sorts binary ids by: `package`, `package::name`, `package::kind/name`.
fn place(id: &str) -> (String, Option<(Option<String>, String)>) {
    let (package, rest) = id.split_once("::").unzip();
    let place = rest.map(|rest| match rest.split_once('/') {
        Some((kind, name)) => (Some(kind.to_owned()), name.to_owned()),
        None => (None, rest.to_owned()),
    });
    (package.unwrap_or(id).to_owned(), place)
}

#[test]
fn planners_deal_cases_out_as_nextest_does() {
    // 14 test binaries, of up to 876 cases.
    let suite = Kept::hold_copy_of(&packages::source("bytes").0, "bytes-partition");
    let all = listed(suite.root(), &[]);
    assert!(all.len() > 100, "{} cases", all.len());
    for partition in Partition::ALL {
        let cases = all.iter().map(|(binary, name)| (binary.as_str(), name.as_str()));
        let dealt = partition.deal(cases, MACHINES);
        for machine in 0..MACHINES {
            let flag = format!("{}:{}/{MACHINES}", partition.word(), machine + 1);
            let ours: BTreeSet<&Case> = all
                .iter()
                .zip(&dealt)
                .filter(|(_, dealt)| **dealt == machine)
                .map(|(case, _)| case)
                .collect();
            let theirs = listed(suite.root(), &["--partition", &flag]);
            assert_eq!(ours, theirs.iter().collect(), "{flag}");
        }
    }
}
