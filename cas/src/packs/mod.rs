//! Blobs as they rest where they are kept for others: chunks, compressed, in packs.
//!
//! Layout: `lock` (shared by all who use the folder); `00000001.pack`, …: records, one behind the
//! other, each with a header of its own ([`record`]). A pack that has reached [`PACK_BYTES`] is sealed: its last
//! record lists all others, so that it can be opened without reading it through.
//!
//! Several processes may use one folder: each writes packs of its own, which it holds locked until they are sealed,
//! and sees what the others had written when it opened the folder.
//!
//! A sealed pack never changes, so that it can be copied elsewhere and be read there by others, by the name that its
//! list gives it ([`place`]); a folder that lacks it can take it in from there.
//!
//! Invariants: a chunk is stored after its content was verified; a blob of several chunks is there when its recipe
//! is and all its chunks are, and its recipe is stored after the whole content was verified. What a crash tears is
//! cut off when the folder is next opened. Nothing is synced: what a power cut tears is found damaged when it is
//! next read, and dropped; whoever has it sends it again. Where a chunk is stored twice, the later one counts.

mod ahead;
mod append;
mod blob;
mod check;
mod error;
mod ingest;
mod name;
mod open;
mod pieces;
mod place;
mod read;
mod record;
mod store;
mod sweep;
#[cfg(test)]
mod tests;

pub use check::{Check, Stat};
pub use error::PackError;
pub use name::{BlobName, DigestFunction, NameHasher};
pub use pieces::{BlobPieces, BlobReading};
pub use place::{PackReader, SealedPack, chunk_of_record};
pub use store::PackStore;
pub use sweep::Swept;

/// A pack that has so many bytes is sealed.
pub const PACK_BYTES: u64 = 64 << 20;
