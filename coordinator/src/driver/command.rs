//! What the driver can be asked and told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::bytes::Bytes;
use thresh_core::digest::Digest;
use thresh_core::id::{CaseIndex, Generation, RunId, WorkerId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::{CordonReason, WorkerProcess};
use thresh_core::time::Timestamp;
use thresh_proto::v1;
use tokio::sync::oneshot;

use super::link::Outbound;
use super::log::RunLog;
use super::refusal::Refusal;
use super::submission::Submission;

/// Where an answer goes. Nobody may wait for it any more, which is no fault.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the driver can be asked and told.
#[derive(Debug)]
pub(super) enum Command {
    /// With the submission as it is journaled, where it is.
    Submit(Box<Submission>, Option<Bytes>, Reply<()>),
    Cancel(RunId, Reply<()>),
    Watch(RunId, Reply<Arc<RunLog>>),
    Unwatch(RunId),
    Confirm(RunId, Confirmed, Reply<u32>),
    Join(WorkerProfile, Outbound, Reply<Joined>),
    Said(WorkerId, Said),
    Leave(WorkerId),
    Capacity(Option<(String, bool)>, Reply<Capacity>),
    OldestRun(Reply<Option<Timestamp>>),
    Shutdown {
        orderly: bool,
        reply: Reply<()>,
    },
}

/// What is connected now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) workers: u32,
    pub(crate) slots: u32,
}

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub(crate) struct WorkerProfile {
    pub(crate) name: Arc<str>,
    pub(crate) slots: u32,
    pub(crate) cpus: u32,
    pub(crate) platform: String,
    pub(crate) in_place: bool,
    /// Why it shows cases a run's files at other paths than the client's; `None`: it does not.
    pub(crate) remap_cause: Option<String>,
    /// What of the isolation that is wanted there cannot be had.
    pub(crate) shortfalls: Vec<String>,
    /// Its process, if it told.
    pub(crate) process: Option<WorkerProcess>,
}

/// What a worker is told when it is accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joined {
    pub(crate) worker: WorkerId,
}

/// What a worker says.
#[derive(Debug)]
pub(crate) enum Said {
    Heartbeat {
        /// What the answer is to bring back.
        sent_micros: u64,
        round_trip: Option<Duration>,
    },
    Cordon(CordonReason, String),
    Reports(Vec<Report>),
}

/// What a worker says about a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) run: RunId,
    pub(crate) news: ReportNews,
}

#[derive(Debug)]
pub(crate) enum ReportNews {
    Started {
        case: CaseIndex,
        generation: Generation,
    },
    Attempt {
        case: CaseIndex,
        generation: Generation,
        outcome: Outcome,
        measured: Measured,
    },
    SetupScript {
        ended: v1::SetupScriptEnded,
        outcome: Outcome,
    },
    Returned {
        cases: Vec<(CaseIndex, Generation)>,
        message: String,
    },
    Slow {
        case: CaseIndex,
        generation: Generation,
        elapsed: Duration,
        will_terminate: bool,
    },
}

/// What a client says of the files of a run that has ended.
#[derive(Debug)]
pub(crate) struct Confirmed {
    /// The digests of what cases were seen to read.
    pub(crate) seen: BTreeMap<CaseIndex, Digest>,
    /// They changed while it ran: where it is not known what a case read, its pass says nothing.
    pub(crate) changed: bool,
}

/// What a worker measured of an attempt.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) started: Timestamp,
    pub(crate) took: Duration,
    pub(crate) output: Option<v1::Output>,
    /// Of an action: the digest of the manifest of its outputs.
    pub(crate) outputs: Bytes,
    /// What it was seen to depend on, for the client.
    pub(crate) observed: Option<v1::Observation>,
}
