//! What there is, and whether it is sound.

use thresh_core::digest::Digest;

use super::record::Kind;
use super::{PackError, PackStore};

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Packs.
    pub packs: u64,
    /// Bytes of the packs on disk.
    pub bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of the chunks' content.
    pub content_bytes: u64,
    /// Bytes of the chunks as they rest.
    pub stored_bytes: u64,
    /// Blobs of several chunks.
    pub blobs: u64,
}

/// What a look at everything found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Chunks looked at.
    pub chunks: u64,
    /// Blobs of several chunks looked at.
    pub blobs: u64,
    /// Chunks and blobs that were damaged, and are dropped now; sorted.
    pub damaged: Vec<Digest>,
    /// Blobs of which chunks are missing; sorted.
    pub incomplete: Vec<Digest>,
}

impl PackStore {
    /// Counts what there is.
    pub fn stat(&self) -> Stat {
        let state = self.state();
        let mut stat = Stat {
            packs: state.packs.len() as u64,
            bytes: state.packs.values().map(|pack| pack.bytes).sum(),
            ..Stat::default()
        };
        for ((kind, _), slot) in &state.slots {
            match kind {
                Kind::Chunk => {
                    stat.chunks += 1;
                    stat.content_bytes += u64::from(slot.size);
                    stat.stored_bytes += u64::from(slot.stored);
                }
                Kind::Recipe => stat.blobs += 1,
                Kind::Delta | Kind::List | Kind::Gone => {}
            }
        }
        stat
    }

    /// Reads and verifies everything, and drops what is damaged. `progress` is told how many of how many chunks and
    /// blobs have been looked at.
    ///
    /// # Errors
    /// A pack cannot be read.
    pub fn check(&self, mut progress: impl FnMut(u64, u64)) -> Result<Check, PackError> {
        let mut keys: Vec<(Kind, Digest)> = {
            let state = self.state();
            let all = state.slots.keys().copied();
            all.filter(|(kind, _)| matches!(kind, Kind::Chunk | Kind::Recipe))
                .collect()
        };
        // Chunks first: what is found damaged there is missing in blobs.
        keys.sort_unstable_by_key(|(kind, digest)| (*kind as u8, *digest));
        let mut check = Check::default();
        for (done, (kind, digest)) in keys.iter().enumerate() {
            progress(done as u64, keys.len() as u64);
            match kind {
                Kind::Chunk => {
                    check.chunks += 1;
                    if is_damaged(self.chunk(digest))? {
                        check.damaged.push(*digest);
                    }
                }
                _ => {
                    check.blobs += 1;
                    match self.check_blob(digest) {
                        Err(PackError::Missing { .. }) => check.incomplete.push(*digest),
                        found => {
                            if is_damaged(found)? {
                                check.damaged.push(*digest);
                            }
                        }
                    }
                }
            }
        }
        Ok(check)
    }

    fn check_blob(&self, digest: &Digest) -> Result<(), PackError> {
        let mut chunks = self.read(digest)?;
        while chunks.next_chunk()?.is_some() {}
        Ok(())
    }
}

fn is_damaged<T>(found: Result<T, PackError>) -> Result<bool, PackError> {
    match found {
        // What is gone has been dropped meanwhile.
        Ok(_) | Err(PackError::Missing { .. }) => Ok(false),
        Err(PackError::Damaged { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}
