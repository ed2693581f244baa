//! Removing what is old. [`Store::sweep`](crate::store::Store::sweep) says what stays.
//!
//! What goes is looked up first, outside of any transaction, and then removed in small ones, so that others get
//! their turn in between.

use std::time::Duration;

use sqlx::{AnyPool, Error, Row};
use thresh_core::time::Timestamp;

use super::database::Database;
use super::engine::{Column, Engine, query};
use super::rows::{json, time};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Rows of one transaction.
const ROWS_MAX: usize = 500;

/// What is removed from one table.
struct Step {
    table: &'static str,
    /// The column that names a row, and how it travels.
    key: Column,
    /// Which rows go, by that column.
    found: &'static str,
    /// What must hold all the same when they are removed.
    unless: &'static str,
    /// How long they stay.
    kept: Duration,
    in_journal: bool,
}

/// `$1` is the time before which rows are old.
const DAILY: [Step; 12] = [
    Step {
        table: "attempt",
        key: Column::Integer("id"),
        found: "SELECT id FROM attempt WHERE started_at < $1",
        unless: "true",
        kept: days(90),
        in_journal: false,
    },
    Step {
        table: "attempt",
        key: Column::Integer("id"),
        found: "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY test_case ORDER BY id DESC) AS nth
                                FROM attempt) AS a
                WHERE nth > 50 AND $1 >= 0",
        unless: "true",
        kept: Duration::ZERO,
        in_journal: false,
    },
    Step {
        table: "pass",
        key: Column::Bytes("key"),
        found: "SELECT key FROM pass WHERE used_at < $1",
        unless: "true",
        kept: days(30),
        in_journal: false,
    },
    // Every edit of a workspace stores a pass a case: without this limit a busy one would keep thousands.
    Step {
        table: "pass",
        key: Column::Bytes("key"),
        found: "SELECT key FROM (SELECT key, row_number() OVER (PARTITION BY test_case ORDER BY used_at DESC) AS nth
                                 FROM pass) AS p
                WHERE nth > 256 AND $1 >= 0",
        unless: "true",
        kept: Duration::ZERO,
        in_journal: false,
    },
    Step {
        table: "key_parts",
        key: Column::Integer("id"),
        found: "SELECT id FROM key_parts
                WHERE $1 >= 0 AND NOT EXISTS (SELECT 1 FROM pass WHERE pass.parts = key_parts.id)",
        unless: "NOT EXISTS (SELECT 1 FROM pass WHERE pass.parts = key_parts.id)",
        kept: Duration::ZERO,
        in_journal: false,
    },
    Step {
        table: "action_result",
        key: Column::Bytes("key"),
        found: "SELECT key FROM action_result WHERE used_at < $1",
        unless: "true",
        kept: days(30),
        in_journal: false,
    },
    Step {
        table: "test_list",
        key: Column::Bytes("key"),
        found: "SELECT key FROM test_list WHERE used_at < $1",
        unless: "true",
        kept: days(30),
        in_journal: false,
    },
    Step {
        table: "seen",
        key: Column::Bytes("key"),
        found: "SELECT key FROM seen WHERE used_at < $1",
        unless: "true",
        kept: days(30),
        in_journal: false,
    },
    Step {
        table: "run",
        key: Column::Bytes("id"),
        found: "SELECT id FROM run WHERE started_at < $1",
        unless: "true",
        kept: days(90),
        in_journal: false,
    },
    Step {
        table: "quarantine",
        key: Column::Integer("id"),
        found: "SELECT id FROM quarantine WHERE until_at < $1",
        unless: "true",
        kept: days(90),
        in_journal: false,
    },
    // A case stays out of reuse until somebody has looked at it.
    Step {
        table: "audit",
        key: Column::Integer("id"),
        found: "SELECT id FROM audit WHERE at < $1 AND (finding <> 'disagreed' OR trusted_at IS NOT NULL)",
        unless: "true",
        kept: days(90),
        in_journal: false,
    },
    Step {
        table: "test_case",
        key: Column::Integer("id"),
        found: "SELECT id FROM test_case WHERE last_at < $1",
        unless: "NOT EXISTS (SELECT 1 FROM pass WHERE pass.test_case = test_case.id)
                 AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.test_case = test_case.id)
                 AND NOT EXISTS (SELECT 1 FROM audit WHERE audit.test_case = test_case.id)",
        kept: days(365),
        in_journal: false,
    },
];

