//! Replays of a history of three commits.

use crate::program::{FAILS, FAILS_ONCE, PASSES, expect, text, write};
use std::process::{Command, Output};
use tempfile::TempDir;
use thresh_tests::workspace::Workspace;

fn replay(middle: &str, flags: &[&str]) -> Output {
    let folder = TempDir::new().expect("a temp folder can be made");
    let thresh = write(folder.path(), middle);
    let workspace = Workspace::git("basic");
    for content in ["second\n", "good\n"] {
        workspace.write("data/value.txt", content);
        workspace.git_do(&["commit", "--quiet", "--all", "--message", content.trim()]);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
    command
        .arg(workspace.root())
        .args(flags)
        .env("THRESH_BIN", thresh);
    command.output().expect("it is built")
}

#[test]
fn a_reused_case_that_fails_for_real_is_wrong() {
    let output = replay(FAILS, &[]);
    let total =
        "total       2      0        0          -         2       0.20   0.20  0.0    0.00      2      0";
    expect(&output, 1, &[total, "WRONG: b one at ", "100.0 % reused"]);
}

#[test]
fn a_case_that_passes_when_repeated_is_flaky() {
    let output = replay(FAILS_ONCE, &[]);
    expect(&output, 0, &["flaky: b one at ", "100.0 % reused"]);
    assert!(!text(&output.stdout).contains("WRONG"));
}

#[test]
fn cases_are_known_by_tree_and_by_binary() {
    // The last commit has the tree of the first; the binary is always this program.
    let total = "total       2      1        2          -         2";
    expect(
        &replay(PASSES, &[]),
        0,
        &[total, "50.0 % by tree, 100.0 % by binary"],
    );
    let never = "status=passed";
    expect(
        &replay(never, &[]),
        0,
        &["100.0 % by binary, 0.0 % reused; 0.0 % of the time"],
    );
    let why = "b one: the same binary: something else changed";
    expect(&replay(never, &["--explain", "1"]), 0, &[why]);
}

#[test]
fn commits_that_do_not_build_are_skipped_and_one_alone_says_nothing() {
    let breaks = "grep -q second data/value.txt && exit 101\n[ -n \"$real\" ] && status=passed";
    expect(
        &replay(breaks, &[]),
        0,
        &["skipped: it does not build", "total       1 "],
    );
    expect(&replay(PASSES, &["--commits", "1"]), 1, &[]);
    expect(
        &replay(PASSES, &["--minutes", "0"]),
        1,
        &["The time is over: 3 commits are left."],
    );
    assert_eq!(replay(PASSES, &["--head", "nosuch"]).status.code(), Some(2));
}
