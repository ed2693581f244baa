//! Why a worker ended although nobody asked it to.

use std::time::Duration;

use thresh_core::fault::Fault;

use crate::inputs::DataDirError;

/// Why a worker ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The coordinator could not be reached.
    #[error(
        "reach the coordinator at {address}: {cause} (tried {tries} times within {} s); check the address, and \
         that `thresh coordinator` runs there",
        tried_for.as_secs()
    )]
    Unreachable {
        /// What was tried.
        address: String,
        /// How often.
        tries: u32,
        /// For how long.
        tried_for: Duration,
        /// Why the last try failed.
        cause: String,
    },
    /// The two programs do not speak the same protocol.
    #[error(
        "work for the coordinator at {address}: {cause} (this worker is thresh {version}, protocol {protocol})"
    )]
    VersionMismatch {
        /// Whose protocol differs.
        address: String,
        /// The version of this program.
        version: &'static str,
        /// The protocol of this program.
        protocol: u32,
        /// What the coordinator said: its own version, and who must upgrade.
        cause: String,
    },
    /// The coordinator does not want this worker.
    #[error("work for the coordinator at {address}: it refused: {cause}")]
    Refused {
        /// Who refused.
        address: String,
        /// What it said.
        cause: String,
    },
    /// Something else answers at the address.
    #[error("work for the coordinator at {address}: what answers there is none: {cause}")]
    NoCoordinator {
        /// The address.
        address: String,
        /// What it said.
        cause: String,
    },
    /// The connection of a worker that does not reconnect was lost.
    #[error("keep the connection to the coordinator at {address}: {cause}")]
    Lost {
        /// To whom.
        address: String,
        /// What happened.
        cause: String,
    },
    /// A worker without slots.
    #[error("start a worker with 0 slots: it needs at least 1")]
    NoSlots,
    /// Its folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The system does not let it start.
    #[error("{action}: {cause}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A part of the worker ended too early.
    #[error("go on working: {0}")]
    Internal(String),
}

impl WorkerError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoSlots | Self::Refused { .. } => Fault::Input,
            Self::Unreachable { .. }
            | Self::VersionMismatch { .. }
            | Self::NoCoordinator { .. }
            | Self::Lost { .. }
            | Self::System { .. } => Fault::Environment,
            Self::DataDir(error) => error.fault(),
            Self::Internal(_) => Fault::Internal,
        }
    }
}
