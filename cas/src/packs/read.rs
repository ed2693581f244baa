//! How chunks and blobs go out.

use std::cell::RefCell;

use thresh_core::chunk::{BASE_BYTES_MAX, Codec, Frame, Part, Recipe};
use thresh_core::digest::Digest;

use super::append::delta_digest;
use super::place::{Place, is_gone};
use super::record::{HEADER_BYTES, Header, Kind, checksum};
use super::store::Slot;
use super::{PackError, PackStore};
use crate::chunk::{FrameError, decode_recipe, pack_against, unpack_data, unpack_unverified};

/// No recipe is longer, in bytes: it would be that of a blob of over 100 GB.
const RECIPE_BYTES_MAX: usize = 64 << 20;

impl PackStore {
    /// A chunk as it rests.
    ///
    /// # Errors
    /// It is missing, was damaged, or cannot be read.
    pub fn frame(&self, digest: &Digest) -> Result<Frame, PackError> {
        self.record(Kind::Chunk, digest, *digest)
    }

    /// A chunk packed against `bases`, if they are there, and it is shorter so.
    ///
    /// # Errors
    /// As [`PackStore::frame`].
    pub fn frame_against(&self, digest: &Digest, bases: &[Digest]) -> Result<Frame, PackError> {
        let whole = self.frame(digest)?;
        if bases.is_empty() {
            return Ok(whole);
        }
        let delta = delta_digest(digest, bases);
        if let Ok(frame) = self.record(Kind::Delta, &delta, *digest) {
            return Ok(Frame {
                bases: bases.to_vec(),
                ..frame
            });
        }
        // Without them the whole is what there is.
        let Ok(base) = self.base(bases) else {
            return Ok(whole);
        };
        let content = self.chunk(digest)?;
        let frame = pack_against(*digest, &content, bases.to_vec(), &base);
        // One by itself may be shorter than `whole` where that was packed in haste; it is no patch.
        if frame.bases.is_empty() || frame.data.len() >= whole.data.len() {
            return Ok(whole);
        }
        self.append(Kind::Delta, delta, &frame)?;
        Ok(frame)
    }

    /// The content of a chunk, verified.
    ///
    /// # Errors
    /// It is missing, was damaged, or cannot be read.
    pub fn chunk(&self, digest: &Digest) -> Result<Vec<u8>, PackError> {
        self.content(digest, unpack_data)
    }

    /// The content of a chunk, for one who verifies the blob that it is of.
    pub(super) fn chunk_of_blob(&self, digest: &Digest) -> Result<Vec<u8>, PackError> {
        self.content(digest, unpack_unverified)
    }

    fn content(&self, digest: &Digest, unpack: Unpack) -> Result<Vec<u8>, PackError> {
        let (slot, place) = self.find(Kind::Chunk, digest)?;
        let content = RECORD.with_borrow_mut(|record| {
            let is_there = self.fill(record, slot, &place)?;
            let content = is_there.then(|| content_of(record, *digest, unpack));
            Ok::<_, PackError>(content.flatten())
        });
        content?.ok_or_else(|| {
            self.drop_damaged(Kind::Chunk, digest, slot);
            PackError::Damaged { digest: *digest }
        })
    }

    /// The recipe of a blob of several chunks.
    ///
    /// # Errors
    /// It is missing, was damaged, or cannot be read.
    pub fn recipe(&self, digest: &Digest) -> Result<Recipe, PackError> {
        let (slot, _) = self.find(Kind::Recipe, digest)?;
        let frame = self.record(Kind::Recipe, digest, *digest)?;
        let encoded = match frame.codec {
            Codec::Raw => Some(frame.data),
            Codec::Zstd => {
                let size = (frame.size as usize).min(RECIPE_BYTES_MAX);
                zstd::bulk::decompress(&frame.data, size).ok()
            }
        };
        let recipe = encoded.and_then(|encoded| decode_recipe(&encoded).ok());
        recipe.ok_or_else(|| {
            self.drop_damaged(Kind::Recipe, digest, slot);
            PackError::Damaged { digest: *digest }
        })
    }

    /// The content of chunks together.
    pub(super) fn base(&self, bases: &[Digest]) -> Result<Vec<u8>, PackError> {
        let mut base = Vec::new();
        for digest in bases {
            base.extend_from_slice(&self.chunk(digest)?);
            if base.len() > BASE_BYTES_MAX {
                let (digest, size) = (*digest, base.len());
                return Err(FrameError::Bases { digest, size }.into());
            }
        }
        Ok(base)
    }

    /// Reads a record, which stands for `digest`.
    pub(super) fn record(&self, kind: Kind, name: &Digest, digest: Digest) -> Result<Frame, PackError> {
        let (slot, place) = self.find(kind, name)?;
        let mut record = Vec::new();
        let is_there = self.fill(&mut record, slot, &place)?;
        let frame = is_there
            .then(|| read_record(record, kind, name, digest))
            .flatten();
        frame.ok_or_else(|| {
            self.drop_damaged(kind, name, slot);
            PackError::Damaged { digest }
        })
    }

    /// Reads what is in a slot, and says whether it is there.
    fn fill(&self, record: &mut Vec<u8>, slot: Slot, place: &Place) -> Result<bool, PackError> {
        record.resize(HEADER_BYTES + slot.stored as usize, 0);
        match place.read_exact_at(record, u64::from(slot.offset)) {
            Ok(()) => Ok(true),
            Err(cause) if is_gone(&cause) => Ok(false),
            Err(cause) => Err(PackError::io("read", &self.path_of(slot.pack))(cause)),
        }
    }
}

/// How the data of a chunk is unpacked.
type Unpack = fn(Part, Codec, &[u8]) -> Result<Vec<u8>, FrameError>;

thread_local! {
    /// The record of a chunk that is being unpacked: as long as the longest so far.
    static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The content of a chunk, of its record; `None` where it is another or damaged. That is told by the content alone:
/// the data's own checksum would say no more.
fn content_of(record: &[u8], digest: Digest, unpack: Unpack) -> Option<Vec<u8>> {
    let (header, data) = record.split_first_chunk()?;
    let header = Header::decode(header)?;
    if (header.kind, header.digest) != (Kind::Chunk, digest) {
        return None;
    }
    let size = header.size;
    unpack(Part { digest, size }, header.codec, data).ok()
}

/// What a record says that stands for `digest`; `None` where it is another or damaged.
pub(super) fn read_record(mut record: Vec<u8>, kind: Kind, name: &Digest, digest: Digest) -> Option<Frame> {
    let header = Header::decode(record.first_chunk()?)?;
    record.drain(..HEADER_BYTES);
    let is_it = (header.kind, header.digest) == (kind, *name) && checksum(&record) == header.sum;
    is_it.then_some(Frame {
        digest,
        size: header.size,
        bases: Vec::new(),
        codec: header.codec,
        data: record,
    })
}
