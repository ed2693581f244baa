//! `thresh run`, `list`, `affected` and `explain`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use thresh_coordinator::RemoteAddress;
use thresh_core::case::{MaxFail, ThreadsRequired};
use thresh_core::reuse::AuditShare;

use super::{BuildArgs, EngineArgs, FarmArgs, MessageFormat, ReportArgs, SelectArgs, StandingArgs};

/// `thresh run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) standing: StandingArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,

    /// Run as many cases at once: a number, or num-cpus
    #[arg(
        short = 'j',
        long = "test-threads",
        visible_alias = "jobs",
        value_name = "N",
        env = "NEXTEST_TEST_THREADS",
        allow_negative_numbers = true,
        help_heading = "Running"
    )]
    pub(crate) test_threads: Option<TestThreads>,
    /// Attempts after the first for failing cases
    #[arg(long, value_name = "N", env = "NEXTEST_RETRIES", help_heading = "Running")]
    pub(crate) retries: Option<u32>,
    /// What a case is worth that passes only on a later attempt
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        env = "NEXTEST_FLAKY_RESULT",
        help_heading = "Running"
    )]
    pub(crate) flaky_result: Option<FlakyResult>,
    /// Stop starting cases after the first failure
    #[arg(long, overrides_with = "no_fail_fast", help_heading = "Running")]
    pub(crate) fail_fast: bool,
    /// Run all cases, whatever fails
    #[arg(long, overrides_with = "fail_fast", help_heading = "Running")]
    pub(crate) no_fail_fast: bool,
    /// Stop after N failures, like 3 or 3:immediate (which also ends cases that run), or `all`
    #[arg(long, value_name = "N[:MODE]", conflicts_with_all = ["fail_fast", "no_fail_fast"], help_heading = "Running")]
    pub(crate) max_fail: Option<MaxFailFlag>,
    /// One case at a time, its output not captured
    #[arg(long, visible_alias = "nocapture", help_heading = "Running")]
    pub(crate) no_capture: bool,
    /// Build, but run nothing
    #[arg(long, help_heading = "Running")]
    pub(crate) no_run: bool,
    /// What to do when no case is selected
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        env = "NEXTEST_NO_TESTS",
        help_heading = "Running"
    )]
    pub(crate) no_tests: Option<NoTests>,
    /// Run every case, and store no pass
    #[arg(long, help_heading = "Running")]
    pub(crate) no_reuse: bool,
    /// Run so many of the cases that could be reused all the same, like 5% or 0.5%, chosen at random, and record whether they
    /// still pass (see `thresh audit`); default: `reuse.audit` of thresh.toml, else 5% with
    /// --run-priority gate and none otherwise
    #[arg(
        long,
        value_name = "PERCENT",
        conflicts_with = "no_reuse",
        help_heading = "Running"
    )]
    pub(crate) audit: Option<AuditShare>,
    /// A cache of the Remote Execution API, reapi://HOST:PORT[/INSTANCE], in which passes are looked up and stored
    /// besides this machine's own; without --farm, whose coordinator has such a flag
    #[arg(long, value_name = "URL", env = "THRESH_REUSE_FROM", help_heading = "Running")]
    pub(crate) reuse_from: Option<RemoteAddress>,
    /// Print what would be run, reused and how long it may take; run nothing
    #[arg(long, help_heading = "Running", conflicts_with = "no_run")]
    pub(crate) plan: bool,
}

/// What a case is worth that passes only on a later attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlakyResult {
    /// It passes
    Pass,
    /// It fails
    Fail,
}

impl From<FlakyResult> for thresh_core::case::FlakyResult {
    fn from(result: FlakyResult) -> Self {
        match result {
            FlakyResult::Pass => Self::Pass,
            FlakyResult::Fail => Self::Fail,
        }
    }
}

/// What to do when no case is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NoTests {
    /// Exit with code 0
    Pass,
    /// Say so and exit with code 0
    Warn,
    /// Exit with code 4
    Fail,
}

/// `thresh list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// For people, or cargo-nextest's JSON list
    #[arg(short = 'T', long, value_enum, value_name = "FORMAT", default_value = "human")]
    pub(crate) message_format: MessageFormat,
}

const AFFECTED_HELP: &str = "\
Without --base these are the cases for which no stored pass stands: those that `thresh run` would run.

