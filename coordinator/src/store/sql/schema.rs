//! Creating the schema and bringing it up to date.
//!
//! Each engine has its own files in `migrations/`; the same version is the same schema in both. A migration runs
//! in a transaction that nobody else can have at the same time, so that several processes can open an old or
//! new database at the same moment.

use std::time::Duration;

use sqlx::{AnyConnection, AnyPool, Error};
use tokio::time::{Instant, sleep};

use super::database::Database;
use super::engine::Engine;
use super::{postgres, sqlite};
use crate::store::error::ErrorKind;
use crate::store::{Location, StoreError};

/// SQLite does not wait on its own when two processes switch a new file to the write-ahead log at once.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// What a database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    Empty,
    /// With its schema version.
    Ours(i64),
    Foreign,
}

/// What is brought up to date.
struct Target<'a> {
    at: Location,
    pool: &'a AnyPool,
    migrations: &'static [(i64, &'static str)],
}

/// Prepares all but the journal of SQLite.
pub(super) async fn prepare(database: &Database) -> Result<(), StoreError> {
    let target = Target {
        at: database.at.clone(),
        pool: &database.history,
        migrations: match database.engine {
            Engine::Sqlite => sqlite::MIGRATIONS,
            Engine::Postgres => postgres::MIGRATIONS,
        },
    };
    bring_up_to_date(database, &target).await
}

/// Prepares the journal, once.
pub(super) async fn prepare_journal(database: &Database) -> Result<(), StoreError> {
    let prepare = || async {
        let Location::File(path) = &database.at else {
            return Ok(());
        };
        let target = Target {
            at: sqlite::journal_path(path).into(),
            pool: &database.journal,
            migrations: sqlite::JOURNAL_MIGRATIONS,
        };
        bring_up_to_date(database, &target).await
    };
    database.journal_ready.get_or_try_init(prepare).await.map(|_| ())
}

async fn bring_up_to_date(database: &Database, target: &Target<'_>) -> Result<(), StoreError> {
    let deadline = Instant::now() + sqlite::BUSY_TIMEOUT;
    let failed = |error| {
        let kind = database.kind(&error);
        StoreError::of(&target.at, "prepare the schema", kind, error)
    };
    loop {
        match migrate(database, target).await {
            Err(Failure::Sql(error))
                if database.kind(&error) == ErrorKind::Busy && Instant::now() < deadline =>
            {
                sleep(RETRY_PAUSE).await;
            }
            Err(Failure::Sql(error)) => return Err(failed(error)),
            Err(Failure::Refused(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
}

enum Failure {
    Sql(Error),
    Refused(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

async fn migrate(database: &Database, target: &Target<'_>) -> Result<(), Failure> {
    Database::probe(&target.at).await?;
    let mut connection = target.pool.acquire().await?;
    let found = marks(database, &mut connection).await?;
    drop(connection);
    if is_current(target, found)? {
        return Ok(());
    }
    let mut transaction = database.transaction(target.pool).await?;
    if database.engine == Engine::Postgres {
        postgres::take_lock(&mut transaction, postgres::lock::SCHEMA).await?;
    }
    // Another process may have been faster.
    let found = marks(database, &mut transaction).await?;
    if is_current(target, found)? {
        return Ok(());
    }
    let version = match found {
        Marks::Ours(version) => version,
        Marks::Empty | Marks::Foreign => 0,
    };
    for (_, migration) in target.migrations.iter().filter(|(to, _)| *to > version) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn marks(database: &Database, connection: &mut AnyConnection) -> Result<Marks, Error> {
    match database.engine {
        Engine::Sqlite => sqlite::marks(connection).await,
        Engine::Postgres => postgres::marks(connection).await,
    }
}

/// Whether nothing needs to be done; an error when nothing can be done.
fn is_current(target: &Target<'_>, found: Marks) -> Result<bool, Failure> {
    let known = target.migrations.last().map_or(0, |(version, _)| *version);
    let at = target.at.clone();
    match found {
        Marks::Empty => Ok(false),
        Marks::Ours(found) if found > known => Err(Failure::Refused(StoreError::Newer { at, found, known })),
        Marks::Ours(found) => Ok(found == known),
        Marks::Foreign => Err(Failure::Refused(StoreError::Foreign { at })),
    }
}
