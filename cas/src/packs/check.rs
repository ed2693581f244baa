//! What there is, and whether it is sound.

use thresh_core::chunk::Recipe;
use thresh_core::digest::Digest;

use std::collections::{BTreeSet, HashSet};

use rayon::prelude::*;

use super::name::{DigestFunction, NameHasher};
use super::pieces::ReadChunk;
use super::record::Kind;
use super::{PackError, PackStore};

/// Chunks that are looked at at once, on all cores.
const TOGETHER: usize = 64;

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
    /// Chunks, patches, blobs and names of blobs that were damaged, and are dropped now; sorted.
    pub damaged: Vec<Digest>,
    /// Blobs of which chunks are missing; sorted.
    pub incomplete: Vec<Digest>,
    /// Places where something is stored of which it can no longer be told what: its header is damaged.
    pub lost: u64,
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
                Kind::Delta | Kind::List | Kind::Gone | Kind::Alias => {}
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
        let [blobs, chunks] = [Kind::Recipe, Kind::Chunk].map(|kind| self.all(kind));
        let others = [Kind::Delta, Kind::Alias].map(|kind| (kind, self.all(kind)));
        let all = (blobs.len() + chunks.len() + others[0].1.len() + others[1].1.len()) as u64;
        let (mut check, mut done, mut sound) = (Check::default(), 0, HashSet::new());
        let mut damaged = BTreeSet::new();
        for digest in blobs {
            progress(done, all);
            done += 1;
            check.blobs += 1;
            match self.check_blob(&digest, &mut sound) {
                Ok(()) => {}
                Err(PackError::Missing { .. }) => check.incomplete.push(digest),
                Err(PackError::Damaged { digest: found }) => {
                    damaged.insert(found);
                    if found != digest {
                        check.incomplete.push(digest);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        // What a blob was read of need not be read again.
        let (seen, unseen): (Vec<Digest>, Vec<Digest>) =
            chunks.iter().partition(|chunk| sound.contains(*chunk));
        check.chunks += seen.len() as u64;
        for together in unseen.chunks(TOGETHER) {
            let found = together.par_iter().map(|digest| self.chunk(digest).map(drop));
            for (digest, found) in together.iter().zip(found.collect::<Vec<_>>()) {
                check.chunks += 1;
                match found {
                    // What is gone has been dropped meanwhile.
                    Ok(()) | Err(PackError::Missing { .. }) => {}
                    Err(PackError::Damaged { .. }) => drop(damaged.insert(*digest)),
                    Err(error) => return Err(error),
                }
            }
            done += together.len() as u64;
            progress(done, all);
        }
        for (kind, digests) in others {
            for digest in digests {
                match self.record(kind, &digest, digest) {
                    Ok(_) | Err(PackError::Missing { .. }) => {}
                    Err(PackError::Damaged { .. }) => drop(damaged.insert(digest)),
                    Err(error) => return Err(error),
                }
                done += 1;
                progress(done, all);
            }
        }
        check.lost = self.state().lost;
        check.damaged = damaged.into_iter().collect();
        Ok(check)
    }

    fn all(&self, wanted: Kind) -> Vec<Digest> {
        let state = self.state();
        let all = state.slots.keys().filter(|(kind, _)| *kind == wanted);
        let mut all: Vec<Digest> = all.map(|(_, digest)| *digest).collect();
        all.sort_unstable();
        all
    }

    /// Reads a blob of several chunks, which must make it together. Its chunks are added to those that are sound.
    fn check_blob(&self, digest: &Digest, sound: &mut HashSet<Digest>) -> Result<(), PackError> {
        let (slot, _) = self.find(Kind::Recipe, digest)?;
        let recipe = self.recipe(digest)?;
        // If the whole is right, so is each chunk: what it is has not changed since both digests were told of it. Only
        // where it is not, the chunks' own digests say which is damaged.
        let is_right = self.digest_of(&recipe, Self::chunk_of_blob)? == *digest
            || self.digest_of(&recipe, Self::chunk)? == *digest;
        if !is_right {
            self.drop_damaged(Kind::Recipe, digest, slot);
            return Err(PackError::Damaged { digest: *digest });
        }
        let chunks = recipe.parts().iter().map(|part| part.digest);
        sound.extend(chunks);
        Ok(())
    }

    /// The digest of the content that a recipe's chunks are together.
    fn digest_of(&self, recipe: &Recipe, read: ReadChunk) -> Result<Digest, PackError> {
        let mut hasher = NameHasher::new(DigestFunction::Blake3);
        for piece in self.pieces(recipe.parts().to_vec(), read) {
            hasher.update(&piece?);
        }
        Ok(Digest::from_bytes(hasher.finish().hash))
    }
}
