//! Where the store under test is.

use thresh_coordinator::store::{Location, SqlStore, StoreError};
use thresh_tests::postgres::Postgres;

/// A database of its own, which goes when this is dropped.
pub(crate) enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Postgres),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(Postgres::start())
    }

    pub(crate) fn location(&self) -> Location {
        match self {
            Self::Sqlite(folder) => folder.path().join("thresh.db").into(),
            Self::Postgres(server) => server.url().parse().unwrap(),
        }
    }

    pub(crate) async fn open(&self) -> SqlStore {
        self.try_open().await.unwrap()
    }

    pub(crate) async fn try_open(&self) -> Result<SqlStore, StoreError> {
        SqlStore::open(self.location()).await
    }

    /// Does something in the database that no store would do.
    pub(crate) async fn execute(&self, sqlite: &'static str, postgres: &'static str) {
        sqlx::any::install_default_drivers();
        let (url, statement) = match self {
            Self::Sqlite(folder) => {
                let url = format!("sqlite://{}/thresh.db?mode=rwc", folder.path().display());
                (url, sqlite)
            }
            Self::Postgres(server) => (server.url(), postgres),
        };
        let pool = sqlx::AnyPool::connect(&url).await.unwrap();
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
        pool.close().await;
    }
}
