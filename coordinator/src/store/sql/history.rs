//! Reading durations and past attempts.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{Error, Row};
use thresh_core::estimate::CaseSamples;

use super::database::Database;
use super::engine::{Column, query};
use super::marks::{flake_rate, parse_recent};
use super::rows::{get_count, get_duration, get_outcome, get_run, get_time, json, text};
use crate::store::{CaseId, PastAttempt, PastCase};

pub(super) async fn samples(database: &Database, project: &str) -> Result<Vec<CaseSamples>, Error> {
    let rows = query(
        "SELECT t.binary_id, t.name, t.recent FROM test_case AS t JOIN project AS p ON p.id = t.project
         WHERE p.name = $1 AND t.recent <> ''",
    )
    .bind(text(project).into_owned())
    .fetch_all(&database.history)
    .await?;
    rows.iter()
        .map(|row| {
            let binary: String = row.try_get("binary_id")?;
            let package = binary.split("::").next().unwrap_or(&binary).to_owned();
            let samples = parse_recent(row.try_get("recent")?);
            Ok(CaseSamples {
                binary,
                package,
                name: row.try_get("name")?,
                samples,
            })
        })
        .collect()
}

pub(super) async fn history(
    database: &Database,
    project: &str,
    patterns: &[String],
    attempts_max: u32,
) -> Result<Vec<PastCase>, Error> {
    let wanted = database.engine.rows("$2", &[Column::Text("pattern")]);
    let contains = database
        .engine
        .contains("t.binary_id || ' ' || t.name", "j.pattern");
    let rows = query(format!(
        "SELECT t.id, t.binary_id, t.name, t.attempts, t.failures, t.runs, t.flaky_runs
         FROM test_case AS t JOIN project AS p ON p.id = t.project
         WHERE p.name = $1 AND ($3 = 0 OR EXISTS (SELECT 1 FROM {wanted} WHERE {contains}))
         ORDER BY t.binary_id, t.name"
    ))
    .bind(text(project).into_owned())
    .bind(json(
        &patterns.iter().map(|pattern| [pattern]).collect::<Vec<_>>(),
    )?)
    .bind(i64::try_from(patterns.len()).unwrap_or(i64::MAX))
    .fetch_all(&database.history)
    .await?;
    let ids = rows
        .iter()
        .map(|row| row.try_get("id"))
        .collect::<Result<Vec<i64>, _>>()?;
    let mut newest = newest_attempts(database, &ids, attempts_max).await?;
    rows.iter()
        .zip(ids)
        .map(|(row, id)| {
            Ok(PastCase {
                case: get_case(row)?,
                attempts: get_count(row, "attempts")?,
                failures: get_count(row, "failures")?,
                flaky_runs: get_count(row, "flaky_runs")?,
                flake_rate: flake_rate(row.try_get("runs")?),
                newest: newest.remove(&id).unwrap_or_default(),
            })
        })
        .collect()
}

async fn newest_attempts(
    database: &Database,
    cases: &[i64],
    attempts_max: u32,
) -> Result<BTreeMap<i64, Vec<PastAttempt>>, Error> {
    let mut newest: BTreeMap<i64, Vec<PastAttempt>> = BTreeMap::new();
    if attempts_max == 0 || cases.is_empty() {
        return Ok(newest);
    }
    let engine = database.engine;
    let (from, join) = (engine.rows("$1", &[Column::Integer("id")]), engine.join());
    let rows = query(format!(
        "SELECT a.*, w.name AS worker_name
         FROM (SELECT b.*, row_number() OVER (PARTITION BY b.test_case ORDER BY b.id DESC) AS nth
               FROM {from} {join} attempt AS b ON b.test_case = j.id) AS a
         {join} worker AS w ON w.id = a.worker
         WHERE a.nth <= $2
         ORDER BY a.id DESC"
    ))
    .bind(json(&cases.iter().map(|case| [case]).collect::<Vec<_>>())?)
    .bind(i64::from(attempts_max))
    .fetch_all(&database.history)
    .await?;
    for row in &rows {
        newest
            .entry(row.try_get("test_case")?)
            .or_default()
            .push(get_attempt(row)?);
    }
    Ok(newest)
}

pub(super) fn get_case(row: &AnyRow) -> Result<CaseId, Error> {
    Ok(CaseId {
        binary_id: row.try_get::<&str, _>("binary_id")?.into(),
        name: row.try_get::<&str, _>("name")?.into(),
    })
}

/// From the columns of `attempt` and `worker_name`.
pub(super) fn get_attempt(row: &AnyRow) -> Result<PastAttempt, Error> {
    Ok(PastAttempt {
        run: get_run(row, "run")?,
        attempt: get_count(row, "attempt")?,
        worker: row.try_get("worker_name")?,
        outcome: get_outcome(row)?,
        started: get_time(row, "started_at")?,
        took: get_duration(row, "took")?,
    })
}
