//! A store that fails, to see what others do then.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use thresh_core::digest::Digest;
use thresh_core::estimate::CaseSamples;
use thresh_core::id::RunId;
use thresh_core::reuse::CaseKey;
use thresh_core::time::Timestamp;

use super::{
    AuditReport, Batch, CaseId, JournalEntry, Kept, KnownPass, LastPass, Leadership, OpenRun, PastCase,
    Quarantine, RunRecord, RunTimeline, Store, StoreError,
};

/// A store that cannot be written, for a while, and not at all read.
pub(crate) struct BadStore {
    /// How often writing fails before it succeeds.
    failures: AtomicU32,
    error: fn() -> StoreError,
}

impl BadStore {
    pub(crate) fn new(failures: u32, error: fn() -> StoreError) -> Self {
        Self {
            failures: failures.into(),
            error,
        }
    }

    fn failed<T>(&self) -> Result<T, StoreError> {
        Err((self.error)())
    }

    fn write(&self) -> Result<(), StoreError> {
        let left = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_or(Ok(()), |_| self.failed())
    }
}

pub(crate) fn full() -> StoreError {
    StoreError::Full {
        at: "thresh.db".parse().unwrap(),
    }
}

pub(crate) fn busy() -> StoreError {
    StoreError::Busy {
        at: "thresh.db".parse().unwrap(),
    }
}

#[tonic::async_trait]
impl Store for BadStore {
    async fn record(&self, _: &Batch) -> Result<(), StoreError> {
        self.write()
    }
    async fn samples(&self, _: &str) -> Result<Vec<CaseSamples>, StoreError> {
        self.failed()
    }
    async fn history(&self, _: &str, _: &[String], _: u32) -> Result<Vec<PastCase>, StoreError> {
        self.failed()
    }
    async fn runs(&self, _: Option<&str>, _: u32) -> Result<Vec<RunRecord>, StoreError> {
        self.failed()
    }
    async fn timeline(&self, _: RunId) -> Result<Option<RunTimeline>, StoreError> {
        self.failed()
    }
    async fn find_passes(&self, _: &[CaseKey]) -> Result<Vec<KnownPass>, StoreError> {
        self.failed()
    }
    async fn touch_passes(&self, _: &[CaseKey], _: Timestamp) -> Result<(), StoreError> {
        self.failed()
    }
    async fn last_passes(&self, _: &str, _: &[CaseId]) -> Result<Vec<Option<LastPass>>, StoreError> {
        self.failed()
    }
    async fn kept(&self, _: Kept, _: &[Digest], _: Timestamp) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.failed()
    }
    async fn keep(&self, _: Kept, _: &[(Digest, Vec<u8>)], _: Timestamp) -> Result<(), StoreError> {
        self.failed()
    }
    async fn add_quarantine(&self, _: &str, _: &[Quarantine]) -> Result<(), StoreError> {
        self.failed()
    }
    async fn quarantine(&self, _: &str) -> Result<Vec<Quarantine>, StoreError> {
        self.failed()
    }
    async fn expire_quarantine(&self, _: &str, _: &[CaseId], _: Timestamp) -> Result<u64, StoreError> {
        self.failed()
    }
    async fn quarantined(&self, _: &str, _: Timestamp) -> Result<BTreeSet<CaseId>, StoreError> {
        self.failed()
    }
    async fn distrusted(&self, _: &str) -> Result<BTreeSet<CaseId>, StoreError> {
        self.failed()
    }
    async fn audit_report(&self, _: &str, _: u32) -> Result<AuditReport, StoreError> {
        self.failed()
    }
    async fn trust(&self, _: &str, _: &[CaseId], _: Timestamp) -> Result<u64, StoreError> {
        self.failed()
    }
    async fn lead(&self) -> Result<Leadership, StoreError> {
        self.failed()
    }
    async fn journal(&self, _: u32, _: &[JournalEntry]) -> Result<(), StoreError> {
        self.write()
    }
    async fn knows_run(&self, _: RunId) -> Result<bool, StoreError> {
        self.failed()
    }
    async fn open_runs(&self, _: Timestamp) -> Result<Vec<OpenRun>, StoreError> {
        self.failed()
    }
    async fn sweep(&self, _: Timestamp) -> Result<bool, StoreError> {
        self.failed()
    }
    async fn close(&self) {}
}
