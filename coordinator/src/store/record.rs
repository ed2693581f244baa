//! What goes into the store and comes out of it.

use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::{LeaseId, RunId};
use thresh_core::outcome::Outcome;
use thresh_core::reuse::{CaseKey, KeyParts};
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;

use super::audit::AuditRecord;

/// Names a test case within a project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseId {
    /// The id of its binary.
    pub binary_id: Arc<str>,
    /// Its name within the binary.
    pub name: Arc<str>,
}

/// Rows that are written together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Accepted attempts.
    pub attempts: Vec<AttemptRecord>,
    /// Clean passes to reuse.
    pub passes: Vec<PassRecord>,
    /// What audits of passes found.
    pub audits: Vec<AuditRecord>,
    /// Runs that have ended.
    pub runs: Vec<RunRecord>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.passes.is_empty() && self.audits.is_empty() && self.runs.is_empty()
    }
}

/// One accepted attempt.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The project.
    pub project: Arc<str>,
    /// The case.
    pub case: CaseId,
    /// The run.
    pub run: RunId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The worker's name.
    pub worker: Arc<str>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub started: Timestamp,
    /// From spawn to exit.
    pub took: Duration,
    /// When its case was granted to the worker.
    pub granted: Option<Timestamp>,
    /// Why its case went to this worker, in a word; empty when nobody noted it.
    pub why: &'static str,
    /// The lease under which it was granted. Of attempts that agree in run, case, number and lease only the first
    /// is recorded; those without a lease are all recorded.
    pub lease: Option<LeaseId>,
}

/// A clean pass that may be reused.
#[derive(Clone, Debug)]
pub struct PassRecord {
    /// The project.
    pub project: Arc<str>,
    /// The case.
    pub case: CaseId,
    /// The run.
    pub run: RunId,
    /// When it was settled.
    pub at: Timestamp,
    /// What its key is made of.
    pub parts: KeyParts,
}

impl PassRecord {
    /// The key under which it is found.
    pub fn key(&self) -> CaseKey {
        self.parts.case_key(&self.case.name)
    }
}

/// An ended run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// The project.
    pub project: Arc<str>,
    /// What the user asked to be run.
    pub title: String,
    /// When it was submitted.
    pub started: Timestamp,
    /// From the first grant to the last outcome.
    pub took: Duration,
    /// Why it ended.
    pub reason: StopReason,
    /// Its cases by status.
    pub tally: Tally,
}

/// What is known of a case.
#[derive(Clone, Debug)]
pub struct PastCase {
    /// The case.
    pub case: CaseId,
    /// Attempts that said something about the case.
    pub attempts: u32,
    /// Those of them that did not pass.
    pub failures: u32,
    /// Runs in which it both failed and passed, since its history began.
    pub flaky_runs: u32,
    /// The share of such runs among the last 20 in which it was tried, from 0 to 1; 0 when it never was.
    pub flake_rate: f64,
    /// The newest attempts, newest first.
    pub newest: Vec<PastAttempt>,
}

/// An attempt of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// The run.
    pub run: RunId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The worker's name.
    pub worker: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub started: Timestamp,
    /// From spawn to exit.
    pub took: Duration,
}

/// A key that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPass {
    /// The key's position in the question.
    pub position: usize,
    /// When the pass was last used.
    pub used: Timestamp,
    /// The run that passed.
    pub run: RunId,
}

/// The newest clean pass of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastPass {
    /// The run.
    pub run: RunId,
    /// When it was settled.
    pub at: Timestamp,
    /// What its key was made of.
    pub parts: KeyParts,
}

/// What happened in a run.
#[derive(Clone, Debug)]
pub struct RunTimeline {
    /// The run; `None` when it has not ended.
    pub record: Option<RunRecord>,
    /// Its attempts by when they were granted, else by when they began.
    pub attempts: Vec<TimelineAttempt>,
}

/// An attempt of a run.
#[derive(Clone, Debug)]
pub struct TimelineAttempt {
    /// The case.
    pub case: CaseId,
    /// What was done.
    pub attempt: PastAttempt,
    /// When the case was granted to the worker.
    pub granted: Option<Timestamp>,
    /// Why it went to this worker, in a word; empty when nobody noted it.
    pub why: String,
    /// The lease under which it was granted; leases are numbered anew when a coordinator starts.
    pub lease: Option<LeaseId>,
}

/// A case that may fail without failing its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The case.
    pub case: CaseId,
    /// Who sees to it.
    pub owner: String,
    /// Why it is here.
    pub reason: String,
    /// When it was put here.
    pub since: Timestamp,
    /// When it counts again.
    pub until: Timestamp,
}

impl Quarantine {
    /// Whether the case counts again.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.until <= now
    }
}
