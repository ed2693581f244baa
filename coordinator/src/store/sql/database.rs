//! Connections and transactions.

use std::sync::Arc;

use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Error, Transaction};
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};

use super::engine::Engine;
use super::{postgres, sqlite};
use crate::store::error::ErrorKind;
use crate::store::{Location, StoreError};

/// The database, opened.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub(super) engine: Engine,
    pub(super) at: Location,
    /// For all but the journal. A crash of the machine may lose the last transactions, and nothing else.
    pub(super) history: AnyPool,
    /// What is committed here is on the disk. With SQLite that is another file, so that the journal does not
    /// wait for the history.
    pub(super) journal: AnyPool,
    /// SQLite has one writer at a time and no queue. This is the queue of this process, so that nobody waits
    /// until he happens to find the file free.
    turn: Arc<Mutex<()>>,
    /// Set when the journal can be used. A process that journals nothing makes no file for it.
    pub(super) journal_ready: Arc<OnceCell<()>>,
}

/// A transaction that writes.
pub(super) struct Write {
    transaction: Transaction<'static, Any>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Write {
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        self.transaction.commit().await
    }
}

impl Database {
    /// Prepares connections; none is made yet.
    pub(super) fn new(at: Location) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (engine, history, journal) = match &at {
            Location::File(path) => {
                let (history, journal) = sqlite::pools(path)?;
                (Engine::Sqlite, history, journal)
            }
            Location::Postgres(url) => {
                let (history, journal) = postgres::pools(url)?;
                (Engine::Postgres, history, journal)
            }
        };
        Ok(Self {
            engine,
            at,
            history,
            journal,
            turn: Arc::default(),
            journal_ready: Arc::default(),
        })
    }

    /// Connects once, to learn why it cannot be done: a pool would only say that it waited too long.
    pub(super) async fn probe(at: &Location) -> Result<(), Error> {
        match at {
            Location::File(path) => sqlite::connect(path).await,
            Location::Postgres(url) => postgres::connect(url).await,
        }
    }

    /// Begins a transaction that writes history. One runs at a time, so that it may read, decide and write.
    pub(super) async fn write(&self) -> Result<Write, Error> {
        let turn = match self.engine {
            Engine::Sqlite => Some(self.turn.clone().lock_owned().await),
            Engine::Postgres => None,
        };
        let mut write = Write {
            transaction: self.transaction(&self.history).await?,
            _turn: turn,
        };
        if self.engine == Engine::Postgres {
            postgres::take_turn(write.connection()).await?;
        }
        Ok(write)
    }

    /// Begins a transaction of the journal, whose commit is on the disk. There is one connection for them.
    pub(super) async fn write_durably(&self) -> Result<Write, Error> {
        Ok(Write {
            transaction: self.transaction(&self.journal).await?,
            _turn: None,
        })
    }

    pub(super) async fn transaction(&self, pool: &AnyPool) -> Result<Transaction<'static, Any>, Error> {
        match self.engine {
            // The lock at once: who read first could not get it later without failing.
            Engine::Sqlite => pool.begin_with("BEGIN IMMEDIATE").await,
            Engine::Postgres => pool.begin().await,
        }
    }

    /// What an error of the engine comes to.
    pub(super) fn kind(&self, error: &Error) -> ErrorKind {
        match self.engine {
            Engine::Sqlite => sqlite::kind(error),
            Engine::Postgres => postgres::kind(error),
        }
    }

    pub(super) fn failed(&self, doing: &'static str, cause: Error) -> StoreError {
        StoreError::of(&self.at, doing, self.kind(&cause), cause)
    }

    pub(super) async fn close(&self) {
        self.history.close().await;
        self.journal.close().await;
    }
}

/// Connections that stay.
pub(super) fn pool_options(connections_max: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections_max)
        .idle_timeout(None)
        .max_lifetime(None)
}
