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
/// The longest blob in bytes.
const BLOB_BYTES_MAX: u64 = 1 << 40;
