//! What the scheduler is told.

use std::time::Duration;

use super::process::WorkerProcess;
use super::recovery::Recovery;
use super::request::RunRequest;
use crate::id::{CaseIndex, Generation, RunId, WorkerId};
use crate::outcome::Outcome;

/// What the scheduler is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker connected. The shell gives each connection an id of its own, a later one a greater one.
    WorkerJoined {
        /// The connection.
        worker: WorkerId,
        /// How many slots it offers, from 1 to [`Policy::slots_max`](super::Policy::slots_max).
        slots: u32,
        /// Cores of its machine.
        cpus: u32,
        /// The platform (target triple) whose binaries it can run.
        platform: String,
        /// It shares the client's files, and takes in-place runs and only those.
        in_place: bool,
        /// Its process, if it is known. A newer connection takes the place of an older one of the same process.
        process: Option<WorkerProcess>,
    },
    /// A sign of life.
    WorkerHeartbeat {
        /// From whom.
        worker: WorkerId,
        /// How long a message to the worker and its answer took lately, if it knows.
        round_trip: Option<Duration>,
    },
    /// The connection ended.
    WorkerLeft(WorkerId),
    /// The worker takes no new leases.
    WorkerCordoned(WorkerId, CordonReason),
    /// A client submitted a run, and follows it.
    RunSubmitted(RunId, RunRequest),
    /// A run of an earlier coordinator goes on. No client follows it yet.
    RunRestored {
        /// The run.
        run: RunId,
        /// As it was submitted.
        request: RunRequest,
        /// How far it had come.
        recovery: Recovery,
    },
    /// The user cancelled the run.
    RunCancelled(RunId),
    /// A setup script failed: no case of the run can be run as it was meant.
    SetupScriptFailed(RunId, WorkerId),
    /// A client follows the run.
    ClientAttached(RunId),
    /// No client follows the run any more.
    ClientDetached(RunId),
    /// A worker started a case's process.
    CaseStarted {
        /// Who says so.
        worker: WorkerId,
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// The generation of the grant.
        generation: Generation,
    },
    /// An attempt ended.
    AttemptEnded {
        /// Who says so.
        worker: WorkerId,
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// The generation of the grant.
        generation: Generation,
        /// How it ended. [`Outcome::Cancelled`] where the worker ended it on revocation.
        outcome: Outcome,
        /// From spawn to exit.
        took: Duration,
    },
    /// A worker gives a case back that it has not started.
    CaseReturned {
        /// Who says so.
        worker: WorkerId,
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// The generation of the grant.
        generation: Generation,
    },
}

/// Why a worker takes no new leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CordonReason {
    /// It is leaving.
    Drain,
    /// Its disk is full.
    DiskFull,
    /// It cannot do its work for another reason.
    Fault,
}

/// Why an event was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The worker is not connected, or was given up.
    #[error("worker {0} is not known here: it was lost or never joined")]
    UnknownWorker(WorkerId),
    /// The id is taken.
    #[error("worker {0} is connected already")]
    DuplicateWorker(WorkerId),
    /// The worker's process has connected again since.
    #[error("connection {connection} of this worker's process is an old one: it has connected again since")]
    OldConnection {
        /// The connection, counted by the process.
        connection: u64,
    },
    /// Fewer than 1 or more than the policy's maximum.
    #[error("a worker cannot offer {slots} slots: the limits are 1 and {max}")]
    Slots {
        /// What the worker offered.
        slots: u32,
        /// The most that is allowed.
        max: u32,
    },
    /// The run has ended or never was.
    #[error("run {0} is not known here: it has ended or never began")]
    UnknownRun(RunId),
    /// The id is taken.
    #[error("run {0} was submitted already")]
    DuplicateRun(RunId),
    /// A position in the request points nowhere.
    #[error("run {0} is malformed: {1}")]
    Malformed(RunId, &'static str),
    /// The run has no such case.
    #[error("run {0} has no case number {n}", n = .1.0)]
    UnknownCase(RunId, CaseIndex),
    /// The case is not leased to this worker under this generation.
    #[error("stale: case {n} of run {run} is not leased to {worker} under generation {g}", n = case.0, g = generation.0)]
    Stale {
        /// Who reported.
        worker: WorkerId,
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// The generation it reported under.
        generation: Generation,
    },
}
