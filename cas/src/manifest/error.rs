//! Why entries or bytes are no manifest.

use super::check::{LEVELS_MAX, PATH_BYTES_MAX};
use std::fmt;
use std::path::PathBuf;
use thresh_core::fault::Fault;

/// The entries or bytes are no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes do not begin as a manifest of this version does.
    #[error("read a manifest: it is none, or one of another version of thresh")]
    Header,
    /// The bytes end within an entry.
    #[error("read a manifest: it is cut off within entry {index}")]
    Truncated {
        /// Position of the entry, from 0.
        index: usize,
    },
    /// An entry of unknown kind.
    #[error("read a manifest: entry {index} is of unknown kind {kind}")]
    UnknownKind {
        /// Position of the entry, from 0.
        index: usize,
        /// The byte that tells the kind.
        kind: u8,
    },
    /// A path that must not occur.
    #[error("accept manifest entry {path:?}: its path {defect}")]
    Path {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        defect: PathDefect,
    },
    /// A symbolic link whose text is empty or holds a NUL byte.
    #[error("accept manifest entry {path:?}: its link target is empty or holds a NUL byte")]
    Target {
        /// Path of the link.
        path: PathBuf,
    },
    /// The entries are not in order.
    #[error("accept manifest entry {path:?}: it is out of order")]
    Unsorted {
        /// Path of the first entry that should stand earlier.
        path: PathBuf,
    },
    /// Two entries have one path.
    #[error("accept manifest entry {path:?}: it occurs twice")]
    Duplicate {
        /// The path.
        path: PathBuf,
    },
    /// An entry lies below a file, a link or a folder said to be empty.
    #[error("accept manifest entry {path:?}: it lies below {above:?}, which is no folder with entries")]
    Below {
        /// Path of the entry.
        path: PathBuf,
        /// Path of the entry above it.
        above: PathBuf,
    },
}

impl ManifestError {
    /// Whose fault it is: whoever wrote the manifest gave wrong input.
    pub fn fault(&self) -> Fault {
        Fault::Input
    }
}

/// What is wrong with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathDefect {
    /// It is empty.
    Empty,
    /// It begins with `/`.
    Absolute,
    /// A component is `..`.
    Parent,
    /// A component is `.` or empty (`a//b`, `a/`).
    NotNormal,
    /// It holds a NUL byte.
    Nul,
    /// It is longer than 4,095 bytes.
    TooLong,
    /// It has more than 512 components.
    TooDeep,
}

impl fmt::Display for PathDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::Absolute => "is absolute",
            Self::Parent => "holds `..`",
            Self::NotNormal => "holds `.` or an empty component",
            Self::Nul => "holds a NUL byte",
            Self::TooLong => return write!(f, "is longer than {PATH_BYTES_MAX} bytes"),
            Self::TooDeep => return write!(f, "is deeper than {LEVELS_MAX} levels"),
        })
    }
}
