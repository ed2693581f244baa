//! Reading runs that have ended, and what happened in one.

use sqlx::any::AnyRow;
use sqlx::{Error, Row};
use thresh_core::id::{LeaseId, RunId};
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;

use super::database::Database;
use super::engine::query;
use super::history::{get_attempt, get_case};
use super::rows::{get_count, get_duration, get_reason, get_run, get_time, run_bytes, text, unsigned};
use crate::store::{RunRecord, RunTimeline, TimelineAttempt};

pub(super) async fn latest(
    database: &Database,
    project: Option<&str>,
    runs_max: u32,
) -> Result<Vec<RunRecord>, Error> {
    let rows = query(
        "SELECT r.*, p.name AS project_name FROM run AS r JOIN project AS p ON p.id = r.project
         WHERE $1 = 0 OR p.name = $2 ORDER BY r.started_at DESC LIMIT $3",
    )
    .bind(i64::from(project.is_some()))
    .bind(text(project.unwrap_or_default()).into_owned())
    .bind(i64::from(runs_max))
    .fetch_all(&database.history)
    .await?;
    rows.iter().map(get_record).collect()
}

fn get_record(row: &AnyRow) -> Result<RunRecord, Error> {
    Ok(RunRecord {
        run: get_run(row, "id")?,
        project: row.try_get::<&str, _>("project_name")?.into(),
        title: row.try_get("title")?,
        started: get_time(row, "started_at")?,
        took: get_duration(row, "took")?,
        reason: get_reason(row)?,
        tally: Tally {
            planned: get_count(row, "planned")?,
            passed: get_count(row, "passed")?,
            reused: get_count(row, "reused")?,
            flaky: get_count(row, "flaky")?,
            failed: get_count(row, "failed")?,
            quarantined: get_count(row, "quarantined")?,
            not_run: get_count(row, "not_run")?,
        },
    })
}

pub(super) async fn timeline(database: &Database, run: RunId) -> Result<Option<RunTimeline>, Error> {
    let record = query(
        "SELECT r.*, p.name AS project_name FROM run AS r JOIN project AS p ON p.id = r.project WHERE r.id = $1",
    )
    .bind(run_bytes(run))
    .fetch_optional(&database.history)
    .await?;
    let rows = query(
        "SELECT a.*, w.name AS worker_name, t.binary_id, t.name
         FROM attempt AS a JOIN worker AS w ON w.id = a.worker JOIN test_case AS t ON t.id = a.test_case
         WHERE a.run = $1 ORDER BY coalesce(a.granted_at, a.started_at), a.id",
    )
    .bind(run_bytes(run))
    .fetch_all(&database.history)
    .await?;
    if record.is_none() && rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(RunTimeline {
        record: record.as_ref().map(get_record).transpose()?,
        attempts: rows.iter().map(get_timeline_attempt).collect::<Result<_, _>>()?,
    }))
}

fn get_timeline_attempt(row: &AnyRow) -> Result<TimelineAttempt, Error> {
    let granted: Option<i64> = row.try_get("granted_at")?;
    let lease: Option<i64> = row.try_get("lease")?;
    Ok(TimelineAttempt {
        case: get_case(row)?,
        attempt: get_attempt(row)?,
        granted: granted.map(|micros| Timestamp::from_micros(unsigned(micros))),
        why: row.try_get("reason")?,
        lease: lease.map(|lease| LeaseId(unsigned(lease))),
    })
}
