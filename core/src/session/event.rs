//! What a session is told.

use crate::id::{BinaryIndex, CaseIndex, Generation, RunId};
use crate::time::Timestamp;

/// What a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The coordinator granted a lease.
    Leased {
        /// The run.
        run: RunId,
        /// The cases, in the order in which they are to be started.
        cases: Vec<LeasedCase>,
    },
    /// The inputs of a binary of a run are in place, or cannot be had.
    Prepared {
        /// The run.
        run: RunId,
        /// The binary.
        binary: BinaryIndex,
        /// Whether its cases can be started. If not, they are given back.
        usable: bool,
    },
    /// The process of a case has ended, and its outcome was handed to the connection.
    Ended {
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// The generation of its grant.
        generation: Generation,
    },
    /// The coordinator takes cases of a run back.
    Revoked {
        /// The run.
        run: RunId,
        /// Which cases, by their leases; empty: all.
        cases: Vec<(CaseIndex, Generation)>,
        /// Whether those that run are ended.
        kill_running: bool,
    },
    /// The run is over.
    Forgotten(RunId),
    /// The coordinator answered a heartbeat.
    HeartbeatAnswered {
        /// When that heartbeat was sent, as it said itself.
        sent: Timestamp,
    },
    /// The connection is gone.
    Disconnected,
}

/// A case of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedCase {
    /// Which case.
    pub case: CaseIndex,
    /// The generation that every word about it must carry.
    pub generation: Generation,
    /// The binary whose inputs it needs.
    pub binary: BinaryIndex,
    /// The slots that it takes; counted as at most all of the worker's.
    pub weight: u32,
}
