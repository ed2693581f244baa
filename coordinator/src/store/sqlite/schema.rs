//! Creating the database and bringing its schema up to date.
//!
//! The version is SQLite's `user_version`. Each file of `migrations/` brings it up by one, in a transaction
//! that holds the write lock, so that several processes can open an old or new file at the same moment.

use std::time::Duration;

use sqlx::{Connection, Row, SqliteConnection};
use tokio::time::{Instant, sleep};

use super::{BUSY_TIMEOUT, SqliteStore};
use crate::store::StoreError;
use crate::store::error::is_busy;

/// In order; the last one's number is the version that this program knows.
const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/1_history_and_reuse.sql")];

/// "THRS": marks the file as ours.
const APPLICATION_ID: i64 = 1_414_025_811;

/// SQLite does not wait on its own when two processes switch a new file to the write-ahead log at once.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn prepare(store: &SqliteStore) -> Result<(), StoreError> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match migrate(store).await {
            Err(Failure::Sql(error)) if is_busy(&error) && Instant::now() < deadline => {
                sleep(RETRY_PAUSE).await;
            }
            Err(Failure::Sql(error)) => return Err(StoreError::of(&store.path, "prepare the schema", error)),
            Err(Failure::Refused(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

enum Failure {
    Sql(sqlx::Error),
    Refused(StoreError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

async fn migrate(store: &SqliteStore) -> Result<(), Failure> {
    let mut connection = store.pool.acquire().await?;
    if is_current(store, &marks(&mut connection).await?)? {
        return Ok(());
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // Another process may have been faster.
    let marks = marks(&mut transaction).await?;
    if is_current(store, &marks)? {
        return Ok(());
    }
    for migration in MIGRATIONS
        .iter()
        .skip(usize::try_from(marks.version).unwrap_or(0))
    {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// What a file says of itself.
struct Marks {
    application: i64,
    version: i64,
    tables: i64,
}

async fn marks(connection: &mut SqliteConnection) -> Result<Marks, sqlx::Error> {
    let row = sqlx::query(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) AS tables
         FROM pragma_application_id, pragma_user_version",
    )
    .fetch_one(connection)
    .await?;
    Ok(Marks {
        application: row.try_get("application_id")?,
        version: row.try_get("user_version")?,
        tables: row.try_get("tables")?,
    })
}

/// Whether nothing needs to be done; an error when nothing can be done.
fn is_current(store: &SqliteStore, marks: &Marks) -> Result<bool, Failure> {
    let known = MIGRATIONS.len() as i64;
    let path = store.path.to_path_buf();
    match (marks.application == APPLICATION_ID, marks.version) {
        (true, found) if found > known => Err(Failure::Refused(StoreError::Newer { path, found, known })),
        (true, found) => Ok(found == known),
        (false, 0) if marks.tables == 0 => Ok(false),
        (false, _) => Err(Failure::Refused(StoreError::Foreign { path })),
    }
}
