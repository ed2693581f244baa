//! The interface of stores.

use std::collections::BTreeSet;

use thresh_core::digest::Digest;
use thresh_core::estimate::CaseSamples;
use thresh_core::id::RunId;
use thresh_core::reuse::CaseKey;
use thresh_core::time::Timestamp;

use super::{
    AuditReport, Batch, CaseId, JournalEntry, Kept, KnownPass, LastPass, Leadership, OpenRun, PastCase,
    Quarantine, RunRecord, RunTimeline, StoreError,
};

/// What outlives a run. All methods fail with a [`StoreError`] that names the database; when it
/// [is transient](StoreError::is_transient), the same call may be tried again.
#[tonic::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes attempts, passes, findings of audits and ended runs, in this order and in transactions of bounded size.
    /// After an error a part may be written; writing the same again does no harm (see [`AttemptRecord::lease`](super::AttemptRecord::lease)).
    async fn record(&self, batch: &Batch) -> Result<(), StoreError>;

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

    /// Returns the latest ended runs of a project (`None`: of all), newest first.
    async fn runs(&self, project: Option<&str>, runs_max: u32) -> Result<Vec<RunRecord>, StoreError>;

    /// Returns what happened in a run; `None` when nothing is known of it.
    async fn timeline(&self, run: RunId) -> Result<Option<RunTimeline>, StoreError>;

    /// Returns which of `keys` have a clean pass, in ascending order of position.
    async fn find_passes(&self, keys: &[CaseKey]) -> Result<Vec<KnownPass>, StoreError>;

    /// Notes that passes were used at `now`, so that they are kept.
    async fn touch_passes(&self, keys: &[CaseKey], now: Timestamp) -> Result<(), StoreError>;

    /// Returns the newest clean pass of each of `cases`, in the order asked.
    async fn last_passes(&self, project: &str, cases: &[CaseId])
    -> Result<Vec<Option<LastPass>>, StoreError>;

    /// Returns what is kept, in the order asked, and notes that it was used.
    async fn kept(
        &self,
        kept: Kept,
        keys: &[Digest],
        now: Timestamp,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError>;

    /// Keeps what there is in `entries`; the newest of a key stays.
    async fn keep(&self, kept: Kept, entries: &[(Digest, Vec<u8>)], now: Timestamp)
    -> Result<(), StoreError>;

    /// Puts cases of a project into quarantine. What was said of the same cases before is replaced.
    async fn add_quarantine(&self, project: &str, cases: &[Quarantine]) -> Result<(), StoreError>;

    /// Returns the cases in quarantine and those that were lately, by name.
    async fn quarantine(&self, project: &str) -> Result<Vec<Quarantine>, StoreError>;

    /// Lets cases count again from `now` on. Returns how many did not already.
    async fn expire_quarantine(
        &self,
        project: &str,
        cases: &[CaseId],
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Returns the cases that may fail at `now` without failing their run.
    async fn quarantined(&self, project: &str, now: Timestamp) -> Result<BTreeSet<CaseId>, StoreError>;

    /// Returns the cases whose passes do not stand for a run: an audit disagreed, and nobody trusts them since.
    async fn distrusted(&self, project: &str) -> Result<BTreeSet<CaseId>, StoreError>;

    /// Returns what audits found, with the outputs of at most `outputs_max` disagreements, the first ones.
    async fn audit_report(&self, project: &str, outputs_max: u32) -> Result<AuditReport, StoreError>;

    /// Lets cases be reused again from `now` on. Returns how many were not.
    async fn trust(&self, project: &str, cases: &[CaseId], now: Timestamp) -> Result<u64, StoreError>;

    /// Waits until this process is the one coordinator that acts, and begins an epoch: no other on this store
    /// ever has the same number. Only coordinators that
    /// serve others ask for it; processes that merely use the store are not concerned.
    async fn lead(&self) -> Result<Leadership, StoreError>;

    /// Writes entries, all or nothing, in the name of the coordinator that began `epoch`. When this returns,
    /// they are on the disk. Writing them again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when a coordinator with a later epoch leads.
    async fn journal(&self, epoch: u32, entries: &[JournalEntry]) -> Result<(), StoreError>;

    /// Whether a run is in the journal, closed or not.
    async fn knows_run(&self, run: RunId) -> Result<bool, StoreError>;

    /// Returns the runs of the journal that are not closed, and those that were closed at `closed_since` or
    /// later, by when they were submitted.
    async fn open_runs(&self, closed_since: Timestamp) -> Result<Vec<OpenRun>, StoreError>;

    /// Removes what is old. The journal of runs that were closed more than a day ago goes at any time; the rest
    /// once a day, and whether that was done is returned. What stays: per case its 50 newest attempts, none older
    /// than 90 days; runs and findings of audits for 90 days, but disagreements for as long as nobody trusts their cases; passes and what is kept by key that were used within 30 days, at most 256 passes a
    /// case; what is counted and measured per case for a year after its last attempt.
    async fn sweep(&self, now: Timestamp) -> Result<bool, StoreError>;

    /// Ends all connections.
    async fn close(&self);
}
