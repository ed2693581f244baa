//! What can go wrong with a blob.

use std::io;
use std::path::{Path, PathBuf};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

/// A blob could not be stored or had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The blob is not in the store.
    #[error("find blob {digest}: it is not in the store")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// The blob's file was damaged. It has been removed: fetch the blob again.
    #[error("use blob {digest}: its file was damaged and has been removed")]
    Damaged {
        /// The blob.
        digest: Digest,
    },
    /// What was written has another digest than was announced.
    #[error("store blob {expected}: the content has digest {actual}")]
    WrongDigest {
        /// Announced.
        expected: Digest,
        /// Found.
        actual: Digest,
    },
    /// What was written has another length than was announced.
    #[error("store blob {digest}: announced with {expected} bytes, {actual} came")]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// Announced, in bytes.
        expected: u64,
        /// Found, in bytes; when more came than announced, those up to and with the first chunk too many.
        actual: u64,
    },
    /// The disk, or the user's share of it, is full.
    #[error("write {}: the disk is full; free some space there", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// Any other trouble with a file.
    #[error("{action} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl StoreError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::WrongDigest { .. } | Self::WrongSize { .. } => Fault::Input,
            Self::Missing { .. } | Self::Damaged { .. } | Self::DiskFull { .. } | Self::Io { .. } => {
                Fault::Environment
            }
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        if is_disk_full(&cause) {
            Self::DiskFull { path }
        } else {
            Self::Io { action, path, cause }
        }
    }
}

/// Whether the disk, or the user's share of it, is full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
