//! Why the driver does not do what it is asked.

use thresh_core::id::RunId;
use thresh_core::schedule::Rejected;

/// Why the driver does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It has ended.
    #[error("the coordinator is shutting down")]
    ShuttingDown,
    /// Nothing could be made durable.
    #[error("the coordinator takes no runs until it can write its journal: failed to {0}")]
    NotDurable(String),
    /// No journal takes it.
    #[error("the run is described by {bytes} bytes, over the limit of {max}; split it")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// The most that it may take.
        max: usize,
    },
    /// The scheduler refused.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Confirmation comes after the end.
    #[error("run {0} has not ended: its inputs can be confirmed only afterwards")]
    NotEnded(RunId),
    /// Passes could not be stored.
    #[error("passes of run {0} were not stored: failed to {1}")]
    NotStored(RunId, String),
}
