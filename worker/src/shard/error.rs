//! Why a shard could not be executed.

use std::io;
use std::path::{Path, PathBuf};

use thresh_core::fault::Fault;
use thresh_proto::convert::InvalidMessage;

use crate::session::WorkerError;

/// Why a shard could not be executed.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// A file cannot be read or written.
    #[error("{action} {}: {cause}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file is no shard.
    #[error("read shard {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: prost::DecodeError,
    },
    /// The shard says what cannot be.
    #[error("read the shard: {0}")]
    Invalid(#[from] InvalidMessage),
    /// The worker cannot be started, or gave up.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

impl ShardError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::File { .. } => Fault::Environment,
            Self::Unreadable { .. } | Self::Invalid(_) => Fault::Input,
            Self::Worker(error) => error.fault(),
        }
    }

    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::File {
            action,
            path: path.to_owned(),
            cause,
        }
    }
}
