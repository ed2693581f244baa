//! The folder, and where in it everything is.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use thresh_core::chunk::Codec;
use thresh_core::digest::Digest;

use super::PackError;
use super::ahead::Sharers;
use super::place::Place;
use super::record::{HEADER_BYTES, Header, Kind};

/// Packed blobs in a folder. Several processes may use it at once: each writes packs of its own. Clones are cheap and share everything.
#[derive(Clone, Debug)]
pub struct PackStore {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) state: Mutex<State>,
    /// Blobs that come or go.
    pub(super) sharers: Sharers,
    /// Locked: shared, or by this process alone.
    pub(super) _users: File,
}

/// What is where.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) slots: HashMap<(Kind, Digest), Slot>,
    pub(super) packs: BTreeMap<u32, Pack>,
    /// The pack that is being written; it is the last one.
    pub(super) open: Option<u32>,
    /// Places where a record could no longer be told when the packs were opened.
    pub(super) lost: u64,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) pack: u32,
    /// Where its header begins.
    pub(super) offset: u32,
    pub(super) stored: u32,
    pub(super) size: u32,
    pub(super) codec: Codec,
    /// When it was last asked for or stored, in seconds since the Unix epoch.
    pub(super) used: u32,
}

impl Slot {
    pub(super) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.stored)
    }
}

/// A pack.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) place: Place,
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// The digest of its list, once it is sealed.
    pub(super) name: Option<Digest>,
    /// All its records, while it is ours.
    pub(super) records: Vec<(u32, Header)>,
    pub(super) owner: Owner,
}

/// Who may write to a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This process; it holds the file's lock.
    Us,
    /// Another process.
    Another,
    /// It is sealed.
    Nobody,
}

impl PackStore {
    /// Whether the blob is there, whole.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.find_missing(std::slice::from_ref(digest)).is_empty()
    }

    /// Returns those of `digests` that are not there, in the order given, whether they are chunks or blobs of
    /// several. The others count as just used.
    pub fn find_missing(&self, digests: &[Digest]) -> Vec<Digest> {
        let now = now();
        let missing = digests.iter().copied().filter(|digest| {
            if self.state().touch(Kind::Chunk, digest, now) {
                return false;
            }
            let Ok(recipe) = self.recipe(digest) else {
                return true;
            };
            let mut state = self.state();
            let mut whole = true;
            for part in recipe.parts() {
                whole &= state.touch(Kind::Chunk, &part.digest, now);
            }
            !whole
        });
        missing.collect()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No change of the state can panic half way.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path_of(&self, pack: u32) -> PathBuf {
        path_of(&self.inner.dir, pack)
    }

    /// Where a record is, and its pack.
    pub(super) fn find(&self, kind: Kind, digest: &Digest) -> Result<(Slot, Place), PackError> {
        let mut state = self.state();
        let slot = state.slots.get_mut(&(kind, *digest)).map(|slot| {
            slot.used = now();
            *slot
        });
        let found = slot.and_then(|slot| Some((slot, state.packs.get(&slot.pack)?.place.clone())));
        found.ok_or(PackError::Missing { digest: *digest })
    }

    /// Forgets a record that was found damaged, also for who opens the folder later, unless it has been stored again
    /// since.
    pub(super) fn drop_damaged(&self, kind: Kind, digest: &Digest, slot: Slot) {
        if !self.state().forget(kind, digest, slot) {
            return;
        }
        let mut sum = [0; 8];
        sum[..4].copy_from_slice(&slot.pack.to_le_bytes());
        sum[4] = kind as u8;
        let gone = Header {
            kind: Kind::Gone,
            codec: Codec::Raw,
            digest: *digest,
            size: slot.offset,
            stored: 0,
            sum,
        };
        // If it cannot be written, the damage is found again.
        let _ = self.write_record(&mut self.state(), &gone, &gone.encode(), now());
    }
}

impl State {
    pub(super) fn touch(&mut self, kind: Kind, digest: &Digest, now: u32) -> bool {
        match self.slots.get_mut(&(kind, *digest)) {
            Some(slot) => {
                slot.used = now;
                true
            }
            None => false,
        }
    }

    /// Forgets a record, unless another has taken its place. Returns whether it did.
    pub(super) fn forget(&mut self, kind: Kind, digest: &Digest, slot: Slot) -> bool {
        let same = |now: &Slot| (now.pack, now.offset) == (slot.pack, slot.offset);
        let found = self.slots.get(&(kind, *digest)).is_some_and(same);
        found && self.slots.remove(&(kind, *digest)).is_some()
    }

    /// Notes a record of a pack; the later of two counts.
    pub(super) fn note(&mut self, pack: u32, offset: u32, header: &Header, used: u32) {
        if header.kind == Kind::Gone {
            let (pack, kind) = header.sum.split_at(4);
            let pack = u32::from_le_bytes(pack.try_into().expect("half of 8 bytes"));
            let gone = |slot: &Slot| (slot.pack, slot.offset) == (pack, header.size);
            if let Some(kind) = Kind::of(kind[0].into())
                && self.slots.get(&(kind, header.digest)).is_some_and(gone)
            {
                self.slots.remove(&(kind, header.digest));
            }
            return;
        }
        let slot = Slot {
            pack,
            offset,
            stored: header.stored,
            size: header.size,
            codec: header.codec,
            used,
        };
        self.slots.insert((header.kind, header.digest), slot);
    }
}

pub(super) fn path_of(dir: &Path, pack: u32) -> PathBuf {
    dir.join(format!("{pack:08x}.pack"))
}

/// Seconds since the Unix epoch.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
