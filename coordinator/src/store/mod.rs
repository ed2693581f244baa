//! What outlives a run: history, reusable passes, cached test lists.
//!
//! [`Store`] is the interface; [`SqliteStore`] keeps it in one file that several coordinators on one machine
//! share. Every method takes or returns many rows at a time, since a call costs far more than a row.
//!
//! Deliberately absent: the state of runs that are going on (the driver's, in memory) and blobs
//! (`thresh-cas`).

mod error;
mod record;
mod sqlite;

pub use error::StoreError;
pub use record::{
    AttemptRecord, Batch, CaseId, KnownPass, LastPass, PassRecord, PastAttempt, PastCase, RunRecord,
};
pub use sqlite::SqliteStore;

use thresh_core::digest::Digest;
use thresh_core::estimate::CaseSamples;
use thresh_core::reuse::CaseKey;
use thresh_core::time::Timestamp;

/// What outlives a run. All methods fail with a [`StoreError`] that names the database.
#[tonic::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes attempts, passes and ended runs, all or nothing.
    async fn record(&self, batch: Batch) -> Result<(), StoreError>;

    /// Returns the recent durations of every known case of a project.
    async fn samples(&self, project: &str) -> Result<Vec<CaseSamples>, StoreError>;

    /// Returns what is known of the cases of a project whose `binary id, space, name` contains any of
    /// `patterns` (none: of all), each with up to `attempts_max` attempts, newest first.
    async fn history(
        &self,
        project: &str,
        patterns: &[String],
        attempts_max: u32,
    ) -> Result<Vec<PastCase>, StoreError>;

    /// Returns which of `keys` have a clean pass, in ascending order of position.
    async fn find_passes(&self, keys: &[CaseKey]) -> Result<Vec<KnownPass>, StoreError>;

    /// Notes that passes were used at `now`, so that they are kept.
    async fn touch_passes(&self, keys: &[CaseKey], now: Timestamp) -> Result<(), StoreError>;

    /// Returns the newest clean pass of each of `cases`, in the order asked.
    async fn last_passes(&self, project: &str, cases: &[CaseId])
    -> Result<Vec<Option<LastPass>>, StoreError>;

    /// Returns cached test lists, in the order asked, and notes that they were used.
    async fn lists(&self, keys: &[Digest], now: Timestamp) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Stores test lists; the newest of a key stays.
    async fn put_lists(&self, lists: &[(Digest, Vec<u8>)], now: Timestamp) -> Result<(), StoreError>;

    /// Removes what is old, unless that was done within the last day. Returns whether it was done.
    async fn sweep(&self, now: Timestamp) -> Result<bool, StoreError>;

    /// Ends all connections.
    async fn close(&self);
}
