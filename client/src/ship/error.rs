//! Why inputs cannot be shipped.

use std::io;
use std::path::PathBuf;

use thresh_cas::{DigestError, ListError, ManifestError, SnapshotError};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

/// Why inputs cannot be shipped.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The files of a folder cannot be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// Files cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A file cannot be read.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The files cannot be written down.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A test binary lies outside the target folder.
    #[error("ship {path}: it is not below the target folder {target}, where workers would look for it")]
    OutsideTarget {
        /// The file.
        path: PathBuf,
        /// The folder.
        target: PathBuf,
    },
    /// A file cannot be read while it is sent.
    #[error("read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file is no longer what it was.
    #[error("ship {path}: it changed while it was read; run again once nothing writes to it")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The farm does not take a blob, or cannot be reached.
    #[error("upload {what} ({digest}): {}", cause.message())]
    Farm {
        /// The file, or what the blob is.
        what: String,
        /// Its digest.
        digest: Digest,
        /// What the farm said.
        cause: Box<tonic::Status>,
    },
    /// The farm cannot be asked.
    #[error("ask the farm which files it lacks: {}", .0.message())]
    FindMissing(Box<tonic::Status>),
}

impl ShipError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::List(error) => error.fault(),
            Self::Snapshot(error) => error.fault(),
            Self::Digest(error) => error.fault(),
            Self::Manifest(_) | Self::OutsideTarget { .. } | Self::Changed { .. } => Fault::Input,
            Self::Read { .. } | Self::Farm { .. } | Self::FindMissing(_) => Fault::Environment,
        }
    }
}
