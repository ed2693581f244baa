//! The events of a run, as reporters see them.

use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::{CaseIndex, RunId};
use thresh_core::outcome::Outcome;
use thresh_core::reuse::AuditFinding;
use thresh_core::time::Timestamp;
use thresh_core::verdict::CaseStatus;
use thresh_proto::v1;

use super::remapped::RemappedWorker;
use super::summary::RunSummary;
use crate::nextest::ReportSettings;

/// The cases of a run by their index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    /// In the order in which they were submitted.
    pub cases: Vec<CaseLabel>,
    /// Cases that the selection left out and that a JUnit report is to name (nextest `report-skipped`), each
    /// with the reason.
    pub skipped: Vec<(CaseLabel, String)>,
    /// The run's setup scripts.
    pub scripts: Vec<ScriptLabel>,
}

/// A setup script, for a JUnit report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptLabel {
    /// Its name in the configuration.
    pub id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Whether the report holds its output when it passed.
    pub store_success_output: bool,
    /// Whether the report holds its output when it failed.
    pub store_failure_output: bool,
}

impl Roster {
    /// The label of `case`.
    ///
    /// # Panics
    /// When the run has no such case; whoever makes events checks indices first.
    pub fn label(&self, case: CaseIndex) -> &CaseLabel {
        &self.cases[case.at()]
    }
}

/// What a report calls a case, and how it shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseLabel {
    /// nextest's binary id.
    pub binary_id: Arc<str>,
    /// The package that holds the binary.
    pub package: Arc<str>,
    /// The name within the binary.
    pub name: String,
    /// What is shown and stored of it.
    pub report: ReportSettings,
}

/// One thing that happened. A run begins with `RunStarted`, ends with `RunEnded`, and has exactly one
/// `CaseEnded` for every case in between.
#[derive(Clone, Debug)]
pub enum ReportEvent<'a> {
    /// The run was accepted.
    RunStarted(&'a RunStart),
    /// What the coordinator means to do.
    Planned(&'a PlanNews),
    /// A setup script ended.
    SetupScriptEnded(&'a ScriptRecord),
    /// An attempt began.
    CaseStarted {
        /// The case.
        case: CaseIndex,
        /// From 1.
        attempt: u32,
        /// Where it runs.
        worker: &'a str,
    },
    /// An attempt is slow.
    CaseSlow {
        /// The case.
        case: CaseIndex,
        /// From 1.
        attempt: u32,
        /// For how long it has been running.
        elapsed: Duration,
        /// It is being ended for that.
        will_terminate: bool,
    },
    /// An attempt ended.
    AttemptEnded {
        /// The case.
        case: CaseIndex,
        /// How.
        attempt: &'a AttemptRecord,
    },
    /// The last word on a case.
    CaseEnded {
        /// The case.
        case: CaseIndex,
        /// Its status and all its attempts.
        record: &'a CaseRecord,
    },
    /// A case has ended that could have been reused, and its audit found something. Whether a disagreement counts is told in a
    /// note after the end: files may have changed during the run.
    CaseAudited {
        /// The case.
        case: CaseIndex,
        /// What was found.
        finding: &'a AuditFinding,
        /// The run of the pass that would have stood for it, if known.
        past_run: Option<RunId>,
    },
    /// A worker came or went.
    Worker(&'a WorkerChange),
    /// A worker that shows cases the client's files at other paths got its first cases; once for each worker.
    InputsRemapped(&'a RemappedWorker),
    /// A worker that cannot isolate cases as its operator wants got its first cases; once for each thing that is missing.
    IsolationReduced {
        /// Its name.
        worker: &'a str,
        /// What is missing, and why.
        message: &'a str,
    },
    /// Something that people should know; machine formats leave it out.
    Note(&'a str),
    /// The run is over.
    RunEnded(&'a RunSummary),
}

/// The beginning of a run.
#[derive(Clone, Debug)]
pub struct RunStart {
    /// The run.
    pub run_id: RunId,
    /// Whose history it joins.
    pub project: String,
    /// nextest's profile.
    pub profile: String,
    /// All cases of the run.
    pub roster: Arc<Roster>,
    /// Cases that the selection left out.
    pub skipped: usize,
}

/// What the coordinator means to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanNews {
    /// All cases.
    pub cases: u32,
    /// Those that need not run.
    pub reused: u32,
    /// Those of the others that need not run either, and do.
    pub audited: u32,
    /// Slots that are there now.
    pub slots: u32,
    /// Workers that are there now, if known.
    pub workers: Option<u32>,
    /// Sum of the estimates of the cases that will run.
    pub total: Duration,
    /// The longest of them.
    pub longest: Duration,
    /// Cases with an estimate from their own history.
    pub known: u32,
}

impl PlanNews {
    /// The time below which no schedule can come.
    pub fn floor(&self) -> Duration {
        (self.total / self.slots.max(1)).max(self.longest)
    }
}

/// How a setup script ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptRecord {
    /// Its name in the configuration.
    pub id: String,
    /// Where it ran.
    pub worker: String,
    /// What it did.
    pub outcome: Outcome,
    /// For how long it ran.
    pub took: Duration,
    /// What it wrote.
    pub stdout: Captured,
    /// What it wrote.
    pub stderr: Captured,
}

/// One attempt of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRecord {
    /// From 1.
    pub number: u32,
    /// How many there may be.
    pub number_max: u32,
    /// Where it ran.
    pub worker: String,
    /// What it did.
    pub outcome: Outcome,
    /// When it began, by the worker's clock.
    pub started: Timestamp,
    /// For how long it ran.
    pub took: Duration,
    /// What it wrote.
    pub stdout: Captured,
    /// What it wrote.
    pub stderr: Captured,
    /// No further attempt follows.
    pub last: bool,
}

/// What a process wrote to one stream: its beginning and its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The beginning, or everything.
    pub head: Vec<u8>,
    /// The end, if something between was dropped.
    pub tail: Vec<u8>,
    /// Bytes between the two that were not kept.
    pub omitted_bytes: u64,
}

impl Captured {
    /// Standard output and standard error, as the coordinator tells of them.
    pub(crate) fn of_output(output: Option<v1::Output>) -> (Self, Self) {
        let stream = |stream: Option<v1::Stream>| {
            stream.map_or_else(Self::default, |stream| Self {
                head: stream.head.into(),
                tail: stream.tail.into(),
                omitted_bytes: stream.omitted_bytes,
            })
        };
        output.map_or_else(Default::default, |output| {
            (stream(output.stdout), stream(output.stderr))
        })
    }

    /// Whether the process wrote nothing.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty() && self.omitted_bytes == 0
    }

    /// How many bytes are kept.
    pub fn kept_bytes(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Drops all but the first and the last `bytes` bytes.
    pub fn keep_edges(&mut self, bytes: usize) {
        let before = self.kept_bytes();
        if before <= 2 * bytes {
            return;
        }
        if self.tail.is_empty() {
            self.tail = self.head.split_off(bytes.min(self.head.len()));
        }
        self.head.truncate(bytes);
        self.head.shrink_to_fit();
        self.tail.drain(..self.tail.len().saturating_sub(bytes));
        self.tail.shrink_to_fit();
        self.omitted_bytes += (before - self.kept_bytes()) as u64;
    }

    /// All of it as text; what is not UTF-8 is replaced, what was not kept is marked.
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.omitted_bytes > 0 {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("[... {} bytes not kept ...]\n", self.omitted_bytes));
        }
        text.push_str(&String::from_utf8_lossy(&self.tail));
        text
    }
}

