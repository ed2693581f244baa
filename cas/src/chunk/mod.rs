//! Large blobs as chunks: cut where the content says so, so that an edit moves no cut but those beside it.
//!
//! - [`Cutter`]: cuts a stream into chunks (FastCDC).
//! - [`encode_recipe`], [`decode_recipe`]: how a blob is put together, as bytes.
//! - [`pack`], [`pack_against`], [`unpack`]: a chunk as it travels and rests: as it is, compressed, or as a [`patch`] of
//!   chunks that the receiver has.
//! - [`Alignment`]: which chunks of an older blob are likely to resemble one of a newer.

mod align;
mod cut;
mod frame;
mod patch;
mod recipe;
#[cfg(test)]
mod tests;

pub use align::Alignment;
pub use cut::{Cutter, Piece};
pub use frame::{FrameError, pack, pack_against, unpack};
pub(crate) use frame::{pack_fast, unpack_data, unpack_unverified};
pub use recipe::{RecipeError, decode_recipe, encode_recipe};

/// No chunk is shorter, in bytes, but the last of a blob.
pub const CHUNK_BYTES_MIN: usize = 16 << 10;
/// About the length of most chunks, in bytes.
pub const CHUNK_BYTES_AVERAGE: usize = 64 << 10;
