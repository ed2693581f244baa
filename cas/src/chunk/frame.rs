//! Chunks packed and unpacked.

use std::cell::RefCell;

use thresh_core::chunk::{BASE_BYTES_MAX, CHUNK_BYTES_MAX, Codec, Frame};
use thresh_core::digest::Digest;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, SafeResult, compress_bound, get_error_name};

/// The level at which chunks are compressed: higher ones cost several times as much for a few percent.
const LEVEL: i32 = 3;
/// 2 to the power of this is more than a chunk and all that it is compressed against.
const WINDOW_LOG: u32 = 21;

const _: () = assert!(CHUNK_BYTES_MAX + BASE_BYTES_MAX <= 1 << WINDOW_LOG);

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
    pack_against(digest, content, Vec::new(), &[])
}

/// Packs a chunk against others: `base` is the content of `bases` together, at most [`BASE_BYTES_MAX`] long.
pub fn pack_against(digest: Digest, content: &[u8], bases: Vec<Digest>, base: &[u8]) -> Frame {
    let size = u32::try_from(content.len()).expect("a chunk is short");
    match compress(content, base) {
        Some(data) => Frame {
            digest,
            size,
            bases,
            codec: Codec::Zstd,
            data,
        },
        None => Frame {
            digest,
            size,
            bases: Vec::new(),
            codec: Codec::Raw,
            data: content.to_vec(),
        },
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
    if size as usize > CHUNK_BYTES_MAX {
        return Err(FrameError::Long { digest, size });
    }
    if base.len() > BASE_BYTES_MAX {
        let size = base.len();
        return Err(FrameError::Bases { digest, size });
    }
    let content = match frame.codec {
        Codec::Raw => frame.data.clone(),
        Codec::Zstd => decompress(&frame.data, size as usize, base)
            .map_err(|cause| FrameError::Data { digest, cause })?,
    };
    if content.len() != size as usize {
        let cause = format!("{} bytes came of {size} announced", content.len());
        return Err(FrameError::Data { digest, cause });
    }
    match Digest::of(&content) {
        actual if actual == digest => Ok(content),
        actual => Err(FrameError::WrongDigest {
            expected: digest,
            actual,
        }),
    }
}

thread_local! {
    /// Made once a thread: to make them takes longer than to use them.
    static CONTEXTS: RefCell<(CCtx<'static>, DCtx<'static>)> = RefCell::new((CCtx::create(), DCtx::create()));
}

/// Returns `None` where nothing is gained.
fn compress(content: &[u8], base: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(compress_bound(content.len()));
    let compressed = if base.is_empty() {
        CONTEXTS.with_borrow_mut(|(context, _)| context.compress(&mut data, content, LEVEL))
    } else {
        compress_against(&mut data, content, base)
    };
    // It fails for want of memory only, and then the content can still go as it is.
    compressed.ok().filter(|_| data.len() < content.len())?;
    data.shrink_to_fit();
    Some(data)
}

/// A context holds its prefix for as long as it lives, so that each prefix has one of its own.
fn compress_against(data: &mut Vec<u8>, content: &[u8], base: &[u8]) -> SafeResult {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::CompressionLevel(LEVEL))?;
    context.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    context.ref_prefix(base)?;
    context.compress2(data, content)
}

fn decompress(data: &[u8], size: usize, base: &[u8]) -> Result<Vec<u8>, String> {
    let mut content = Vec::with_capacity(size);
    let decompressed = if base.is_empty() {
        CONTEXTS.with_borrow_mut(|(_, context)| context.decompress(&mut content, data))
    } else {
        decompress_against(&mut content, data, base)
    };
    decompressed.map_err(|code| get_error_name(code).to_owned())?;
    Ok(content)
}

fn decompress_against(content: &mut Vec<u8>, data: &[u8], base: &[u8]) -> SafeResult {
    let mut context = DCtx::create();
    context.ref_prefix(base)?;
    context.decompress(content, data)
}
