//! Blobs in a folder, by digest.
//!
//! Layout: `ab/abcdef…` holds the blob of that digest, mode 0644; `ab/abcdef…x` the same content, mode 0755,
//! made when it is first asked for, since a hard link shares its mode; `ab/abcdef…r` its chunks, if it came in
//! such; `tmp/` what is being written, each file
//! locked by its writer.
//!
//! Invariants: a blob appears by rename, whole and verified. Nothing is synced: what a power cut tears is found
//! damaged when it is next used. Every blob bears one fixed modification time, so that a later write shows in
//! its stamp however soon it comes. Several processes may use one folder at once.

mod blobs;
mod error;
mod pieces;
mod reader;
mod trim;
mod verify;
mod writer;

pub use blobs::BlobStore;
pub(crate) use blobs::Variant;
pub use error::StoreError;
pub(crate) use error::is_disk_full;
pub use reader::BlobReader;
pub use trim::Trimmed;
pub(crate) use verify::blob_time;
pub use writer::BlobWriter;

use std::time::Duration;

/// The most bytes that a [`BlobReader`] returns at once.
pub const READ_BYTES_MAX: usize = 1 << 20;
/// When the store is opened, unfinished files that nobody holds and that are older than this are removed.
pub const STALE_AFTER: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
