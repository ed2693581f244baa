//! A real suite that `thresh` runs again and again.

use crate::reuse::judge::{Settled, settle, suspects};
use crate::running::{Finished, Running};
use crate::status::{Case, Statuses};
use crate::thresh::Thresh;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::time::Duration;

/// How often a case that was reused and does not pass is run again before it counts as wrong.
const REPEATS: usize = 3;

/// How many cases may be named on one command line.
const NAMED: usize = 500;

/// A workspace, and how it is run.
#[derive(Clone, Debug)]
pub struct Suite {
    thresh: Thresh,
    args: Vec<String>,
    flags: Vec<String>,
    limit: Duration,
}

/// With reuse, or for real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Stored passes are taken, and passes are stored.
    Reuse,
    /// Every case runs; nothing is taken and nothing stored.
    Real,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It has a status for every case.
    Cases,
    /// The suite does not build, or cargo does not take its manifests.
    Unbuilt,
    /// It was built and no case could be planned, or the run took too long and was stopped.
    Stopped(String),
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// What each case came to.
    pub statuses: Statuses,
    /// How long the attempts of each case took together, in seconds.
    pub seconds: BTreeMap<Case, f64>,
    /// How long cargo says it has built, in seconds.
    pub building: f64,
    /// From start to end.
    pub took: Duration,
    /// What was written to standard error.
    pub stderr: String,
}

impl Suite {
    /// Prepares runs of a workspace. `args` are this program's and `flags` the user's, perhaps with a `--` in them. A run
    /// that takes longer than `limit` is stopped.
    pub fn new(thresh: Thresh, args: Vec<String>, flags: Vec<String>, limit: Duration) -> Self {
        Self {
            thresh,
            args,
            flags,
            limit,
        }
    }

    /// Runs the suite.
    pub fn run(&self, how: How) -> Run {
        self.call(how, &[])
    }

    /// Runs the cases that were reused in `first` and do not pass in `real` a few times more for real, and tells flaky
    /// ones from wrong ones.
    pub fn settle(&self, first: &Statuses, real: &Statuses) -> Settled {
        let suspects = suspects(first, real);
        let mut repeats = Vec::new();
        while !suspects.is_empty() && repeats.len() < REPEATS {
            repeats.push(self.call(How::Real, &suspects).statuses);
        }
        settle(suspects, &repeats)
    }

    /// Starts `thresh list` with the same flags and returns what it prints.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn list(&self) -> Finished {
        let mut command = self.thresh.command(&["list", "--message-format", "json"]);
        command.args(&self.flags).process_group(0);
        Running::start(command).finish_within(self.limit)
    }

    fn call(&self, how: How, cases: &[Case]) -> Run {
        let mut command = self
            .thresh
            .command(&["run", "--message-format", "json", "--no-fail-fast"]);
        command.args(&self.args);
        if how == How::Real {
            command.arg("--no-reuse");
        }
        command.args(&self.flags);
        // Several binaries may have a case of one name: then more run than have to.
        if !cases.is_empty() && cases.len() <= NAMED && !self.flags.iter().any(|flag| flag == "--") {
            command.args(["--", "--exact"]);
            command.args(cases.iter().map(|(_, name)| name));
        }
        command.process_group(0);
        Run::of(&Running::start(command).finish_within(self.limit))
    }
}

impl Run {
    fn of(finished: &Finished) -> Self {
        let events = finished.events();
        let ended = events.iter().filter(|event| event.kind() == "case-ended");
        let seconds = ended.map(|event| {
            let case = (event.text("binary_id").to_owned(), event.text("name").to_owned());
            (case, event.number("seconds").unwrap_or(0.0))
        });
        let end = match finished.code() {
            _ if events.iter().any(|event| event.kind() == "run-ended") => End::Cases,
            Some(101 | 96) => End::Unbuilt,
            Some(code) => End::Stopped(format!("exit code {code}")),
            None => End::Stopped("it took too long".to_owned()),
        };
        Self {
            end,
            statuses: finished.statuses(),
            seconds: seconds.collect(),
            building: cargo_seconds(&finished.stderr),
            took: finished.waited,
            stderr: finished.stderr.clone(),
        }
    }

    /// Returns the last lines of standard error, for whoever asks why.
    pub fn why(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// Reads the time from cargo's last line, `Finished ... target(s) in 1m 02s`; 0 when there is none.
fn cargo_seconds(stderr: &str) -> f64 {
    let mut lines = stderr.lines().rev();
    let Some(text) = lines.find_map(|line| Some(line.split_once("target(s) in ")?.1)) else {
        return 0.0;
    };
    let parts = text.split_whitespace().map(|part| {
        let (number, unit) = part.split_at(part.len().saturating_sub(1));
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            _ => 0.0,
        };
        number.parse::<f64>().unwrap_or(0.0) * factor
    });
    parts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_how_long_it_built() {
        let said = |time: &str| {
            cargo_seconds(&format!(
                "   Compiling a\n    Finished `test` profile [unoptimized] target(s) in {time}\nnote: b\n"
            ))
        };
        assert_eq!(said("0.25s"), 0.25);
        assert_eq!(said("1m 02s"), 62.0);
        assert_eq!(said("1h 01m 02s"), 3662.0);
        assert_eq!(cargo_seconds("error: could not compile"), 0.0);
    }
}
