//! Mutants of a fixture.

use crate::program::{FAILS, FAILS_ONCE, PASSES, expect, text, write};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;
use thresh_tests::workspace::fixture;

fn soundness(middle: &str, flags: &[&str]) -> Output {
    let folder = TempDir::new().expect("a temp folder can be made");
    let thresh = write(folder.path(), middle);
    let mut command = Command::new(env!("CARGO_BIN_EXE_soundness"));
    command
        .arg(fixture("basic"))
        .args(flags)
        .env("THRESH_BIN", thresh);
    command.output().expect("it is built")
}

#[test]
fn a_reused_case_that_fails_for_real_is_wrong() {
    let output = soundness(FAILS, &["--mutants", "2"]);
    let all = "all       2        0              2       0          2       2      0";
    expect(
        &output,
        1,
        &["WRONG: b one: reused, and never passes; mutant 1, ", all],
    );
}

#[test]
fn a_case_that_passes_when_repeated_is_flaky() {
    let output = soundness(FAILS_ONCE, &["--mutants", "1"]);
    expect(
        &output,
        0,
        &["flaky: b one: reused, and passes at times; mutant 1, "],
    );
    assert!(!text(&output.stdout).contains("WRONG"));
}

#[test]
fn what_passes_for_real_is_right() {
    let output = soundness(PASSES, &["--mutants", "3"]);
    expect(&output, 0, &["3 mutants of "]);
}

#[test]
fn a_suite_without_reuse_proves_nothing() {
    let output = soundness("status=passed", &["--mutants", "1"]);
    expect(&output, 1, &["The unchanged suite reuses nothing"]);
}

#[test]
fn mutants_that_do_not_build_count_apart_and_time_ends_it() {
    // The first two calls are those of the unchanged suite.
    let breaks = "n=$(cat $state 2>/dev/null || echo 0); echo $((n + 1)) >$state; [ $n -ge 2 ] && exit 101";
    let output = soundness(breaks, &["--mutants", "1"]);
    expect(
        &output,
        0,
        &[
            "0 mutants of ",
            "Fewer than the 1 wanted: there are no more places.",
        ],
    );
    let output = soundness(FAILS, &["--mutants", "1000", "--minutes", "0"]);
    expect(&output, 0, &["Fewer than the 1000 wanted: the time is over."]);
}

#[test]
fn the_rows_are_written_and_one_mutant_can_be_played_again() {
    let folder = TempDir::new().expect("a temp folder can be made");
    let rows = |from: &str, mutants: &str, path: &Path| {
        let path = path.to_str().expect("temp folders are text");
        soundness(FAILS, &["--mutants", mutants, "--from", from, "--json", path]);
        let text = std::fs::read_to_string(path).expect("it was written");
        serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON")
    };
    let all = rows("1", "3", &folder.path().join("all.json"));
    let one = rows("3", "1", &folder.path().join("one.json"));
    for field in ["number", "kind", "file", "line", "before", "after", "wrong"] {
        assert_eq!(all[2][field], one[0][field], "{field}");
    }
    assert_eq!(one[0]["wrong"][0]["name"], "one");
    assert_eq!(one.as_array().map(Vec::len), Some(1));
}
