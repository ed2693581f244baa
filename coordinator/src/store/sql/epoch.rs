//! Numbering coordinators, and letting one of them act.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Error, Executor, Row};
use tokio::sync::watch;
use tokio::time::sleep;

use super::SqlStore;
use super::database::Database;
use super::engine::query;
use super::postgres::{self, lock};
use super::rows::get_count;
use super::sqlite;
use crate::store::{Leadership, Location, StoreError};

/// How often a coordinator that waits asks again.
pub(super) const POLL: Duration = Duration::from_millis(500);

/// How often the one that leads shows the server that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// An answer that takes longer means that the connection is lost. [`SESSION_SETTINGS`] has the server give the
/// connection up later than that, so that the one that leads knows first.
const BEAT_TIMEOUT: Duration = Duration::from_secs(3);

/// The server ends the session of a coordinator that is frozen, and of one that it cannot reach.
const SESSION_SETTINGS: &str = "SET idle_session_timeout = 6000; SET tcp_keepalives_idle = 2;
    SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 5000;";

/// Begins the epoch of the coordinator that leads from now on.
async fn begin(database: &Database) -> Result<u32, Error> {
    let mut write = database.write_durably().await?;
    let row = query("UPDATE epoch SET leader = leader + 1 RETURNING leader")
        .fetch_one(write.connection())
        .await?;
    let epoch = get_count(&row, "leader")?;
    write.commit().await?;
    Ok(epoch)
}

/// Leads, if no other coordinator does.
pub(super) async fn try_lead(store: &SqlStore) -> Result<Option<Leadership>, StoreError> {
    let database = &store.database;
    match &database.at {
        Location::File(path) => {
            let Some(lock) = sqlite::try_lead(path)? else {
                return Ok(None);
            };
            let epoch = store.run("begin an epoch", begin(database)).await?;
            Ok(Some(Leadership::of_file(epoch, lock)))
        }
        Location::Postgres(url) => {
            let locked = store.run("ask to lead", lock_session(url)).await?;
            let Some(session) = locked else { return Ok(None) };
            let epoch = store.run("begin an epoch", begin(database)).await?;
            let (sender, lost) = watch::channel(false);
            let keeper = tokio::spawn(keep(session, sender));
            Ok(Some(Leadership::of_connection(epoch, lost, keeper)))
        }
    }
}

/// Opens a session that holds the lock of the one that leads, if that is free.
async fn lock_session(url: &str) -> Result<Option<PgConnection>, Error> {
    let options: PgConnectOptions = url.parse()?;
    let mut session = PgConnection::connect_with(&options.disable_statement_logging()).await?;
    let row = sqlx::query("SELECT pg_try_advisory_lock($1) AS locked")
        .bind(lock::LEADER)
        .fetch_one(&mut session)
        .await?;
    if !row.try_get::<bool, _>("locked")? {
        session.close().await?;
        return Ok(None);
    }
    // One by one: an older server may not know them all.
    for setting in SESSION_SETTINGS.split_inclusive(';') {
        if let Err(error) = session.execute(setting).await {
            tracing::debug!("the server does not know a setting: {error}");
        }
    }
    Ok(Some(session))
}

/// Keeps the session alive until it dies, which it says.
async fn keep(mut session: PgConnection, lost: watch::Sender<bool>) {
    while postgres::within(BEAT_TIMEOUT, session.ping()).await.is_ok() {
        sleep(BEAT).await;
    }
    lost.send_replace(true);
}
