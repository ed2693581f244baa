//! A manifest and its entries.

use super::check::{bytes, check};
use super::{ManifestError, encoding};
use std::path::{Path, PathBuf};
use thresh_core::digest::Digest;

/// The files of a tree, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub(super) entries: Vec<Entry>,
}

/// One file, symbolic link or empty folder of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the root of the tree.
    pub path: PathBuf,
    /// What is there.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Digest of its content.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A regular file, not executable, whose content is needed only when someone opens it.
    OnDemand {
        /// Digest of its content.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Its text, whatever it points to.
        target: PathBuf,
    },
    /// A folder without entries. Other folders follow from the paths below them.
    EmptyDir,
}

impl Manifest {
    /// Makes a manifest of entries in any order.
    ///
    /// # Errors
    /// A path is not allowed, occurs twice, or lies below another entry.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        entries.sort_by(|a, b| bytes(&a.path).cmp(bytes(&b.path)));
        check(&entries)?;
        Ok(Self { entries })
    }

    /// The entries, sorted by the bytes of their paths.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Digest and length in bytes of every file, with repetition; without those that are needed on demand.
    pub fn files(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::File { digest, size, .. } => Some((digest, size)),
            EntryKind::OnDemand { .. } | EntryKind::Symlink { .. } | EntryKind::EmptyDir => None,
        })
    }

    /// The entry at `path`, if there is one.
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        let found = self
            .entries
            .binary_search_by(|entry| bytes(&entry.path).cmp(bytes(path)));
        found.ok().map(|index| &self.entries[index])
    }

    /// The entries below a folder; of the empty path, all.
    pub fn below(&self, folder: &Path) -> &[Entry] {
        if folder.as_os_str().is_empty() {
            return &self.entries;
        }
        // Entries are sorted by bytes, so that these are together.
        let start = [bytes(folder), b"/"].concat();
        let from = self
            .entries
            .partition_point(|entry| bytes(&entry.path) < &start[..]);
        let count = self.entries[from..].partition_point(|entry| bytes(&entry.path).starts_with(&start));
        &self.entries[from..from + count]
    }

    /// Reads what [`Manifest::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are not such a text, or an entry is not allowed.
    pub fn parse(encoded: &[u8]) -> Result<Self, ManifestError> {
        let entries = encoding::decode(encoded)?;
        check(&entries)?;
        Ok(Self { entries })
    }

    /// Writes the manifest as bytes; equal manifests give equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode(&self.entries)
    }

    /// The digest of the encoded manifest, which is also its name as a blob.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}
