//! The store in one SQLite file.
//!
//! Several processes use the file at once: write-ahead log, one writer at a time, each waiting up to
//! [`BUSY_TIMEOUT`] for the others. Many rows travel as one JSON argument that `json_each` takes apart, so
//! that a call is a handful of statements whatever its size; CROSS JOIN keeps the planner from turning such a
//! statement round and walking whole tables. `synchronous = NORMAL`: a power cut can lose the
//! last transactions, never damage the file.

mod history;
mod lists;
mod passes;
mod record;
mod rows;
mod schema;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Sqlite, Transaction};
use thresh_core::digest::Digest;
use thresh_core::estimate::CaseSamples;
use thresh_core::reuse::CaseKey;
use thresh_core::time::Timestamp;

use super::{Batch, CaseId, KnownPass, LastPass, PastCase, Store, StoreError};

/// How long a process waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// One writes, others read meanwhile.
const CONNECTIONS_MAX: u32 = 4;

/// The store in one SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
    path: Arc<Path>,
}

impl SqliteStore {
    /// Opens the database at `path`; creates it, or brings its schema up to date, where needed. The folder
    /// must exist.
    ///
    /// # Errors
    /// When the file cannot be opened or written, is damaged, or belongs to a newer or another program.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path: PathBuf = path.into();
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .busy_timeout(BUSY_TIMEOUT)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let store = Self {
            pool,
            path: path.into(),
        };
        schema::prepare(&store).await?;
        Ok(store)
    }

    fn failed(&self, doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError + '_ {
        move |cause| StoreError::of(&self.path, doing, cause)
    }

    /// Begins a transaction that writes. It takes the lock at once: one that read first could not get it
    /// later without failing.
    async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }
}

#[tonic::async_trait]
impl Store for SqliteStore {
    async fn record(&self, batch: Batch) -> Result<(), StoreError> {
        record::record(self, &batch)
            .await
            .map_err(self.failed("write history"))
    }

    async fn samples(&self, project: &str) -> Result<Vec<CaseSamples>, StoreError> {
        history::samples(self, project)
            .await
            .map_err(self.failed("read durations"))
    }

    async fn history(
        &self,
        project: &str,
        patterns: &[String],
        attempts_max: u32,
    ) -> Result<Vec<PastCase>, StoreError> {
        history::history(self, project, patterns, attempts_max)
            .await
            .map_err(self.failed("read history"))
    }

    async fn find_passes(&self, keys: &[CaseKey]) -> Result<Vec<KnownPass>, StoreError> {
        passes::find(self, keys)
            .await
            .map_err(self.failed("look up passes"))
    }

    async fn touch_passes(&self, keys: &[CaseKey], now: Timestamp) -> Result<(), StoreError> {
        passes::touch(self, keys, now)
            .await
            .map_err(self.failed("note the use of passes"))
    }

    async fn last_passes(
        &self,
        project: &str,
        cases: &[CaseId],
    ) -> Result<Vec<Option<LastPass>>, StoreError> {
        passes::last(self, project, cases)
            .await
            .map_err(self.failed("look up last passes"))
    }

    async fn lists(&self, keys: &[Digest], now: Timestamp) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        lists::get(self, keys, now)
            .await
            .map_err(self.failed("read test lists"))
    }

    async fn put_lists(&self, lists: &[(Digest, Vec<u8>)], now: Timestamp) -> Result<(), StoreError> {
        lists::put(self, lists, now)
            .await
            .map_err(self.failed("write test lists"))
    }

    async fn sweep(&self, now: Timestamp) -> Result<bool, StoreError> {
        sweep::sweep(self, now)
            .await
            .map_err(self.failed("remove old rows"))
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
