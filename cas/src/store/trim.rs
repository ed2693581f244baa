//! The store's soft limit: the blobs longest unused go first.

use super::pieces::RECIPE;
use super::{BlobStore, StoreError, Variant};
use std::collections::BTreeMap;
use std::fs;
use std::time::SystemTime;
use thresh_core::digest::Digest;

/// What [`BlobStore::trim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Blobs removed.
    pub blobs_removed: u64,
    /// Bytes that they had.
    pub bytes_removed: u64,
    /// Bytes that remain.
    pub bytes_kept: u64,
}

struct Held {
    bytes: u64,
    last_used: SystemTime,
}

impl BlobStore {
    /// Removes blobs that are not in use, longest unused first, until at most `bytes_max` remain.
    ///
    /// A blob's last use is what this process saw, or else its access time on disk. A blob promised to someone
    /// (found not missing, say) is not safe unless `in_use` says so.
    ///
    /// # Errors
    /// The folder cannot be read, or a blob cannot be removed.
    pub fn trim(&self, bytes_max: u64, in_use: &dyn Fn(&Digest) -> bool) -> Result<Trimmed, StoreError> {
        let held = self.held()?;
        let mut trimmed = Trimmed {
            bytes_kept: held.values().map(|held| held.bytes).sum(),
            ..Trimmed::default()
        };
        let mut oldest_first: Vec<(SystemTime, Digest, u64)> = held
            .iter()
            .map(|(digest, held)| (held.last_used, *digest, held.bytes))
            .collect();
        oldest_first.sort_unstable();
        for (_, digest, bytes) in oldest_first {
            if trimmed.bytes_kept <= bytes_max {
                break;
            }
            if in_use(&digest) {
                continue;
            }
            self.remove(&digest)?;
            trimmed.blobs_removed += 1;
            trimmed.bytes_removed += bytes;
            trimmed.bytes_kept -= bytes;
        }
        Ok(trimmed)
    }

    /// All blobs, each with the bytes of its files together.
    fn held(&self) -> Result<BTreeMap<Digest, Held>, StoreError> {
        let mut all = BTreeMap::new();
        for folder in walkdir::WalkDir::new(&self.inner.dir).min_depth(2).max_depth(2) {
            // Another process may be trimming, too: what is gone meanwhile is no error.
            let Ok(entry) = folder else { continue };
            let name = entry.file_name().to_string_lossy();
            let Ok(digest) = name.trim_end_matches(['x', RECIPE]).parse::<Digest>() else {
                continue;
            };
            let Ok(metadata) = entry.metadata() else { continue };
            let accessed = metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
            let held = all.entry(digest).or_insert(Held {
                bytes: 0,
                last_used: accessed,
            });
            held.bytes += metadata.len();
            held.last_used = held.last_used.max(accessed);
        }
        let records = self.records();
        for (digest, held) in &mut all {
            if let Some(seen) = records.get(digest).and_then(|record| record.last_used) {
                held.last_used = seen;
            }
        }
        Ok(all)
    }

    fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let files = [Variant::Executable, Variant::Plain].map(|variant| self.path(digest, variant));
        for path in files.into_iter().chain([self.recipe_path(digest)]) {
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &path, cause));
                }
                _ => {}
            }
        }
        self.records().remove(digest);
        Ok(())
    }
}
