//! What can go wrong with packed blobs.

use std::io;
use std::path::{Path, PathBuf};

use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

use super::name::BlobName;
use crate::chunk::{FrameError, RecipeError};
use crate::store::is_disk_full;

/// A packed blob could not be stored or had.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Another process uses the folder, or has it to itself.
    #[error("open the blobs in {}: another process uses them", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The chunk or blob is not there.
    #[error("find blob {digest}: it is not in the store")]
    Missing {
        /// The chunk or blob.
        digest: Digest,
    },
    /// It was damaged, and is no longer there: send it again.
    #[error("use blob {digest}: it was damaged and has been dropped")]
    Damaged {
        /// The chunk or blob.
        digest: Digest,
    },
    /// A frame is not what it says.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A recipe is none.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A chunk has another length than its recipe says.
    #[error("put blob {digest} together: chunk {chunk} has {actual} bytes, not {expected}")]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// The chunk.
        chunk: Digest,
        /// Its length in bytes by the recipe.
        expected: u32,
        /// Its length in bytes.
        actual: usize,
    },
    /// The chunks make another blob.
    #[error("put blob {expected} together: its chunks make {actual}")]
    WrongDigest {
        /// Announced.
        expected: Digest,
        /// Found.
        actual: Digest,
    },
    /// A blob is not what its name says.
    #[error("store blob {expected}: what came is {actual}")]
    WrongContent {
        /// Announced.
        expected: BlobName,
        /// Found. Where more came than was announced, of the content up to there.
        actual: BlobName,
    },
    /// What brings a blob failed.
    #[error("receive blob {name}: {cause}")]
    Source {
        /// The blob.
        name: BlobName,
        /// Why.
        cause: io::Error,
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

impl PackError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Frame(_)
            | Self::Recipe(_)
            | Self::WrongSize { .. }
            | Self::WrongDigest { .. }
            | Self::WrongContent { .. } => Fault::Input,
            Self::InUse { .. }
            | Self::Missing { .. }
            | Self::Damaged { .. }
            | Self::DiskFull { .. }
            | Self::Source { .. }
            | Self::Io { .. } => Fault::Environment,
        }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| {
            let path = path.to_owned();
            if is_disk_full(&cause) {
                Self::DiskFull { path }
            } else {
                Self::Io { action, path, cause }
            }
        }
    }
}
