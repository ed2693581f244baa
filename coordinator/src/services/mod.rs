//! The gRPC services: validate, convert, submit, convert back. No policy.

mod blobs;
mod plan;
mod records;
mod runs;
mod sending;
mod sites;
mod status;
mod submission;
mod version;
mod work;

pub(crate) use blobs::BlobsService;
pub use records::RUNS_MAX;
pub(crate) use records::RecordsService;
pub use runs::ATTEMPTS_MAX;
pub(crate) use runs::RunsService;
pub(crate) use sites::SitesService;
pub(crate) use status::{
    of_blob as status_of_blob, of_refusal as status_of_refusal, of_store as status_of_store,
};
pub(crate) use submission::validate;
pub(crate) use work::{WorkService, report_from_wire};

use std::sync::Arc;

use thresh_cas::PackStore;

use crate::bucket::Bucket;
use crate::clock::Clock;
use crate::demand::Demands;
use crate::driver::Handle;
use crate::engine::Engine;
use crate::external::ExternalCache;
use crate::peers::Peers;
use crate::recorder::Recorder;
use crate::store::Store;

/// What all services use.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) driver: Handle,
    pub(crate) recorder: Recorder,
    pub(crate) store: Arc<dyn Store>,
    /// Absent where only in-place runs are taken.
    pub(crate) blobs: Option<PackStore>,
    /// Where blobs are, too.
    pub(crate) bucket: Option<Bucket>,
    /// Which has the blobs of its runs from their client.
    pub(crate) engine: Option<Engine>,
    /// Blobs that workers wait for.
    pub(crate) demands: Demands,
    /// Workers that give blobs to each other.
    pub(crate) peers: Peers,
    /// Passes of others.
    pub(crate) external: Option<ExternalCache>,
    pub(crate) clock: Clock,
    /// The program's version, for messages.
    pub(crate) version: String,
}

impl Shared {
    /// Blobs were stored.
    pub(crate) fn note_stored(&self) {
        self.demands.note_stored();
        if let Some(bucket) = &self.bucket {
            bucket.note_stored();
        }
    }
}
