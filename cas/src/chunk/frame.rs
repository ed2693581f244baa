//! Chunks packed and unpacked.

use std::cell::RefCell;

use thresh_core::chunk::{BASE_BYTES_MAX, CHUNK_BYTES_MAX, Codec, Frame, Part};
use thresh_core::digest::Digest;
use zstd::zstd_safe::{CCtx, DCtx, compress_bound, get_error_name};

use super::patch;

/// The level at which chunks are compressed: higher ones cost several times as much for a few percent.
const LEVEL: i32 = 3;
/// The level for what comes uncompressed and in a stream, whose sender waits.
const FAST_LEVEL: i32 = 1;
/// A patch that is longer than the chunk divided by this may be longer than the chunk by itself.
const PATCH_SHARE: usize = 8;

/// A frame does not hold what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The chunk is longer than any may be.
    #[error("unpack chunk {digest}: {size} bytes, and at most {CHUNK_BYTES_MAX} are allowed")]
    Long {
        /// The chunk.
        digest: Digest,
        /// Its length in bytes, as announced.
        size: u32,
    },
    /// The bases are longer than they may be.
    #[error(
        "use chunk {digest} as a base: with it there are {size} bytes, and at most {BASE_BYTES_MAX} are allowed"
    )]
    Bases {
        /// The chunk, or the one that is packed against it.
        digest: Digest,
        /// The length of the bases together, in bytes.
        size: usize,
    },
    /// The data cannot be decompressed, or not into as many bytes as announced.
    #[error("unpack chunk {digest}: {cause}")]
    Data {
        /// The chunk.
        digest: Digest,
        /// Why.
        cause: String,
    },
    /// The content has another digest.
    #[error("unpack chunk {expected}: the content has digest {actual}")]
    WrongDigest {
        /// Announced.
        expected: Digest,
        /// Found.
        actual: Digest,
    },
}

/// Packs a chunk: compressed where that makes it shorter.
pub fn pack(digest: Digest, content: &[u8]) -> Frame {
    pack_at(LEVEL, digest, content)
}

/// As [`pack`], in two thirds of the time for a few percent more bytes.
pub(crate) fn pack_fast(digest: Digest, content: &[u8]) -> Frame {
    pack_at(FAST_LEVEL, digest, content)
}

fn pack_at(level: i32, digest: Digest, content: &[u8]) -> Frame {
    let compressed = compress(content, level).filter(|data| data.len() < content.len());
    let (codec, data) = match compressed {
        Some(data) => (Codec::Zstd, data),
        None => (Codec::Raw, content.to_vec()),
    };
    Frame {
        digest,
        size: u32::try_from(content.len()).expect("a chunk is short"),
        bases: Vec::new(),
        codec,
        data,
    }
}

/// Packs a chunk against others, or by itself where that is shorter: `base` is the content of `bases` together, at most
/// [`BASE_BYTES_MAX`] long.
pub fn pack_against(digest: Digest, content: &[u8], bases: Vec<Digest>, base: &[u8]) -> Frame {
    let patch = patch::make(base, content).filter(|_| !bases.is_empty());
    let Some(data) = patch.and_then(|patch| compress(&patch, LEVEL)) else {
        return pack(digest, content);
    };
    if data.len() > content.len() / PATCH_SHARE {
        let alone = pack(digest, content);
        if alone.data.len() <= data.len() {
            return alone;
        }
    }
    Frame {
        digest,
        size: u32::try_from(content.len()).expect("a chunk is short"),
        bases,
        codec: Codec::Zstd,
        data,
    }
}

/// Returns the content of a chunk, verified. `base` is the content of the frame's bases together.
///
/// Takes no more memory than a chunk may have, whatever the data says.
///
/// # Errors
/// The frame is not what it says.
pub fn unpack(frame: &Frame, base: &[u8]) -> Result<Vec<u8>, FrameError> {
    let (digest, size) = (frame.digest, frame.size);
    if frame.bases.is_empty() || frame.codec == Codec::Raw {
        return unpack_data(Part { digest, size }, frame.codec, &frame.data);
    }
    let part = Part { digest, size };
    check_size(part)?;
    if base.len() > BASE_BYTES_MAX {
        let size = base.len();
        return Err(FrameError::Bases { digest, size });
    }
    // A patch is shorter than what it makes.
    let content = decompress(&frame.data, size as usize).and_then(|patch| {
        patch::apply(&patch, base, size as usize).ok_or_else(|| "it is no patch of its bases".to_owned())
    });
    verified(part, of_size(part, content)?)
}

/// As [`unpack`], for what stands for a chunk by itself.
pub(crate) fn unpack_data(part: Part, codec: Codec, data: &[u8]) -> Result<Vec<u8>, FrameError> {
    verified(part, unpack_unverified(part, codec, data)?)
}

/// As [`unpack_data`], but whether the content has the chunk's digest is left to the caller.
pub(crate) fn unpack_unverified(part: Part, codec: Codec, data: &[u8]) -> Result<Vec<u8>, FrameError> {
    check_size(part)?;
    let content = match codec {
        Codec::Raw => Ok(data.to_vec()),
        Codec::Zstd => decompress(data, part.size as usize),
    };
    of_size(part, content)
}

fn check_size(part: Part) -> Result<(), FrameError> {
    let Part { digest, size } = part;
    match size as usize > CHUNK_BYTES_MAX {
        true => Err(FrameError::Long { digest, size }),
        false => Ok(()),
    }
}

/// The content, if it has the right length.
fn of_size(part: Part, content: Result<Vec<u8>, String>) -> Result<Vec<u8>, FrameError> {
    let Part { digest, size } = part;
    let content = content.map_err(|cause| FrameError::Data { digest, cause })?;
    if content.len() != size as usize {
        let cause = format!("{} bytes came of {size} announced", content.len());
        return Err(FrameError::Data { digest, cause });
    }
    Ok(content)
}

/// The content, if it has the right digest.
fn verified(part: Part, content: Vec<u8>) -> Result<Vec<u8>, FrameError> {
    match Digest::of(&content) {
        actual if actual == part.digest => Ok(content),
        actual => Err(FrameError::WrongDigest {
            expected: part.digest,
            actual,
        }),
    }
}

thread_local! {
    /// Made once a thread: to make them takes longer than to use them.
    static CONTEXTS: RefCell<(CCtx<'static>, DCtx<'static>)> = RefCell::new((CCtx::create(), DCtx::create()));
}

/// Returns `None` where it fails, which is for want of memory only.
fn compress(content: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(compress_bound(content.len()));
    let compressed = CONTEXTS.with_borrow_mut(|(context, _)| context.compress(&mut data, content, level));
    compressed.ok()?;
    data.shrink_to_fit();
    Some(data)
}

fn decompress(data: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut content = Vec::with_capacity(size);
    let decompressed = CONTEXTS.with_borrow_mut(|(_, context)| context.decompress(&mut content, data));
    decompressed.map_err(|code| get_error_name(code).to_owned())?;
    Ok(content)
}
