//! Recorded durations of real suites, for models of a farm.
//!
//! Each file of `timings/` is one suite at the commit that its first line names, run several times with
//! `cargo nextest run` on 2 virtual cores that had other work, too. A line that starts with `>` names a test
//! binary by its id; each line below it is a case: its durations in microseconds from spawn to exit, the
//! earliest run first, separated by commas, then a space and its name. Binaries and cases are in nextest's
//! order. Only cases that passed in every run are there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::thresh::repository;

/// The suites that are recorded.
pub const RECORDED: [&str; 5] = ["semver", "ripgrep", "itertools", "clap", "redb"];

/// A case of a recorded suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedCase {
    /// Its test binary's id.
    pub binary: String,
    /// Its name.
    pub name: String,
    /// From spawn to exit, one for each recorded run, the earliest first; at least one.
    pub took: Vec<Duration>,
}

impl TimedCase {
    /// The package's name, which a binary's id starts with.
    pub fn package(&self) -> &str {
        self.binary
            .split_once("::")
            .map_or(self.binary.as_str(), |(package, _)| package)
    }

    /// How long it took in the latest recorded run.
    pub fn latest(&self) -> Duration {
        self.took.last().copied().unwrap_or_default()
    }
}

/// Reads a recorded suite, in nextest's order.
///
/// # Panics
/// When there is none of that name, or its file is malformed.
pub fn recorded(suite: &str) -> Vec<TimedCase> {
    let path: PathBuf = repository()
        .join("tests/timings")
        .join(suite)
        .with_extension("txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text).unwrap_or_else(|line| panic!("{}: this is no case: {line:?}", path.display()))
}

/// Reads the lines of a file; else the first that is malformed.
fn parse(text: &str) -> Result<Vec<TimedCase>, &str> {
    let mut cases = Vec::new();
    let mut binary = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(id) = line.strip_prefix('>') {
            binary = Some(id);
            continue;
        }
        let (took, name) = line.split_once(' ').ok_or(line)?;
        let took: Result<Vec<u64>, _> = took.split(',').map(str::parse).collect();
        cases.push(TimedCase {
            binary: binary.ok_or(line)?.to_owned(),
            name: name.to_owned(),
            took: took
                .map_err(|_| line)?
                .into_iter()
                .map(Duration::from_micros)
                .collect(),
        });
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_suite_can_be_read() {
        for suite in RECORDED {
            let cases = recorded(suite);
            let runs = cases[0].took.len();
            assert!(runs > 1, "{suite} has a history");
            assert!(cases.iter().all(|case| case.took.len() == runs), "{suite}");
        }
    }

    #[test]
    fn names_may_hold_anything() {
        let cases = parse("# suite\n>p::t\n12,13 a b > c\n").expect("it is well-formed");
        assert_eq!((cases[0].name.as_str(), cases[0].package()), ("a b > c", "p"));
        assert_eq!(cases[0].latest(), Duration::from_micros(13));
        assert_eq!(parse("1 a"), Err("1 a"), "no binary");
        assert_eq!(parse(">p\nx a"), Err("x a"), "no duration");
    }
}
