//! The store in a database of PostgreSQL 14 or newer.
//!
//! History is written with `synchronous_commit = off` (a crash of the server's machine can lose the last
//! moments), by one transaction at a time. The journal is written with whatever the server's setting is, which
//! is durable unless its operator wants otherwise.

use std::future::Future;
use std::io;
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AnyConnection, AnyPool, ConnectOptions, Connection, Error, Executor, Row};
use tokio::time::timeout;

use super::database::pool_options;
use super::schema::Marks;
use crate::store::StoreError;
use crate::store::error::ErrorKind;

const CONNECTIONS_MAX: u32 = 8;

/// One is used at a time; another takes its place while a network that swallows everything keeps it busy.
const JOURNAL_CONNECTIONS_MAX: u32 = 3;

/// The server ends a transaction whose coordinator is frozen or out of reach: the next one waits for its locks.
const SESSION_SETTINGS: &str = "SET idle_in_transaction_session_timeout = 4000; SET tcp_keepalives_idle = 2;
    SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 2;";

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a statement other than the sweep's may take before the server counts as unreachable.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// By schema version; the first one makes the whole schema.
pub(super) const MIGRATIONS: &[(i64, &str)] = &[
    (2, include_str!("../../../migrations/postgres/2_durable_runs.sql")),
    (
        3,
        include_str!("../../../migrations/postgres/3_action_results.sql"),
    ),
    (4, include_str!("../../../migrations/postgres/4_seen.sql")),
    (5, include_str!("../../../migrations/postgres/5_audits.sql")),
];

/// Advisory locks, by what they guard. "THRS" and a number.
pub(super) mod lock {
    /// Who may change the schema.
    pub(in crate::store::sql) const SCHEMA: i64 = (1_414_025_811 << 8) + 1;
    /// Who may write history.
    pub(in crate::store::sql) const HISTORY: i64 = (1_414_025_811 << 8) + 2;
    /// Who leads.
    pub(in crate::store::sql) const LEADER: i64 = (1_414_025_811 << 8) + 3;
}

/// The connections for history, and those for the journal.
pub(super) fn pools(url: &str) -> Result<(AnyPool, AnyPool), StoreError> {
    let wrong = |cause: Error| StoreError::Url {
        cause: cause.to_string(),
    };
    url.parse::<PgConnectOptions>().map_err(wrong)?;
    let options: AnyConnectOptions = url.parse().map_err(wrong)?;
    let options = options.disable_statement_logging();
    let pool = |connections_max| {
        pool_options(connections_max)
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(sqlx::raw_sql(SESSION_SETTINGS)).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options.clone())
    };
    Ok((pool(CONNECTIONS_MAX), pool(JOURNAL_CONNECTIONS_MAX)))
}

/// Connects once, to learn why it cannot be done.
pub(super) async fn connect(url: &str) -> Result<(), Error> {
    let options: PgConnectOptions = url.parse()?;
    within(CONNECT_TIMEOUT, async {
        PgConnection::connect_with(&options).await?.close().await
    })
    .await
}

/// Does something that the server has to answer.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    within(ANSWER_TIMEOUT, work).await
}

/// A network that swallows everything looks like a server that takes its time: an error of the connection.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let silent = |_| {
        Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer for {limit:?}"),
        ))
    };
    timeout(limit, work).await.map_err(silent)?
}

/// For a transaction that writes history. What it reads and changes it finds by keys, whatever the planner may
/// think while the tables are still small: it would keep that plan when they are not.
const HISTORY_SETTINGS: &str = "SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off;
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;";

/// Waits until no other transaction writes history.
pub(super) async fn take_turn(connection: &mut AnyConnection) -> Result<(), Error> {
    take_lock(connection, lock::HISTORY).await?;
    sqlx::raw_sql(HISTORY_SETTINGS).execute(connection).await?;
    Ok(())
}

/// Takes an advisory lock until the end of the transaction.
pub(super) async fn take_lock(connection: &mut AnyConnection, lock: i64) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(lock)
        .execute(connection)
        .await?;
    Ok(())
}

/// Reads what a database says of itself.
pub(super) async fn marks(connection: &mut AnyConnection) -> Result<Marks, Error> {
    let row = sqlx::query(
        "SELECT count(*) AS tables, count(*) FILTER (WHERE table_name = 'thresh_schema') AS ours
         FROM information_schema.tables WHERE table_schema = current_schema()",
    )
    .fetch_one(&mut *connection)
    .await?;
    if row.try_get::<i64, _>("ours")? > 0 {
        let row = sqlx::query("SELECT version FROM thresh_schema")
            .fetch_one(connection)
            .await?;
        return Ok(Marks::Ours(row.try_get("version")?));
    }
    Ok(match row.try_get::<i64, _>("tables")? {
        0 => Marks::Empty,
        _ => Marks::Foreign,
    })
}

/// By SQLSTATE (PostgreSQL's manual, appendix A).
pub(super) fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::Database(error) => error.code().map_or(ErrorKind::Other, |code| kind_of_code(&code)),
        Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::PoolTimedOut
        | Error::WorkerCrashed
        | Error::BeginFailed => ErrorKind::Unreachable,
        Error::Configuration(_) => ErrorKind::Open,
        _ => ErrorKind::Other,
    }
}

fn kind_of_code(code: &str) -> ErrorKind {
    match code {
        "53100" => ErrorKind::Full,
        // The server is a standby itself, or its operator stopped all writing.
        "25006" => ErrorKind::ReadOnly,
        // Serialization failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => ErrorKind::Busy,
        // Shutting down, starting up, crashed, out of connections or memory, idle for too long (in a transaction).
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "53200" | "53300" => ErrorKind::Unreachable,
        // Data or index corrupted.
        "XX001" | "XX002" => ErrorKind::Damaged,
        // No such database, no such schema, no permission.
        "3D000" | "3F000" | "42501" => ErrorKind::Open,
        _ => match code.get(..2) {
            Some("08") => ErrorKind::Unreachable,
            Some("28") => ErrorKind::Open,
            _ => ErrorKind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart() {
        for (code, expected) in [
            ("53100", ErrorKind::Full),
            ("25006", ErrorKind::ReadOnly),
            ("40P01", ErrorKind::Busy),
            ("57P01", ErrorKind::Unreachable),
            ("08006", ErrorKind::Unreachable),
            ("28P01", ErrorKind::Open),
            ("3D000", ErrorKind::Open),
            ("XX001", ErrorKind::Damaged),
            ("42P01", ErrorKind::Other),
            ("", ErrorKind::Other),
        ] {
            assert_eq!(kind_of_code(code), expected, "{code}");
        }
    }
}
