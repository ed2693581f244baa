//! The journal of runs that are going on.

use std::collections::BTreeMap;

use prost::bytes::Bytes;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Error, Row};
use thresh_core::id::RunId;
use thresh_core::time::Timestamp;

use super::database::Database;
use super::engine::query;
use super::rows::{get_count, get_run, get_time, run_bytes, signed, text, time, unsigned};
use crate::store::{EventBatch, JournalEntry, OpenRun};

/// Rows of events in one statement. Its text depends on their number, and each text is prepared and kept.
const ROWS_MAX: usize = 16;

/// Writes entries, unless a coordinator with a later epoch leads: that one is returned.
pub(super) async fn write(
    database: &Database,
    epoch: u32,
    entries: &[JournalEntry],
) -> Result<Option<u32>, Error> {
    let mut write = database.write_durably().await?;
    // Whoever takes over waits for this transaction, and sees all of it.
    let row = query(format!(
        "SELECT leader FROM epoch {}",
        database.engine.for_share()
    ))
    .fetch_one(write.connection())
    .await?;
    let leader = get_count(&row, "leader")?;
    if leader > epoch {
        return Ok(Some(leader));
    }
    // Entries of one kind that follow each other go together; the order of the others matters.
    for entries in entries.chunk_by(|one, other| is_events(one) && is_events(other)) {
        match entries {
            [
                JournalEntry::Submitted {
                    run,
                    project,
                    at,
                    request,
                },
            ] => {
                submitted(write.connection(), *run, project, *at, request).await?;
            }
            [JournalEntry::Closed { run, at }] => closed(write.connection(), *run, *at).await?,
            events => {
                for events in events.chunks(ROWS_MAX) {
                    add_events(write.connection(), events).await?;
                }
            }
        }
    }
    write.commit().await?;
    Ok(None)
}

fn is_events(entry: &JournalEntry) -> bool {
    matches!(entry, JournalEntry::Events { .. })
}

async fn submitted(
    connection: &mut AnyConnection,
    run: RunId,
    project: &str,
    at: Timestamp,
    request: &Bytes,
) -> Result<(), Error> {
    query(
        "INSERT INTO journal_run (run, project, submitted_at, request) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(run_bytes(run))
    .bind(text(project).into_owned())
    .bind(time(at))
    .bind(request.to_vec())
    .execute(connection)
    .await?;
    Ok(())
}

async fn closed(connection: &mut AnyConnection, run: RunId, at: Timestamp) -> Result<(), Error> {
    query("UPDATE journal_run SET closed_at = $2 WHERE run = $1 AND closed_at IS NULL")
        .bind(run_bytes(run))
        .bind(time(at))
        .execute(connection)
        .await?;
    Ok(())
}

async fn add_events(connection: &mut AnyConnection, entries: &[JournalEntry]) -> Result<(), Error> {
    let selects: Vec<String> = (0..entries.len())
        .map(|row| {
            let argument = |nth| row * 4 + nth;
            format!(
                "SELECT id, ${}, ${}, ${} FROM journal_run WHERE run = ${}",
                argument(1),
                argument(2),
                argument(3),
                argument(4)
            )
        })
        .collect();
    let mut statement = query(format!(
        "INSERT INTO journal_events (journal_run, first_number, events, payload)
         SELECT * FROM ({}) AS v WHERE true ON CONFLICT DO NOTHING",
        selects.join(" UNION ALL ")
    ));
    for entry in entries {
        if let JournalEntry::Events {
            run,
            first_number,
            count,
            payload,
        } = entry
        {
            statement = statement
                .bind(signed(*first_number))
                .bind(i64::from(*count))
                .bind(payload.to_vec())
                .bind(run_bytes(*run));
        }
    }
    statement.execute(connection).await?;
    Ok(())
}

pub(super) async fn knows(database: &Database, run: RunId) -> Result<bool, Error> {
    let row = query("SELECT count(*) AS runs FROM journal_run WHERE run = $1")
        .bind(run_bytes(run))
        .fetch_one(&database.journal)
        .await?;
    Ok(get_count(&row, "runs")? > 0)
}

pub(super) async fn open_runs(database: &Database, closed_since: Timestamp) -> Result<Vec<OpenRun>, Error> {
    let wanted = "(r.closed_at IS NULL OR r.closed_at >= $1)";
    let runs = query(format!(
        "SELECT r.* FROM journal_run AS r WHERE {wanted} ORDER BY r.id"
    ))
    .bind(time(closed_since))
    .fetch_all(&database.journal)
    .await?;
    let batches = query(format!(
        "SELECT e.* FROM journal_run AS r JOIN journal_events AS e ON e.journal_run = r.id
         WHERE {wanted} ORDER BY e.journal_run, e.first_number"
    ))
    .bind(time(closed_since))
    .fetch_all(&database.journal)
    .await?;
    let mut events: BTreeMap<i64, Vec<EventBatch>> = BTreeMap::new();
    for row in &batches {
        events
            .entry(row.try_get("journal_run")?)
            .or_default()
            .push(get_batch(row)?);
    }
    let run = |row: &AnyRow| {
        let closed: Option<i64> = row.try_get("closed_at")?;
        Ok(OpenRun {
            run: get_run(row, "run")?,
            project: row.try_get::<&str, _>("project")?.into(),
            at: get_time(row, "submitted_at")?,
            closed: closed.map(|micros| Timestamp::from_micros(unsigned(micros))),
            request: row.try_get::<Vec<u8>, _>("request")?.into(),
            events: events.remove(&row.try_get("id")?).unwrap_or_default(),
        })
    };
    runs.iter().map(run).collect()
}

fn get_batch(row: &AnyRow) -> Result<EventBatch, Error> {
    Ok(EventBatch {
        first_number: unsigned(row.try_get("first_number")?),
        count: get_count(row, "events")?,
        payload: row.try_get::<Vec<u8>, _>("payload")?.into(),
    })
}
