//! Reading durations and past attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{Error, Row};
use thresh_core::estimate::{CaseSamples, Sample};
use thresh_core::time::Timestamp;

use super::SqliteStore;
use super::rows::{count, json, outcome, run_id, unsigned};
use crate::store::{CaseId, PastAttempt, PastCase};

pub(super) async fn samples(store: &SqliteStore, project: &str) -> Result<Vec<CaseSamples>, Error> {
    let rows = sqlx::query(
        "SELECT t.binary_id, t.name, t.recent FROM test_case AS t JOIN project AS p ON p.id = t.project
         WHERE p.name = ?1 AND t.recent <> ''",
    )
    .bind(project)
    .fetch_all(&store.pool)
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

/// Reads the column `recent`, the latest first; what does not have its form is passed over.
fn parse_recent(recent: &str) -> Vec<Sample> {
    let sample = |text: &str| {
        let (took, worker) = text.split_once(':')?;
        Some(Sample {
            worker: worker.parse().ok()?,
            took: Duration::from_micros(took.parse().ok()?),
        })
    };
    recent.rsplit(',').filter_map(sample).collect()
}

pub(super) async fn history(
    store: &SqliteStore,
    project: &str,
    patterns: &[String],
    attempts_max: u32,
) -> Result<Vec<PastCase>, Error> {
    let rows = sqlx::query(
        "SELECT t.id, t.binary_id, t.name, t.attempts, t.failures
         FROM test_case AS t JOIN project AS p ON p.id = t.project
         WHERE p.name = ?1 AND (json_array_length(?2) = 0 OR EXISTS (
             SELECT 1 FROM json_each(?2) WHERE instr(t.binary_id || ' ' || t.name, value) > 0))
         ORDER BY t.binary_id, t.name",
    )
    .bind(project)
    .bind(json(&patterns)?)
    .fetch_all(&store.pool)
    .await?;
    let ids = rows
        .iter()
        .map(|row| row.try_get("id"))
        .collect::<Result<Vec<i64>, _>>()?;
    let mut newest = newest_attempts(store, &ids, attempts_max).await?;
    rows.iter()
        .zip(ids)
        .map(|(row, id)| {
            Ok(PastCase {
                case: CaseId {
                    binary_id: row.try_get::<&str, _>("binary_id")?.into(),
                    name: row.try_get::<&str, _>("name")?.into(),
                },
                attempts: count(row.try_get("attempts")?),
                failures: count(row.try_get("failures")?),
                newest: newest.remove(&id).unwrap_or_default(),
            })
        })
        .collect()
}

async fn newest_attempts(
    store: &SqliteStore,
    cases: &[i64],
    attempts_max: u32,
) -> Result<BTreeMap<i64, Vec<PastAttempt>>, Error> {
    let mut newest: BTreeMap<i64, Vec<PastAttempt>> = BTreeMap::new();
    if attempts_max == 0 {
        return Ok(newest);
    }
    let rows = sqlx::query(
        "SELECT a.*, w.name AS worker_name
         FROM json_each(?1) AS j
         CROSS JOIN attempt AS a ON a.test_case = j.value AND a.id IN (
             SELECT id FROM attempt WHERE test_case = j.value ORDER BY id DESC LIMIT ?2)
         CROSS JOIN worker AS w ON w.id = a.worker
         ORDER BY a.id DESC",
    )
    .bind(json(&cases)?)
    .bind(attempts_max)
    .fetch_all(&store.pool)
    .await?;
    for row in &rows {
        newest
            .entry(row.try_get("test_case")?)
            .or_default()
            .push(PastAttempt {
                run: run_id(row, "run")?,
                attempt: count(row.try_get("attempt")?),
                worker: row.try_get("worker_name")?,
                outcome: outcome(row)?,
                started: Timestamp::from_micros(unsigned(row.try_get("started_at")?)),
                took: Duration::from_micros(unsigned(row.try_get("took")?)),
            });
    }
    Ok(newest)
}
