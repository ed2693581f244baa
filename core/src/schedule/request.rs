//! A run as the scheduler sees it: what to decide about, nothing of how to execute it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::case::{FlakyResult, MaxFail, RetryPolicy, TestGroup, ThreadsRequired};
use crate::digest::Digest;
use crate::id::{BinaryIndex, GroupIndex};
use crate::outcome::Outcome;
use crate::verdict::CaseStatus;

/// What a run is for. A greater one is always served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunPriority {
    /// It may turn out not to be needed: a guess at a future trunk.
    Speculative,
    /// Somebody works on it.
    #[default]
    Interactive,
    /// Trunk, after it has landed.
    Trunk,
    /// A change that waits to land.
    Gate,
    /// The change that is to make a red trunk green.
    TrunkFix,
}

impl RunPriority {
    /// All, the least urgent first.
    pub const ALL: [Self; 5] = [
        Self::Speculative,
        Self::Interactive,
        Self::Trunk,
        Self::Gate,
        Self::TrunkFix,
    ];

    /// The one word for it, the same in flags, on the wire and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Speculative => "speculative",
            Self::Interactive => "interactive",
            Self::Trunk => "trunk",
            Self::Gate => "gate",
            Self::TrunkFix => "trunk-fix",
        }
    }
}

impl fmt::Display for RunPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The text names no priority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such priority: expected speculative, interactive, trunk, gate or trunk-fix")]
pub struct InvalidRunPriority;

impl FromStr for RunPriority {
    type Err = InvalidRunPriority;

    fn from_str(text: &str) -> Result<Self, InvalidRunPriority> {
        let found = Self::ALL.into_iter().find(|priority| priority.word() == text);
        found.ok_or(InvalidRunPriority)
    }
}

/// A run as the scheduler sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// The platform (target triple) of its binaries.
    pub platform: String,
    /// Only a worker that shares the client's files can take it.
    pub in_place: bool,
    /// Who submitted it: submitters share the farm.
    pub submitter: String,
    /// What it is for.
    pub priority: RunPriority,
    /// Its verdict is wanted by then, counted from its submission.
    pub deadline: Option<Duration>,
    /// When to stop after failures.
    pub max_fail: MaxFail,
    /// The run is cancelled after this.
    pub global_timeout: Option<Duration>,
    /// Its test groups.
    pub groups: Vec<TestGroup>,
    /// Its test binaries.
    pub binaries: Vec<PlannedBinary>,
    /// The cases to execute or to take over, in the client's order.
    pub cases: Vec<PlannedCase>,
}

/// A test binary as the scheduler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBinary {
    /// What names its content.
    pub digest: Digest,
    /// How many bytes a worker that does not hold it has to fetch, roughly; 0 in place.
    pub bytes: u64,
}

/// A case as the scheduler sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedCase {
    /// Its binary.
    pub binary: BinaryIndex,
    /// A clean pass is at hand: the case is settled at once.
    pub reused: bool,
    /// It runs and is reported, but cannot fail the run.
    pub quarantined: bool,
    /// How long it may take, pessimistically; `None` where history knows nothing.
    pub estimate: Option<Duration>,
    /// A duration that it hardly ever exceeds; `None` where history knows too little.
    pub rarely_over: Option<Duration>,
    /// Higher is earlier.
    pub priority: i8,
    /// The slots it takes.
    pub threads_required: ThreadsRequired,
    /// Its test group.
    pub group: Option<GroupIndex>,
    /// When a failed attempt is tried again.
    pub retries: RetryPolicy,
    /// What a pass after a failure is worth.
    pub flaky_result: FlakyResult,
}

impl PlannedCase {
    /// The final status after an attempt that is not tried again.
    pub fn status_after(&self, attempt: u32, outcome: &Outcome) -> CaseStatus {
        match outcome {
            Outcome::Cancelled => CaseStatus::NotRun,
            outcome if outcome.passes() && attempt > 1 => CaseStatus::Flaky {
                passes: self.flaky_result == FlakyResult::Pass || self.quarantined,
            },
            Outcome::Passed => CaseStatus::Passed,
            outcome if self.quarantined && outcome.is_about_the_case() && !outcome.passes() => {
                CaseStatus::Quarantined(outcome.clone())
            }
            outcome => CaseStatus::Ended(outcome.clone()),
        }
    }
}
