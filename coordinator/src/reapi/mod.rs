//! The Remote Execution API (version 2), served on the farm's port: its clients use the farm's blobs, keep results of
//! actions here, and have actions executed by the farm's workers.
//!
//! Content is kept by BLAKE3; a client that names it by SHA-256 is led there. An action becomes a run of one case, so
//! that it is scheduled, made durable and lost workers are got over like any other.
//!
//! Deliberately absent: `SplitBlob`/`SpliceBlob` (chunks are this farm's own matter), log streams, the Remote Asset API,
//! and authentication: an instance's name says by which trust a client acts, and whoever reaches the port can say it.

mod action;
mod action_cache;
mod byte_stream;
mod capabilities;
mod cas;
mod execution;
mod instance;
mod operation;
mod outcome;
mod outgoing;
mod recent;
mod resource;
mod results;
mod state;
mod status;
mod uploads;
mod wire;

pub(crate) use action_cache::ActionCacheService;
pub(crate) use byte_stream::ByteStreamService;
pub(crate) use capabilities::CapabilitiesService;
pub(crate) use cas::CasService;
pub(crate) use execution::{ExecutionService, OperationsService};
pub(crate) use state::Reapi;

/// The most bytes of blobs in one message: with what stands around them, clients take 4 MiB by default.
const BATCH_BYTES_MAX: usize = 3 << 20;
/// The most bytes of a message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// The most bytes of a message of a stream that comes, of which there are many at a time: what gRPC takes by default, and some more.
pub(crate) const STREAM_MESSAGE_BYTES_MAX: usize = (4 << 20) + (64 << 10);
/// The longest blob in bytes: packs read no recipe of over 64 MiB, and one of so many bytes is shorter even where each
/// chunk is as small as chunks may be (36 bytes for every 16 KiB).
const BLOB_BYTES_MAX: u64 = 28 << 30;

#[cfg(test)]
mod tests {
    use super::BLOB_BYTES_MAX;
    use thresh_cas::{CHUNK_BYTES_MIN, encode_recipe};
    use thresh_core::chunk::{Part, Recipe};
    use thresh_core::digest::Digest;

    #[test]
    fn the_longest_blob_has_a_recipe_that_is_read() {
        let recipe_bytes = |count: u64| {
            let part = Part {
                digest: Digest::of(b"part"),
                size: u32::try_from(CHUNK_BYTES_MIN).unwrap(),
            };
            let recipe = Recipe::new(vec![part; usize::try_from(count).unwrap()]).unwrap();
            encode_recipe(&recipe).len() as u64
        };
        let each = recipe_bytes(1_001) - recipe_bytes(1_000);
        let around = recipe_bytes(1) - each;
        let longest = around + each * BLOB_BYTES_MAX.div_ceil(CHUNK_BYTES_MIN as u64);
        assert!(longest <= 64 << 20, "{longest}");
    }
}