/// The journal of runs that were closed.
const JOURNAL: [Step; 2] = [
    Step {
        table: "journal_events",
        key: Column::Integer("id"),
        found: "SELECT e.id FROM journal_run AS r JOIN journal_events AS e ON e.journal_run = r.id
                WHERE r.closed_at < $1",
        unless: "true",
        kept: DAY,
        in_journal: true,
    },
    Step {
        table: "journal_run",
        key: Column::Integer("id"),
        found: "SELECT id FROM journal_run WHERE closed_at < $1",
        unless: "NOT EXISTS (SELECT 1 FROM journal_events AS e WHERE e.journal_run = journal_run.id)",
        kept: DAY,
        in_journal: true,
    },
];

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * DAY.as_secs())
}

pub(super) async fn sweep(database: &Database, now: Timestamp) -> Result<bool, Error> {
    // A process that journals nothing has no file for it.
    if database.engine == Engine::Postgres || database.journal_ready.initialized() {
        for step in &JOURNAL {
            remove(database, step, now).await?;
        }
    }
    if !claim(database, now).await? {
        return Ok(false);
    }
    for step in &DAILY {
        remove(database, step, now).await?;
    }
    Ok(true)
}

fn before(now: Timestamp, kept: Duration) -> i64 {
    let kept = u64::try_from(kept.as_micros()).unwrap_or(u64::MAX);
    time(Timestamp::from_micros(now.as_micros().saturating_sub(kept)))
}

/// Whether the daily part is this process's to do: it is due, and nobody else does it.
async fn claim(database: &Database, now: Timestamp) -> Result<bool, Error> {
    let due = query("SELECT count(*) AS due FROM upkeep WHERE swept_at < $1")
        .bind(before(now, DAY))
        .fetch_one(&database.history)
        .await?;
    if due.try_get::<i64, _>("due")? == 0 {
        return Ok(false);
    }
    let mut write = database.write().await?;
    let claimed = query("UPDATE upkeep SET swept_at = $2 WHERE swept_at < $1")
        .bind(before(now, DAY))
        .bind(time(now))
        .execute(write.connection())
        .await?;
    write.commit().await?;
    Ok(claimed.rows_affected() > 0)
}

async fn remove(database: &Database, step: &Step, now: Timestamp) -> Result<(), Error> {
    let engine = database.engine;
    let (name, keys) = match step.key {
        Column::Bytes(name) => (name, engine.hex(name)),
        Column::Integer(name) | Column::Text(name) => (name, format!("CAST({name} AS TEXT)")),
    };
    let found = format!("SELECT {keys} AS key FROM ({}) AS f", step.found);
    let pool = if step.in_journal {
        &database.journal
    } else {
        &database.history
    };
    let keys = find(pool, found, before(now, step.kept)).await?;
    let (table, unless, rows) = (step.table, step.unless, engine.rows("$1", &[step.key]));
    for keys in keys.chunks(ROWS_MAX) {
        let mut write = if step.in_journal {
            database.write_durably().await?
        } else {
            database.write().await?
        };
        query(format!(
            "DELETE FROM {table} WHERE {name} IN (SELECT j.{name} FROM {rows}) AND {unless}"
        ))
        .bind(json(&keys.iter().map(|key| [key]).collect::<Vec<_>>())?)
        .execute(write.connection())
        .await?;
        write.commit().await?;
    }
    Ok(())
}

async fn find(pool: &AnyPool, sql: String, before: i64) -> Result<Vec<String>, Error> {
    let rows = query(sql).bind(before).fetch_all(pool).await?;
    rows.iter().map(|row| row.try_get("key")).collect()
}
