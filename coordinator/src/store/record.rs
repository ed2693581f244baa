//! What goes into the store and comes out of it.

use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_core::reuse::{CaseKey, KeyParts};
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;

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
    /// Runs that have ended.
    pub runs: Vec<RunRecord>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.passes.is_empty() && self.runs.is_empty()
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
