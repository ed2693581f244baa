//! What can be wrong with a tree.

use std::path::PathBuf;

use thresh_core::fault::Fault;

use crate::manifest::ManifestError;
use crate::packs::{BlobName, PackError};

/// A tree of `Directory` messages cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Messages or files are not in the store: send them.
    #[error("read input root {root}: {} blobs are missing, the first is {}", missing.len(), missing[0])]
    Missing {
        /// The root's name.
        root: BlobName,
        /// What is missing, sorted; at least one. More may be missing below a message that is.
        missing: Vec<BlobName>,
    },
    /// A blob is no such message.
    #[error("read folder {name} at `{}`: it is no Directory message: {cause}", at.display())]
    Unreadable {
        /// Where in the tree.
        at: PathBuf,
        /// The blob.
        name: BlobName,
        /// Why not.
        cause: prost::DecodeError,
    },
    /// A name in a folder is none, or is not where it should be.
    #[error("read folder `{}`: the name `{}` {defect}", at.display(), name.escape_debug())]
    Name {
        /// Where in the tree.
        at: PathBuf,
        /// The name.
        name: String,
        /// What is wrong with it.
        defect: NameDefect,
    },
    /// An entry has no digest, or one of another form.
    #[error("read folder `{}`: the digest of `{name}` is missing or malformed", at.display())]
    Digest {
        /// Where in the tree.
        at: PathBuf,
        /// The entry.
        name: String,
    },
    /// A symbolic link leads out of the tree.
    #[error("read folder `{}`: the symbolic link `{name}` leads out of the tree, to `{target}`", at.display())]
    Outside {
        /// Where in the tree.
        at: PathBuf,
        /// The link.
        name: String,
        /// Where it leads.
        target: String,
    },
    /// It is too deep, or too large.
    #[error("read input root {root}: it has {what}")]
    TooLarge {
        /// The root's name.
        root: BlobName,
        /// Too much of what.
        what: String,
    },
    /// Its entries make no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] PackError),
}

/// What is wrong with a name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameDefect {
    /// Empty, `.`, `..`, longer than 255 bytes, or with a slash or a NUL.
    #[error("is not the name of an entry")]
    NoName,
    /// It occurs twice.
    #[error("occurs twice")]
    Repeated,
    /// It does not stand behind a name that comes before it.
    #[error("is not in order")]
    Unsorted,
}

impl TreeError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            _ => Fault::Input,
        }
    }
}
