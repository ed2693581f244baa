//! What a session wants done.

use std::time::Duration;

use crate::id::{BinaryIndex, CaseIndex, Generation, RunId};
use crate::time::Timestamp;

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Bring the inputs of a binary into place (the run's own first), then say
    /// [`Prepared`](super::Event::Prepared). Asked once for each binary of a run.
    Prepare {
        /// The run.
        run: RunId,
        /// The binary.
        binary: BinaryIndex,
    },
    /// Start the process of a case, then say [`Ended`](super::Event::Ended) when it has ended.
    Start {
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// The generation of its grant.
        generation: Generation,
        /// The number of the (first) slot that it takes, from 0.
        slot: u32,
    },
    /// End the process of a case and all its descendants; its outcome is cancelled.
    Kill {
        /// The run.
        run: RunId,
        /// The case.
        case: CaseIndex,
        /// The generation of its grant.
        generation: Generation,
    },
    /// Tell the coordinator that these cases come back unstarted.
    Return {
        /// The run.
        run: RunId,
        /// The cases.
        cases: Vec<(CaseIndex, Generation)>,
    },
    /// Drop what was prepared for a run.
    Release(RunId),
    /// Send a heartbeat.
    SendHeartbeat {
        /// Now, by the clock of the session. The answer is to bring it back.
        sent: Timestamp,
        /// How long the last heartbeat and its answer took; `None` before the first answer.
        round_trip: Option<Duration>,
    },
    /// The session is over: everything that ran has been told to die, nothing may be reported any more.
    Over,
}
