//! Packs that rest elsewhere, too: which of them are complete, and where in them a chunk is.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use thresh_core::chunk::Frame;
use thresh_core::digest::Digest;
use thresh_core::reading::Located;

use super::append::delta_digest;
use super::read::read_record;
use super::record::{Kind, TRAILER_BYTES, list_offset, read_list};
use super::store::{Owner, Pack, now};
use super::{PackError, PackStore};

/// Reads packs that rest elsewhere. May be called on any thread, which it blocks.
pub trait PackReader: Debug + Send + Sync {
    /// Reads `into.len()` bytes of a pack, from `offset` on.
    ///
    /// # Errors
    /// `NotFound` when the pack is gone, `UnexpectedEof` when it is shorter; another when it cannot be read now.
    fn read_exact_at(&self, pack: &Digest, into: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Where a pack is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In the folder.
    Here(Arc<File>),
    /// With others, by its name.
    Elsewhere(Digest, Arc<dyn PackReader>),
}

impl Place {
    pub(super) fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Here(file) => file.read_exact_at(into, offset),
            Self::Elsewhere(name, reader) => reader.read_exact_at(name, into, offset),
        }
    }
}

/// Whether what was to be read is not there any more; otherwise it may be read later. A pack that others keep may have
/// been removed there.
pub(super) fn is_gone(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::UnexpectedEof | ErrorKind::NotFound)
}

/// A pack that nobody writes to any more.
#[derive(Clone, Debug)]
pub struct SealedPack {
    /// The digest of its list, by which others know it. Packs of one name hold the same records at the same places.
    pub name: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its content.
    pub file: Arc<File>,
}

impl PackStore {
    /// Seals what has been stored so far, so that it can be [copied](Self::sealed) elsewhere.
    ///
    /// # Errors
    /// A pack cannot be written.
    pub fn seal_all(&self) -> Result<(), PackError> {
        let mut state = self.state();
        let ours = state.packs.iter().filter(|(_, pack)| pack.owner == Owner::Us);
        let begun = ours.filter(|(_, pack)| !pack.records.is_empty());
        for number in begun.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.seal(&mut state, number)?;
        }
        Ok(())
    }

    /// The sealed packs in the folder, the oldest first.
    pub fn sealed(&self) -> Vec<SealedPack> {
        let state = self.state();
        let sealed = state.packs.values().filter_map(|pack| match &pack.place {
            Place::Here(file) => Some(SealedPack {
                name: pack.name?,
                bytes: pack.bytes,
                file: file.clone(),
            }),
            Place::Elsewhere(..) => None,
        });
        sealed.collect()
    }

    /// The names of all sealed packs, wherever they are.
    pub fn names(&self) -> Vec<Digest> {
        self.state().packs.values().filter_map(|pack| pack.name).collect()
    }

    /// Takes in a pack of `bytes` bytes that rests elsewhere. What is here already counts, and not what it has of the
    /// same. Returns whether it is sealed and named so; another is left alone.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn attach(&self, name: Digest, bytes: u64, reader: Arc<dyn PackReader>) -> io::Result<bool> {
        let mut trailer = [0; TRAILER_BYTES as usize];
        let Some(end) = bytes.checked_sub(TRAILER_BYTES) else {
            return Ok(false);
        };
        reader.read_exact_at(&name, &mut trailer, end)?;
        let Some(offset) = list_offset(&trailer, bytes) else {
            return Ok(false);
        };
        let length = usize::try_from(end - offset).map_err(io::Error::other)?;
        let mut list = vec![0; length];
        reader.read_exact_at(&name, &mut list, offset)?;
        let Some((records, _)) = read_list(&list).filter(|(_, found)| *found == name) else {
            return Ok(false);
        };
        let mut state = self.state();
        if state.packs.values().any(|pack| pack.name == Some(name)) {
            return Ok(true);
        }
        let last = state.packs.last_key_value().map_or(0, |(last, _)| *last);
        let pack = Pack {
            place: Place::Elsewhere(name, reader),
            bytes,
            name: Some(name),
            records: Vec::new(),
            owner: Owner::Nobody,
        };
        state.packs.insert(last + 1, pack);
        let used = now();
        // What was found damaged is so by the number that a pack had in another folder.
        for (offset, header) in records.iter().filter(|(_, header)| header.kind != Kind::Gone) {
            if !state.slots.contains_key(&(header.kind, header.digest)) {
                state.note(last + 1, *offset, header, used);
            }
        }
        Ok(true)
    }

    /// Where a chunk is in a sealed pack, packed against `bases` where they are named. `None` where it is in none so.
    pub fn place_of(&self, digest: &Digest, bases: &[Digest]) -> Option<Located> {
        let key = match bases {
            [] => (Kind::Chunk, *digest),
            bases => (Kind::Delta, delta_digest(digest, bases)),
        };
        let mut state = self.state();
        let now = now();
        state.touch(key.0, &key.1, now);
        state.touch(Kind::Chunk, digest, now);
        let slot = state.slots.get(&key)?;
        Some(Located {
            pack: state.packs.get(&slot.pack)?.name?,
            offset: slot.offset.into(),
            bytes: slot.record_bytes(),
            against_bases: !bases.is_empty(),
        })
    }
}

/// Reads the record of a chunk, as it is in a pack: packed against `bases`, or, if there are none, by itself. `None`
/// where it is another chunk's, or damaged.
pub fn chunk_of_record(record: Vec<u8>, digest: Digest, bases: &[Digest]) -> Option<Frame> {
    let frame = match bases {
        [] => read_record(record, Kind::Chunk, &digest, digest),
        bases => read_record(record, Kind::Delta, &delta_digest(&digest, bases), digest),
    }?;
    Some(Frame {
        bases: bases.to_vec(),
        ..frame
    })
}
