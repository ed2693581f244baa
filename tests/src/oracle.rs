//! `cargo nextest` as the oracle: which cases there are and what each comes to.
//!
//! Its JUnit report does not tell a leaky pass from a clean one, and its machine-readable output is
//! experimental, so the statuses are read from the list at the end of its human output, which has all of them.

use crate::status::{Status, Statuses, Word};
use crate::thresh::scrub;
use std::path::Path;
use std::process::Command;

/// What a run of the oracle gave.
#[derive(Debug)]
pub struct OracleRun {
    /// nextest's exit code.
    pub code: Option<i32>,
    /// What each case came to.
    pub statuses: Statuses,
    /// Its standard error, where it reports.
    pub report: String,
}

/// Runs `cargo nextest run --no-fail-fast ARGS` in `folder`.
///
/// # Panics
/// When cargo cannot be started.
pub fn run(folder: &Path, args: &[String]) -> OracleRun {
    let mut command = Command::new("cargo");
    scrub(&mut command);
    command.current_dir(folder).args([
        "nextest",
        "run",
        "--no-fail-fast",
        "--color=never",
        "--show-progress=none",
        "--status-level=none",
        "--final-status-level=all",
        "--success-output=never",
        "--failure-output=never",
    ]);
    command.args(args);
    let output = command.output().expect("cargo is installed");
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    OracleRun {
        code: output.status.code(),
        statuses: statuses(&report),
        report,
    }
}

/// Reads the list that follows the summary.
fn statuses(report: &str) -> Statuses {
    let mut lines = report
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("Summary ["));
    lines.next();
    lines.filter_map(parse).collect()
}

/// Reads one line: status, time in brackets, binary id, name.
fn parse(line: &str) -> Option<((String, String), Status)> {
    let (word, rest) = line.split_once(" [")?;
    let (_, case) = rest.split_once("] ")?;
    let (binary_id, name) = case.trim_start().split_once(' ')?;
    Some(((binary_id.to_owned(), name.to_owned()), status(word.trim())?))
}

fn status(text: &str) -> Option<Status> {
    // After several attempts the last one's outcome is shortened and preceded by `TRY 3`.
    let word = match text.strip_prefix("TRY ") {
        Some(rest) => rest.split_once(' ')?.1,
        None => text,
    };
    Some(match word {
        "SKIP" => return None,
        "PASS" | "SLOW" => Status::PASSED,
        "LEAK" | "SLOW + LEAK" => Status::new(Word::Leaked, true),
        "LEAK-FAIL" | "LKFAIL" => Status::new(Word::Leaked, false),
        "FAIL" | "FAIL + LEAK" | "FL+LK" | "XFAIL" => Status::new(Word::Failed, false),
        "TIMEOUT" | "TMT" => Status::new(Word::TimedOut, false),
        "TIMEOUT-PASS" | "SLOW+TMPASS" | "TMPASS" => Status::new(Word::TimedOut, true),
        flaky if flaky.starts_with("FLAKY ") => Status::new(Word::Flaky, true),
        flaky if flaky.starts_with("FLKY-FL ") => Status::new(Word::Flaky, false),
        // `SIGABRT`, `ABORT SIG 40`, and after several attempts `ABRT`, `SIG 40`.
        _ => Status::new(Word::Crashed, false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_is_read() {
        let report = "
        PASS [   0.008s] before the-summary
     Summary [   1.823s] 6 tests run: 3 passed (1 leaky), 3 failed, 1 skipped
        PASS [   0.008s] c-abi tests::seven
        LEAK [   0.212s] cases::leaks name with [ odd ] signs
        SKIP [         ] cases::outcomes skipped
 FLKY-FL 2/3 [   0.008s] cases a
  TRY 3 ABRT [   0.014s] cases b
 SLOW+TMPASS [   0.302s] cases c
 FAIL + LEAK [   0.335s] cases d
error: test run failed";
        let statuses = statuses(report);
        let read: Vec<String> = statuses
            .iter()
            .map(|((binary, name), status)| format!("{binary}|{name}|{status}"))
            .collect();
        assert_eq!(
            read,
            [
                "c-abi|tests::seven|passed",
                "cases|a|flaky (fails)",
                "cases|b|crashed",
                "cases|c|timed out (passes)",
                "cases|d|failed",
                "cases::leaks|name with [ odd ] signs|leaked",
            ]
        );
    }
}
