//! Chunks: what blobs are cut into, and how they travel and rest.

use crate::digest::Digest;

/// No chunk is longer, in bytes. A blob that is not longer is a chunk by itself and has no recipe.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// The chunks that one is packed against have at most so many bytes together.
pub const BASE_BYTES_MAX: usize = 4 * CHUNK_BYTES_MAX;

/// So many chunks at most are a base together.
pub const BASES_MAX: usize = 128;

/// How the bytes of a frame stand for the chunk's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// They are the chunk's.
    Raw,
    /// A Zstandard frame (RFC 8878) of them; with bases, of what makes them of the content of these.
    Zstd,
}

/// A chunk as it travels and rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The digest of the chunk's content.
    pub digest: Digest,
    /// The length of the content in bytes.
    pub size: u32,
    /// The chunks that it was packed against, in order; mostly none.
    pub bases: Vec<Digest>,
    /// What `data` is.
    pub codec: Codec,
    /// What stands for the content; never longer than it.
    pub data: Vec<u8>,
}

/// A chunk of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The digest of its content.
    pub digest: Digest,
    /// Its length in bytes, from 1 to [`CHUNK_BYTES_MAX`].
    pub size: u32,
}

impl Part {
    /// A chunk with this content, of at most 4 GiB.
    pub fn of(content: &[u8]) -> Self {
        Self {
            digest: Digest::of(content),
            size: u32::try_from(content.len()).expect("a chunk is short"),
        }
    }
}

/// How a blob is put together: its chunks, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    parts: Vec<Part>,
    /// Where each part begins, and where the last one ends.
    offsets: Vec<u64>,
    base: Option<Digest>,
}

/// A part that no recipe may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("part {index} has {size} bytes, and 1 to {CHUNK_BYTES_MAX} are allowed")]
pub struct InvalidPart {
    /// Its position.
    pub index: usize,
    /// Its length in bytes.
    pub size: u32,
}

impl Recipe {
    /// Makes a recipe.
    ///
    /// # Errors
    /// A part is empty or too long.
    pub fn new(parts: Vec<Part>) -> Result<Self, InvalidPart> {
        let mut offsets = Vec::with_capacity(parts.len() + 1);
        let mut end = 0;
        offsets.push(end);
        for (index, Part { size, .. }) in parts.iter().enumerate() {
            if *size == 0 || *size as usize > CHUNK_BYTES_MAX {
                return Err(InvalidPart { index, size: *size });
            }
            end += u64::from(*size);
            offsets.push(end);
        }
        Ok(Self {
            parts,
            offsets,
            base: None,
        })
    }

    /// Names a blob of which this one is likely a newer version.
    #[must_use]
    pub fn with_base(self, base: Option<Digest>) -> Self {
        Self { base, ..self }
    }

    /// A blob of which this one is likely a newer version, if one is known.
    pub fn base(&self) -> Option<Digest> {
        self.base
    }

    /// Its parts, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Each part with its offset in the blob, in bytes.
    pub fn located(&self) -> impl Iterator<Item = (u64, &Part)> {
        self.offsets.iter().copied().zip(&self.parts)
    }

    /// Where the part at `index` begins in the blob, in bytes, or, for the number of parts, where the blob ends.
    pub fn offset(&self, index: usize) -> u64 {
        self.offsets[index]
    }

    /// The length of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.offset(self.parts.len())
    }

    /// The position of the part that holds the byte at `offset`; behind the end, the number of parts.
    pub fn part_at(&self, offset: u64) -> usize {
        self.offsets.partition_point(|begin| *begin <= offset) - 1
    }
}
