//! Digests remembered by stamp, so that an unchanged file is not read again.
//!
//! The memo is a cache: a file that is absent, damaged or of another version reads as an empty memo. Two
//! processes may use one file: each save replaces it whole and first takes over what the other has added.

use crate::stamp::FileStamp;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

/// An entry that was not used for more saves than this is dropped.
pub const IDLE_SAVES_MAX: u32 = 64;
/// At most so many entries are saved (76 bytes each); the longest unused are dropped first.
pub const MEMO_ENTRIES_MAX: usize = 1 << 20;

const MAGIC: &[u8; 24] = b"thresh digest memo, v1\n\0";
const ENTRY_BYTES: usize = 5 * 8 + 32 + 4;
const CHECKSUM_BYTES: usize = 32;

/// The memo could not be written. Nothing but time is lost.
#[derive(Debug, thiserror::Error)]
#[error("save file digests to {}: {cause}", path.display())]
pub struct MemoError {
    /// The memo's file.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

impl MemoError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::Environment
    }
}

/// Digests of files by [`FileStamp`].
///
/// A file that changed within [`SETTLE_MS`](crate::SETTLE_MS) of being read is never remembered, since its
/// next change might not show in the stamp.
#[derive(Debug, Default)]
pub struct DigestMemo {
    entries: HashMap<FileStamp, Known>,
    /// Something was learnt, or an idle entry used, since the last save.
    unsaved: bool,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    digest: Digest,
    /// Saves since the last use.
    idle_saves: u32,
    /// Used since it was loaded.
    used: bool,
}

impl DigestMemo {
    /// Reads the memo at `path`; whatever cannot be understood reads as empty.
    pub fn load(path: &Path) -> Self {
        let entries = std::fs::read(path)
            .ok()
            .and_then(|bytes| decode(&bytes))
            .unwrap_or_default();
        Self {
            entries,
            unsaved: false,
        }
    }

    /// Returns the digest of the file that bears this stamp, if it is known.
    pub fn get(&self, stamp: &FileStamp) -> Option<Digest> {
        self.entries.get(stamp).map(|known| known.digest)
    }

    /// Remembers a digest, unless the stamp had not settled when reading began.
    pub fn remember(&mut self, stamp: FileStamp, digest: Digest, reading_began: SystemTime) {
        if stamp.settled_before(reading_began) {
            self.entries.insert(
                stamp,
                Known {
                    digest,
                    idle_saves: 0,
                    used: true,
                },
            );
            self.unsaved = true;
        }
    }

    /// Keeps an entry from being dropped as unused.
    pub fn mark_used(&mut self, stamp: &FileStamp) {
        if let Some(known) = self.entries.get_mut(stamp) {
            known.used = true;
            self.unsaved |= known.idle_saves > 0;
        }
    }

    /// How many digests are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no digest is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes the memo to `path` if there is something new in it. Entries that another process has added to
    /// the file meanwhile are kept.
    ///
    /// # Errors
    /// The folder of `path` cannot be written to.
    pub fn save(&mut self, path: &Path) -> Result<(), MemoError> {
        if !self.unsaved {
            return Ok(());
        }
        self.merge(Self::load(path));
        self.age();
        self.bound(MEMO_ENTRIES_MAX);
        replace_file(path, &encode(&self.entries)).map_err(|cause| MemoError {
            path: path.to_owned(),
            cause,
        })?;
        self.unsaved = false;
        Ok(())
    }

    fn merge(&mut self, other: Self) {
        for (stamp, theirs) in other.entries {
            let ours = self.entries.entry(stamp).or_insert(theirs);
            ours.idle_saves = ours.idle_saves.min(theirs.idle_saves);
        }
    }

    fn age(&mut self) {
        self.entries.retain(|_, known| {
            known.idle_saves = if known.used {
                0
            } else {
                known.idle_saves.saturating_add(1)
            };
            known.idle_saves <= IDLE_SAVES_MAX
        });
    }

    fn bound(&mut self, entries_max: usize) {
        let Some(excess) = self
            .entries
            .len()
            .checked_sub(entries_max)
            .filter(|excess| *excess > 0)
        else {
            return;
        };
        let mut by_idleness: Vec<(u32, FileStamp)> = self
            .entries
            .iter()
            .map(|(stamp, known)| (known.idle_saves, *stamp))
            .collect();
        by_idleness.sort_unstable_by(|a, b| b.cmp(a));
        for (_, stamp) in &by_idleness[..excess] {
            self.entries.remove(stamp);
        }
    }
}

/// Writes a file as a whole: whoever reads it finds what was there, or all of this. Its folder is made if absent.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

fn encode(entries: &HashMap<FileStamp, Known>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + entries.len() * ENTRY_BYTES + CHECKSUM_BYTES);
    bytes.extend_from_slice(MAGIC);
    for (stamp, known) in entries {
        for number in [stamp.dev, stamp.ino, stamp.size] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [stamp.mtime_ns, stamp.ctime_ns] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(known.digest.as_bytes());
        bytes.extend_from_slice(&known.idle_saves.to_le_bytes());
    }
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<FileStamp, Known>> {
    let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    let entries = content.strip_prefix(MAGIC)?;
    if Digest::of(content).as_bytes() != checksum || !entries.len().is_multiple_of(ENTRY_BYTES) {
        return None;
    }
    entries.chunks_exact(ENTRY_BYTES).map(decode_entry).collect()
}

fn decode_entry(bytes: &[u8]) -> Option<(FileStamp, Known)> {
    let (numbers, rest) = bytes.split_at_checked(40)?;
    let (digest, idle_saves) = rest.split_at_checked(32)?;
    let number = |i: usize| {
        Some(u64::from_le_bytes(
            numbers.get(i * 8..i * 8 + 8)?.try_into().ok()?,
        ))
    };
    let stamp = FileStamp {
        dev: number(0)?,
        ino: number(1)?,
        size: number(2)?,
        mtime_ns: number(3)?.cast_signed(),
        ctime_ns: number(4)?.cast_signed(),
    };
    let idle_saves = u32::from_le_bytes(idle_saves.try_into().ok()?);
    Some((
        stamp,
        Known {
            digest: Digest::try_from(digest).ok()?,
            idle_saves,
            used: false,
        },
    ))
}

#[cfg(test)]
mod tests;
