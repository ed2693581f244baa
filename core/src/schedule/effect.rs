//! What the scheduler wants done.

use std::time::Duration;

use crate::id::{CaseIndex, Generation, LeaseId, RunId, WorkerId};
use crate::outcome::Outcome;
use crate::verdict::CaseStatus;

/// What the scheduler wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Give a worker a lease.
    Grant {
        /// To whom.
        worker: WorkerId,
        /// The lease's name.
        lease: LeaseId,
        /// The run.
        run: RunId,
        /// The cases, in the order in which they are to be started.
        cases: Vec<CaseGrant>,
    },
    /// Take cases back from a worker. It answers for each with an ended attempt or a return.
    Revoke {
        /// From whom.
        worker: WorkerId,
        /// The run.
        run: RunId,
        /// Which cases, by their leases; empty: all of the run's that it holds.
        cases: Vec<(CaseIndex, Generation)>,
        /// Whether processes that run are ended, or only what has not started is dropped.
        kill_running: bool,
    },
    /// An attempt was accepted.
    AttemptAccepted {
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// Which attempt, from 1.
        attempt: u32,
        /// Who ran it.
        worker: WorkerId,
        /// How it ended ([`Outcome::Lost`] when the worker went).
        outcome: Outcome,
        /// From spawn to exit, as far as its worker is believed.
        took: Duration,
        /// When another follows: how long until then.
        retry_in: Option<Duration>,
    },
    /// A copy of a case is not needed any more, since another copy was faster. It has been revoked; what its
    /// worker still says of it is stale.
    CopyCancelled {
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// Which attempt, from 1.
        attempt: u32,
        /// Who ran it.
        worker: WorkerId,
        /// Under which generation.
        generation: Generation,
    },
    /// A case has its final status. Comes exactly once for every case of a run.
    CaseSettled {
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// The final status.
        status: CaseStatus,
    },
    /// A run starts no further cases. It ends when what runs has ended. Comes at most once for a run, and not at
    /// all for one whose cases have all been tried.
    RunStopping {
        /// The run.
        run: RunId,
        /// Why.
        reason: StopReason,
    },
    /// A run is over. Every case is settled. The scheduler has forgotten it.
    RunEnded {
        /// The run.
        run: RunId,
        /// Why.
        reason: StopReason,
        /// From the first grant to now; zero when nothing was granted.
        took: Duration,
        /// The slots that were there on average while it ran, at least 1 when anything ran.
        slots: u32,
        /// The workers that held cases of it and must forget it.
        workers: Vec<WorkerId>,
    },
    /// A worker is gone. Close its connection.
    WorkerLost {
        /// Which.
        worker: WorkerId,
        /// Why.
        cause: LossCause,
        /// For each run, how many cases went back to the queue.
        requeued: Vec<(RunId, u32)>,
    },
}

/// Why a worker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// Its connection ended.
    Left,
    /// It was not heard for too long, and was given up.
    Silent,
    /// Its process has connected again.
    Replaced,
}

/// One case within a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseGrant {
    /// Which case.
    pub case: CaseIndex,
    /// The generation that every word about it must carry.
    pub generation: Generation,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The slots that it takes on this worker.
    pub weight: u32,
    /// Its slot within its test group.
    pub group_slot: Option<u32>,
    /// Why this case goes to this worker now.
    pub reason: GrantReason,
}

/// Why a case went to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantReason {
    /// It came first: by its priority, then by its estimate.
    First,
    /// The worker holds its binary, and there was time for those before it.
    Affinity,
    /// So that a slot need not wait for the next lease.
    Ahead,
    /// Its last attempt failed.
    Retry,
    /// The worker that had it before is gone.
    Lost,
    /// The worker that had it before gave it back.
    Returned,
    /// It was taken from a worker that had more than it could start.
    Stolen,
    /// Its other copy takes unusually long.
    Hedge,
}

impl GrantReason {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::First,
        Self::Affinity,
        Self::Ahead,
        Self::Retry,
        Self::Lost,
        Self::Returned,
        Self::Stolen,
        Self::Hedge,
    ];

    /// The reason with this [word](Self::word).
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// The one word for it, the same in the store and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Affinity => "affinity",
            Self::Ahead => "ahead",
            Self::Retry => "retry",
            Self::Lost => "lost",
            Self::Returned => "returned",
            Self::Stolen => "stolen",
            Self::Hedge => "hedge",
        }
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// Every case has a final outcome.
    Complete,
    /// So many cases failed that the settings stop the run.
    MaxFail,
    /// The user cancelled it, or no client followed it.
    Cancelled,
    /// It took longer than its global timeout.
    GlobalTimeout,
    /// A setup script failed.
    SetupScriptFailed,
    /// No connected worker could take what was left, or start it.
    Stranded,
}
