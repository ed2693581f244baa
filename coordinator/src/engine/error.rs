//! Why an engine cannot be used.

use std::io;
use std::path::PathBuf;

use thresh_core::digest::Digest;
use thresh_core::fault::Fault;
use tonic::{Code, Status};

use crate::remote::RemoteAddress;

/// Why an engine cannot be used, or not for this.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// It does not answer, or refuses.
    #[error("{doing} at {address}: {} ({})", status.message(), status.code())]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// The engine.
        address: RemoteAddress,
        /// Its answer.
        status: Box<Status>,
    },
    /// It serves no actions.
    #[error("use the engine at {address}: {why}")]
    Unsuitable {
        /// The engine.
        address: RemoteAddress,
        /// What it lacks.
        why: &'static str,
    },
    /// The address cannot be connected to.
    #[error("use the engine: {0}")]
    Address(String),
    /// A file cannot be read.
    #[error("ship to the engine: {0}")]
    Unreadable(String),
    /// A file is not what it was when it was hashed.
    #[error("ship {0} to the engine: it changed after it was hashed; run again when nothing writes to it")]
    Changed(String),
    /// The run names what its client did not deliver.
    #[error("ship to the engine: the run's client did not bring blob {0}")]
    Undelivered(Digest),
    /// A manifest cannot be a tree of the Remote Execution API.
    #[error("ship to the engine: {0}")]
    Tree(String),
    /// The runner cannot be started on the engine's machines, or gives up there.
    #[error("execute the runner on the engine: it ended with code {code}: {said}")]
    Runner {
        /// Its exit code.
        code: i32,
        /// The end of what it wrote.
        said: String,
    },
    /// An action has no outcomes although it ended well.
    #[error("execute a shard on the engine: {0}")]
    Outcomes(String),
}

impl EngineError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Tree(_) | Self::Address(_) => Fault::Input,
            Self::Undelivered(_) => Fault::Internal,
            _ => Fault::Environment,
        }
    }

    /// Whether the same would come of a further try.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::FailedPrecondition
                    | Code::Unauthenticated
                    | Code::PermissionDenied
                    | Code::Unimplemented
            ),
            // It may be the machine's fault.
            Self::Outcomes(_) | Self::Runner { .. } => false,
            _ => true,
        }
    }

    pub(super) fn file(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path: PathBuf = path.to_owned();
        move |cause| Self::Unreadable(format!("{}: {cause}", path.display()))
    }
}