With --base, the commit is checked out into the state folder, built there once (later only what differs), and its cases are \
compared with those of the workspace as it is now, uncommitted changes included. A case is left alone if it reaches the same \
code with the same arguments and environment, and if what it was last seen to read is the same in both. Cases of which it is \
not known what they read are affected by every change: `thresh run` finds out.";

/// `thresh affected`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFFECTED_HELP)]
pub(crate) struct AffectedArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    /// Compare with this commit, branch or tag, in place of stored passes
    #[arg(long, value_name = "REV")]
    pub(crate) base: Option<String>,
    /// For people (and, through a pipe, one case on each line), or one JSON object
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human")]
    pub(crate) message_format: MessageFormat,
    /// Write how cases stand into a file: what a process is asked to that sees the base
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) standings: Option<PathBuf>,
}

/// `thresh explain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The case: its name or a part of it, or `binary-id name`
    pub(crate) case: String,
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    /// The nextest profile
    #[arg(short = 'P', long, value_name = "NAME", env = "NEXTEST_PROFILE")]
    pub(crate) profile: Option<String>,
    /// For people, or one JSON object for each case
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human")]
    pub(crate) message_format: MessageFormat,
}

/// The value of `-j`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TestThreads {
    /// So many, not 0; a negative number is so many fewer than there are cores.
    Count(i64),
    /// One for each core.
    NumCpus,
}

impl TestThreads {
    /// The number of slots on a machine with so many cores.
    pub(crate) fn slots(self, cpus: u32) -> ThreadsRequired {
        match self {
            Self::NumCpus => ThreadsRequired::NumCpus,
            Self::Count(count) => {
                let slots = if count < 0 {
                    i64::from(cpus).saturating_add(count)
                } else {
                    count
                };
                ThreadsRequired::Count(u32::try_from(slots.max(1)).unwrap_or(u32::MAX))
            }
        }
    }
}

impl FromStr for TestThreads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "num-cpus" => Ok(Self::NumCpus),
            Ok(0) => Err("0 slots can run nothing; give a number from 1, or num-cpus".to_owned()),
            Ok(count) => Ok(Self::Count(count)),
            Err(_) => Err("expected a number, or num-cpus".to_owned()),
        }
    }
}

/// The value of `--max-fail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxFailFlag(pub(crate) MaxFail);

impl FromStr for MaxFailFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (count, mode) = text.split_once(':').unwrap_or((text, "wait"));
        let kill_running = match mode {
            "wait" => false,
            "immediate" => true,
            _ => return Err(format!("unknown mode `{mode}`: expected wait or immediate")),
        };
        if count == "all" {
            return Ok(Self(MaxFail::NEVER));
        }
        match count.parse() {
            Ok(count) if count > 0 => Ok(Self(MaxFail {
                count: Some(count),
                kill_running,
            })),
            _ => Err(format!(
                "`{count}` is no number of failures: expected one from 1, or all"
            )),
        }
    }
}

impl RunArgs {
    /// When to stop after failures, if a flag says so.
    pub(crate) fn stop_after(&self) -> Option<MaxFail> {
        let one = MaxFail {
            count: Some(1),
            kill_running: false,
        };
        match self.max_fail {
            Some(MaxFailFlag(max_fail)) => Some(max_fail),
            None if self.no_fail_fast => Some(MaxFail::NEVER),
            None => self.fail_fast.then_some(one),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_from_either_end() {
        let slots = |text: &str| text.parse::<TestThreads>().map(|threads| threads.slots(8));
        assert_eq!(slots("3"), Ok(ThreadsRequired::Count(3)));
        assert_eq!(slots("-2"), Ok(ThreadsRequired::Count(6)));
        assert_eq!(slots("-99"), Ok(ThreadsRequired::Count(1)));
        assert_eq!(slots("num-cpus"), Ok(ThreadsRequired::NumCpus));
        assert!(slots("0").is_err());
        assert!(slots("many").is_err());
    }

    #[test]
    fn max_fail_takes_a_number_and_a_mode() {
        let parse = |text: &str| text.parse().map(|MaxFailFlag(max_fail)| max_fail);
        assert_eq!(
            parse("3"),
            Ok(MaxFail {
                count: Some(3),
                kill_running: false
            })
        );
        assert_eq!(
            parse("1:immediate"),
            Ok(MaxFail {
                count: Some(1),
                kill_running: true
            })
        );
        assert_eq!(parse("all"), Ok(MaxFail::NEVER));
        assert!(parse("0").is_err());
        assert!(parse("1:soon").is_err());
    }
}