/// The last word on a case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRecord {
    /// Its status.
    pub status: CaseStatus,
    /// Every attempt in order; none when it was reused or not run.
    pub attempts: Vec<AttemptRecord>,
}

impl CaseRecord {
    /// A case on which there is no word.
    pub const NOT_RUN: Self = Self {
        status: CaseStatus::NotRun,
        attempts: Vec::new(),
    };

    /// The time that all its attempts took.
    pub fn took(&self) -> Duration {
        self.attempts.iter().map(|attempt| attempt.took).sum()
    }

    /// The status as reports name it: a case that was lost or cancelled counts as not run.
    pub fn status_word(&self) -> &'static str {
        match &self.status {
            CaseStatus::Ended(outcome) if !outcome.is_about_the_case() => CaseStatus::NotRun.word(),
            status => status.word(),
        }
    }
}

/// A worker came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerChange {
    /// Its name.
    pub worker: String,
    /// What happened.
    pub kind: WorkerChangeKind,
    /// Why, if known.
    pub message: String,
    /// Cases that went back to the queue.
    pub requeued: u32,
    /// Slots that it brings or takes away.
    pub slots: u32,
}

/// What happened to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerChangeKind {
    /// It joined the farm.
    Joined,
    /// It said good-bye.
    Left,
    /// It fell silent.
    Lost,
    /// It takes no more cases.
    Cordoned,
}

impl WorkerChangeKind {
    /// The one word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Lost => "lost",
            Self::Cordoned => "cordoned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_kept_and_what_is_dropped_is_counted() {
        let mut whole = Captured {
            head: b"0123456789".to_vec(),
            ..Captured::default()
        };
        whole.keep_edges(5);
        assert_eq!(whole.omitted_bytes, 0);
        whole.keep_edges(2);
        assert_eq!(
            (whole.head.as_slice(), whole.tail.as_slice(), whole.omitted_bytes),
            (&b"01"[..], &b"89"[..], 6)
        );
        let mut cut = Captured {
            head: b"abc".to_vec(),
            tail: b"xyz".to_vec(),
            omitted_bytes: 10,
        };
        cut.keep_edges(1);
        assert_eq!(
            (cut.head.as_slice(), cut.tail.as_slice(), cut.omitted_bytes),
            (&b"a"[..], &b"z"[..], 14)
        );
    }
}
