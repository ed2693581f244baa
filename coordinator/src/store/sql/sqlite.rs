//! The store in one file of SQLite.
//!
//! Several processes use the file at once: write-ahead log, one writer at a time, each waiting up to
//! [`BUSY_TIMEOUT`] for the others. History is written with `synchronous = NORMAL`: a power cut can lose the
//! last transactions, never damage the file. The journal has a connection with `synchronous = FULL`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteError};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Error, Executor, Row};

use super::database::pool_options;
use super::schema::Marks;
use crate::store::StoreError;
use crate::store::error::ErrorKind;

/// How long a process waits for another one's transaction.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// One writes, others read meanwhile.
const CONNECTIONS_MAX: u32 = 4;

/// By schema version.
pub(super) const MIGRATIONS: &[(i64, &str)] = &[
    (
        1,
        include_str!("../../../migrations/sqlite/1_history_and_reuse.sql"),
    ),
    (
        2,
        include_str!("../../../migrations/sqlite/2_replay_and_quarantine.sql"),
    ),
    (3, include_str!("../../../migrations/sqlite/3_action_results.sql")),
    (4, include_str!("../../../migrations/sqlite/4_seen.sql")),
    (5, include_str!("../../../migrations/sqlite/5_audits.sql")),
];

/// Of the file of the journal, by schema version.
pub(super) const JOURNAL_MIGRATIONS: &[(i64, &str)] =
    &[(1, include_str!("../../../migrations/sqlite/journal_1_runs.sql"))];

/// "THRS": marks the file as ours.
const APPLICATION_ID: i64 = 1_414_025_811;

/// The log is written back into the file in steps of so many pages: seldom, since each step waits for the disk.
const SETTINGS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;
                        PRAGMA wal_autocheckpoint = 8000;";

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).create_if_missing(true)
}

/// Connects once, to learn why it cannot be done.
pub(super) async fn connect(path: &Path) -> Result<(), Error> {
    let mut connection = options(path).connect().await?;
    let set = connection.execute(sqlx::raw_sql(SETTINGS)).await;
    connection.close().await?;
    set.map(|_| ())
}

/// The connections for history, and those for the journal.
pub(super) fn pools(path: &Path) -> Result<(AnyPool, AnyPool), StoreError> {
    let pool = |path: &Path, connections_max, synchronous: &'static str| {
        let options = AnyConnectOptions::from_url(&options(path).to_url_lossy())
            .map_err(|cause| StoreError::of(&path.into(), "open", ErrorKind::Open, cause))?
            .disable_statement_logging();
        let pool = pool_options(connections_max)
            .test_before_acquire(false)
            // After some errors (a full disk) SQLite has rolled back by itself, of which sqlx does not know.
            .before_acquire(|connection, _| {
                let usable = !connection.is_in_transaction();
                Box::pin(async move { Ok(usable) })
            })
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    connection.execute(sqlx::raw_sql(SETTINGS)).await?;
                    connection.execute(sqlx::raw_sql(synchronous)).await?;
                    Ok(())
                })
            });
        Ok::<_, StoreError>(pool.connect_lazy_with(options))
    };
    Ok((
        pool(path, CONNECTIONS_MAX, "PRAGMA synchronous = NORMAL")?,
        pool(&journal_path(path), 1, "PRAGMA synchronous = FULL")?,
    ))
}

/// Reads what a file says of itself.
pub(super) async fn marks(connection: &mut AnyConnection) -> Result<Marks, Error> {
    let row = sqlx::query(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) AS tables
         FROM pragma_application_id, pragma_user_version",
    )
    .fetch_one(connection)
    .await?;
    let version: i64 = row.try_get("user_version")?;
    Ok(match row.try_get::<i64, _>("application_id")? {
        APPLICATION_ID => Marks::Ours(version),
        _ if version == 0 && row.try_get::<i64, _>("tables")? == 0 => Marks::Empty,
        _ => Marks::Foreign,
    })
}

/// Takes the lock of the coordinator that leads, if it is free. It is a file of its own beside the database, so
/// that processes which only use the database never meet it; the system frees it when the process ends.
pub(super) fn try_lead(path: &Path) -> Result<Option<File>, StoreError> {
    let path = beside(path, "-leader");
    let failed =
        |cause: io::Error| StoreError::of(&path.as_path().into(), "lock", ErrorKind::Open, cause.into());
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// The file of the journal.
pub(super) fn journal_path(path: &Path) -> PathBuf {
    beside(path, "-runs")
}

/// A file beside the database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Primary result codes (<https://sqlite.org/rescode.html>), the low byte of the extended ones.
pub(super) fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::PoolTimedOut => ErrorKind::Busy,
        _ => match primary_code(error) {
            Some(5 | 6) => ErrorKind::Busy,
            Some(8) => ErrorKind::ReadOnly,
            Some(11 | 26) => ErrorKind::Damaged,
            Some(13) => ErrorKind::Full,
            Some(14) => ErrorKind::Open,
            _ => ErrorKind::Other,
        },
    }
}

fn primary_code(error: &Error) -> Option<i32> {
    let Error::Database(error) = error else {
        return None;
    };
    let error = error.try_downcast_ref::<SqliteError>()?;
    let extended: i32 = sqlx::error::DatabaseError::code(error)?.parse().ok()?;
    Some(extended & 0xff)
}
