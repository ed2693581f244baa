//! The tool that looks for wrong reuse finds it: with programs in the place of `thresh` that reuse wrongly, or do not.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;
use thresh_tests::workspace::fixture;

/// Begins a program that takes the calls of `thresh run`: `$real` is what they come to without reuse.
const BEGINNING: &str = r#"#!/bin/sh
status=reused passes=true
mkdir -p "$THRESH_HOME"
for arg in "$@"; do [ "$arg" = --no-reuse ] && real=yes; done
"#;

const END: &str = r#"
echo "{\"event\":\"case-ended\",\"binary_id\":\"b\",\"name\":\"one\",\"status\":\"$status\",\"passes\":$passes,\"seconds\":0.1}"
echo '{"event":"run-ended"}'
"#;

fn soundness(program: &str, flags: &[&str]) -> Output {
    let folder = TempDir::new().expect("a temp folder can be made");
    let thresh = folder.path().join("thresh");
    let state = folder.path().join("state");
    let text = format!("{BEGINNING}\nstate={}\n{program}\n{END}", state.display());
    std::fs::write(&thresh, text).expect("the temp folder can be written");
    std::fs::set_permissions(&thresh, PermissionsExt::from_mode(0o755)).expect("it is our file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_soundness"));
    command
        .arg(fixture("basic"))
        .args(flags)
        .env("THRESH_BIN", thresh);
    command.output().expect("it is built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn expect(output: &Output, code: i32, parts: &[&str]) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    for part in parts {
        assert!(out.contains(part), "{part:?} is missing:\n{out}\n{err}");
    }
}

const FAILS: &str = "[ -n \"$real\" ] && status=failed passes=false";

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
    let once =
        format!("{FAILS} && [ -e $state ] && status=passed passes=true; [ -n \"$real\" ] && touch $state");
    let output = soundness(&once, &["--mutants", "1"]);
    expect(
        &output,
        0,
        &["flaky: b one: reused, and passes at times; mutant 1, "],
    );
    assert!(!text(&output.stdout).contains("WRONG"));
}

#[test]
fn what_passes_for_real_is_right() {
    let output = soundness("[ -n \"$real\" ] && status=passed", &["--mutants", "3"]);
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
