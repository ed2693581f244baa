//! Blobs in an S3-compatible object store, so that workers read them there and not through the coordinator, and a
//! coordinator on another machine finds them.
//!
//! An object is a sealed pack (`thresh_cas::PackStore`), as it is on disk, named by its digest: `PREFIX/packs/NAME`. The
//! coordinator's folder stays what it reads and writes first; it seals and copies what is new before a run is accepted.
//! Who asks for chunks and can read elsewhere is told an address that is signed for a quarter of an hour, and a range
//! there: workers need no credentials. What is small or scattered comes from the coordinator all the same.
//!
//! Nothing waits for the object store for good: while it is away, blobs come from the coordinator, and are copied later.

mod address;
mod connector;
mod copy;
mod error;
mod packs;
mod reader;
mod upkeep;

pub use address::{BucketAddress, InvalidBucket};
pub use error::BucketError;
pub(crate) use packs::Bucket;
