//! [`Store`] over a database: each call in its time, with what it does in words.

use std::collections::BTreeSet;
use std::future::Future;

use thresh_core::digest::Digest;
use thresh_core::estimate::CaseSamples;
use thresh_core::id::RunId;
use thresh_core::reuse::CaseKey;
use thresh_core::time::Timestamp;

use super::database::Database;
use super::engine::Engine;
use super::{
    audits, epoch, history, journal, kept, passes, postgres, quarantine, record, runs, schema, sweep,
};
use crate::store::{
    AuditReport, Batch, CaseId, JournalEntry, Kept, KnownPass, LastPass, Leadership, Location, OpenRun,
    PastCase, Quarantine, RunRecord, RunTimeline, Store, StoreError,
};

/// The store in a file of SQLite or a database of PostgreSQL. Clones share their connections.
#[derive(Clone, Debug)]
pub struct SqlStore {
    pub(super) database: Database,
}

impl SqlStore {
    /// Opens a database; creates its tables, or brings them up to date, where needed. A file is created, its
    /// folder and a database of PostgreSQL must exist.
    ///
    /// # Errors
    /// When the database cannot be reached, read or written, is damaged, or belongs to a newer or another program.
    pub async fn open(at: impl Into<Location>) -> Result<Self, StoreError> {
        let database = Database::new(at.into())?;
        schema::prepare(&database).await?;
        Ok(Self { database })
    }

    /// Does something that the server has to answer in time.
    pub(super) async fn run<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let done = match self.database.engine {
            Engine::Sqlite => work.await,
            Engine::Postgres => postgres::in_time(work).await,
        };
        done.map_err(|cause| self.database.failed(doing, cause))
    }
}

#[tonic::async_trait]
impl Store for SqlStore {
    async fn record(&self, batch: &Batch) -> Result<(), StoreError> {
        self.run("write history", record::record(&self.database, batch))
            .await
    }

    async fn samples(&self, project: &str) -> Result<Vec<CaseSamples>, StoreError> {
        self.run("read durations", history::samples(&self.database, project))
            .await
    }

    async fn history(
        &self,
        project: &str,
        patterns: &[String],
        attempts_max: u32,
    ) -> Result<Vec<PastCase>, StoreError> {
        let found = history::history(&self.database, project, patterns, attempts_max);
        self.run("read history", found).await
    }

    async fn runs(&self, project: Option<&str>, runs_max: u32) -> Result<Vec<RunRecord>, StoreError> {
        self.run("read runs", runs::latest(&self.database, project, runs_max))
            .await
    }

    async fn timeline(&self, run: RunId) -> Result<Option<RunTimeline>, StoreError> {
        self.run("read a run", runs::timeline(&self.database, run)).await
    }

    async fn find_passes(&self, keys: &[CaseKey]) -> Result<Vec<KnownPass>, StoreError> {
        self.run("look up passes", passes::find(&self.database, keys))
            .await
    }

    async fn touch_passes(&self, keys: &[CaseKey], now: Timestamp) -> Result<(), StoreError> {
        self.run("note the use of passes", passes::touch(&self.database, keys, now))
            .await
    }

    async fn last_passes(
        &self,
        project: &str,
        cases: &[CaseId],
    ) -> Result<Vec<Option<LastPass>>, StoreError> {
        self.run(
            "look up last passes",
            passes::last(&self.database, project, cases),
        )
        .await
    }

    async fn kept(
        &self,
        kept: Kept,
        keys: &[Digest],
        now: Timestamp,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let get = kept::get(&self.database, kept, keys, now);
        self.run("read what is kept by key", get).await
    }

    async fn keep(
        &self,
        kept: Kept,
        entries: &[(Digest, Vec<u8>)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let put = kept::put(&self.database, kept, entries, now);
        self.run("write what is kept by key", put).await
    }

    async fn add_quarantine(&self, project: &str, cases: &[Quarantine]) -> Result<(), StoreError> {
        self.run(
            "write quarantine",
            quarantine::add(&self.database, project, cases),
        )
        .await
    }

    async fn quarantine(&self, project: &str) -> Result<Vec<Quarantine>, StoreError> {
        self.run("read quarantine", quarantine::list(&self.database, project))
            .await
    }

    async fn expire_quarantine(
        &self,
        project: &str,
        cases: &[CaseId],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let ended = quarantine::expire(&self.database, project, cases, now);
        self.run("end quarantine", ended).await
    }

    async fn quarantined(&self, project: &str, now: Timestamp) -> Result<BTreeSet<CaseId>, StoreError> {
        let mut listed = self.quarantine(project).await?;
        listed.retain(|entry| !entry.is_expired(now));
        Ok(listed.into_iter().map(|entry| entry.case).collect())
    }

    async fn distrusted(&self, project: &str) -> Result<BTreeSet<CaseId>, StoreError> {
        let cases = audits::distrusted(&self.database, project);
        self.run("read what audits found", cases).await
    }

    async fn audit_report(&self, project: &str, outputs_max: u32) -> Result<AuditReport, StoreError> {
        let report = audits::report(&self.database, project, outputs_max);
        self.run("read what audits found", report).await
    }

    async fn trust(&self, project: &str, cases: &[CaseId], now: Timestamp) -> Result<u64, StoreError> {
        let trusted = audits::trust(&self.database, project, cases, now);
        self.run("trust cases again", trusted).await
    }

    async fn lead(&self) -> Result<Leadership, StoreError> {
        schema::prepare_journal(&self.database).await?;
        loop {
            match epoch::try_lead(self).await {
                Ok(Some(leadership)) => return Ok(leadership),
                Ok(None) => {}
                Err(error) if error.is_transient() => tracing::debug!("failed to {error}"),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(epoch::POLL).await;
        }
    }

    async fn journal(&self, epoch: u32, entries: &[JournalEntry]) -> Result<(), StoreError> {
        schema::prepare_journal(&self.database).await?;
        let leader = self
            .run(
                "write the journal",
                journal::write(&self.database, epoch, entries),
            )
            .await?;
        match leader {
            Some(leader) => Err(StoreError::Superseded {
                at: self.database.at.clone(),
                epoch,
                leader,
            }),
            None => Ok(()),
        }
    }

    async fn knows_run(&self, run: RunId) -> Result<bool, StoreError> {
        schema::prepare_journal(&self.database).await?;
        self.run("read the journal", journal::knows(&self.database, run))
            .await
    }

    async fn open_runs(&self, closed_since: Timestamp) -> Result<Vec<OpenRun>, StoreError> {
        schema::prepare_journal(&self.database).await?;
        self.run(
            "read the journal",
            journal::open_runs(&self.database, closed_since),
        )
        .await
    }

    async fn sweep(&self, now: Timestamp) -> Result<bool, StoreError> {
        let swept = sweep::sweep(&self.database, now).await;
        swept.map_err(|cause| self.database.failed("remove old rows", cause))
    }

    async fn close(&self) {
        self.database.close().await;
    }
}
