//! Writing attempts, passes and ended runs.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{Error, Row, SqliteConnection};
use thresh_core::digest::{Digest, FieldHasher};
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::reuse::{KeyPart, KeyParts};
use thresh_core::schedule::StopReason;

use super::SqliteStore;
use super::rows::{OutcomeColumns, hex, json, micros, outcome_columns, run_hex};
use crate::store::{AttemptRecord, Batch, CaseId, PassRecord, RunRecord};

/// How many durations a case keeps for its estimate.
const RECENT_MAX: usize = 16;

/// A case as (project, binary id, name).
type CaseName<'a> = (&'a str, &'a str, &'a str);

/// A case's row, as far as it is rewritten.
struct CaseRow {
    id: i64,
    recent: String,
    attempts: u32,
    failures: u32,
    last_at: u64,
}

pub(super) async fn record(store: &SqliteStore, batch: &Batch) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut transaction = store.begin_write().await?;
    let connection = &mut *transaction;
    add_projects(connection, batch).await?;
    let workers = add_workers(connection, batch).await?;
    let mut cases = add_cases(connection, batch).await?;
    add_attempts(connection, &batch.attempts, &cases, &workers).await?;
    update_cases(connection, &batch.attempts, &mut cases, &workers).await?;
    add_passes(connection, &batch.passes, &cases).await?;
    add_runs(connection, &batch.runs).await?;
    transaction.commit().await
}

async fn add_projects(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), Error> {
    let mut projects: Vec<&str> = (batch.attempts.iter().map(|attempt| &*attempt.project))
        .chain(batch.passes.iter().map(|pass| &*pass.project))
        .chain(batch.runs.iter().map(|run| &*run.project))
        .collect();
    projects.sort_unstable();
    projects.dedup();
    sqlx::query(
        "INSERT INTO project (name) SELECT value FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(json(&projects)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_workers<'a>(
    connection: &mut SqliteConnection,
    batch: &'a Batch,
) -> Result<BTreeMap<&'a str, i64>, Error> {
    let mut names: Vec<&str> = batch.attempts.iter().map(|attempt| &*attempt.worker).collect();
    names.sort_unstable();
    names.dedup();
    let names_json = json(&names)?;
    sqlx::query(
        "INSERT INTO worker (name) SELECT value FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(&names_json)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "SELECT j.key AS position, w.id FROM json_each(?1) AS j CROSS JOIN worker AS w ON w.name = j.value",
    )
    .bind(&names_json)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok((
                names[row.try_get::<u32, _>("position")? as usize],
                row.try_get("id")?,
            ))
        })
        .collect()
}

fn name_of<'a>(project: &'a str, case: &'a CaseId) -> CaseName<'a> {
    (project, &case.binary_id, &case.name)
}

async fn add_cases<'a>(
    connection: &mut SqliteConnection,
    batch: &'a Batch,
) -> Result<BTreeMap<CaseName<'a>, CaseRow>, Error> {
    let mut names: Vec<CaseName<'a>> = (batch.attempts.iter())
        .map(|attempt| name_of(&attempt.project, &attempt.case))
        .chain(batch.passes.iter().map(|pass| name_of(&pass.project, &pass.case)))
        .collect();
    names.sort_unstable();
    names.dedup();
    let names_json = json(&names)?;
    sqlx::query(
        "INSERT INTO test_case (project, binary_id, name)
         SELECT p.id, j.value ->> 1, j.value ->> 2
         FROM json_each(?1) AS j CROSS JOIN project AS p ON p.name = j.value ->> 0
         WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(&names_json)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "SELECT j.key AS position, t.id, t.recent
         FROM json_each(?1) AS j
         CROSS JOIN project AS p ON p.name = j.value ->> 0
         CROSS JOIN test_case AS t
           ON t.project = p.id AND t.binary_id = j.value ->> 1 AND t.name = j.value ->> 2",
    )
    .bind(&names_json)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let name = names[row.try_get::<u32, _>("position")? as usize];
            let case = CaseRow {
                id: row.try_get("id")?,
                recent: row.try_get("recent")?,
                attempts: 0,
                failures: 0,
                last_at: 0,
            };
            Ok((name, case))
        })
        .collect()
}

#[derive(Serialize)]
struct AttemptRow<'a>(i64, String, u32, i64, OutcomeColumns<'a>, u64, i64);

async fn add_attempts(
    connection: &mut SqliteConnection,
    attempts: &[AttemptRecord],
    cases: &BTreeMap<CaseName<'_>, CaseRow>,
    workers: &BTreeMap<&str, i64>,
) -> Result<(), Error> {
    let rows: Vec<AttemptRow<'_>> = (attempts.iter())
        .filter_map(|attempt| {
            let case = cases.get(&name_of(&attempt.project, &attempt.case))?.id;
            let worker = *workers.get(&*attempt.worker)?;
            let outcome = outcome_columns(&attempt.outcome);
            let (started, took) = (attempt.started.as_micros(), micros(attempt.took));
            Some(AttemptRow(
                case,
                run_hex(attempt.run),
                attempt.attempt,
                worker,
                outcome,
                started,
                took,
            ))
        })
        .collect();
    sqlx::query(
        "INSERT INTO attempt (test_case, run, attempt, worker, outcome, passes, code, leaked, exec_error,
                              started_at, took)
         SELECT value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, value ->> '$[4][0]',
                value ->> '$[4][1]', value ->> '$[4][2]', value ->> '$[4][3]', value ->> '$[4][4]',
                value ->> 5, value ->> 6
         FROM json_each(?1)",
    )
    .bind(json(&rows)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn update_cases<'a>(
    connection: &mut SqliteConnection,
    attempts: &'a [AttemptRecord],
    cases: &mut BTreeMap<CaseName<'a>, CaseRow>,
    workers: &BTreeMap<&str, i64>,
) -> Result<(), Error> {
    for attempt in attempts.iter().filter(|attempt| says_how_long(&attempt.outcome)) {
        let case = cases.get_mut(&name_of(&attempt.project, &attempt.case));
        let (Some(case), Some(worker)) = (case, workers.get(&*attempt.worker)) else {
            continue;
        };
        push_recent(&mut case.recent, micros(attempt.took), *worker);
        case.attempts += 1;
        case.failures += u32::from(!attempt.outcome.passes());
        case.last_at = case.last_at.max(attempt.started.as_micros());
    }
    let rows: Vec<_> = (cases.values())
        .filter(|case| case.attempts > 0)
        .map(|case| (case.id, &case.recent, case.attempts, case.failures, case.last_at))
        .collect();
    sqlx::query(
        "UPDATE test_case
         SET recent = j.value ->> 1, attempts = attempts + (j.value ->> 2),
             failures = failures + (j.value ->> 3), last_at = max(last_at, j.value ->> 4)
         FROM json_each(?1) AS j WHERE test_case.id = j.value ->> 0",
    )
    .bind(json(&rows)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the attempt's duration is one of the case, and not of a machine that failed.
fn says_how_long(outcome: &Outcome) -> bool {
    outcome.is_about_the_case()
        && !matches!(
            outcome,
            Outcome::Failed {
                cause: FailureCause::Exec(_),
                ..
            }
        )
}

/// Appends a duration, drops the oldest beyond [`RECENT_MAX`].
fn push_recent(recent: &mut String, took: i64, worker: i64) {
    if !recent.is_empty() {
        recent.push(',');
    }
    recent.push_str(&format!("{took}:{worker}"));
    let surplus = recent.split(',').count().saturating_sub(RECENT_MAX);
    if let Some((at, _)) = surplus
        .checked_sub(1)
        .and_then(|nth| recent.match_indices(',').nth(nth))
    {
        recent.drain(..=at);
    }
}

async fn add_passes(
    connection: &mut SqliteConnection,
    passes: &[PassRecord],
    cases: &BTreeMap<CaseName<'_>, CaseRow>,
) -> Result<(), Error> {
    if passes.is_empty() {
        return Ok(());
    }
    let parts: BTreeMap<Digest, &KeyParts> = passes
        .iter()
        .map(|pass| (parts_digest(&pass.parts), &pass.parts))
        .collect();
    let parts: Vec<Vec<String>> = (parts.iter())
        .map(|(digest, parts)| {
            let each = KeyPart::ALL
                .into_iter()
                .map(|part| hex(parts.part(part).as_bytes()));
            std::iter::once(hex(digest.as_bytes())).chain(each).collect()
        })
        .collect();
    sqlx::query(
        "INSERT INTO key_parts (digest, code, arguments, environment, platform, files, programs)
         SELECT unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2), unhex(value ->> 3),
                unhex(value ->> 4), unhex(value ->> 5), unhex(value ->> 6)
         FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(json(&parts)?)
    .execute(&mut *connection)
    .await?;
    let rows: Vec<_> = (passes.iter())
        .filter_map(|pass| {
            let case = cases.get(&name_of(&pass.project, &pass.case))?.id;
            let digest = hex(parts_digest(&pass.parts).as_bytes());
            Some((
                hex(pass.key().0.as_bytes()),
                case,
                digest,
                run_hex(pass.run),
                pass.at.as_micros(),
            ))
        })
        .collect();
    sqlx::query(
        "INSERT INTO pass (key, test_case, parts, run, at, used_at)
         SELECT unhex(j.value ->> 0), j.value ->> 1, k.id, unhex(j.value ->> 3), j.value ->> 4, j.value ->> 4
         FROM json_each(?1) AS j CROSS JOIN key_parts AS k ON k.digest = unhex(j.value ->> 2)
         WHERE true
         ON CONFLICT (key) DO UPDATE SET test_case = excluded.test_case, parts = excluded.parts,
             run = excluded.run, at = excluded.at, used_at = max(used_at, excluded.used_at)
             WHERE excluded.at >= pass.at",
    )
    .bind(json(&rows)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Names a set of key parts, for this database alone.
fn parts_digest(parts: &KeyParts) -> Digest {
    let mut hasher = FieldHasher::new("thresh store v1: key parts");
    for part in KeyPart::ALL {
        hasher.field(parts.part(part).as_bytes());
    }
    hasher.finish()
}

async fn add_runs(connection: &mut SqliteConnection, runs: &[RunRecord]) -> Result<(), Error> {
    for run in runs {
        sqlx::query(
            "INSERT INTO run (id, project, title, started_at, took, reason, planned, passed, reused, flaky,
                              failed, not_run)
             SELECT ?1, id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM project WHERE name = ?2
             ON CONFLICT DO NOTHING",
        )
        .bind(run.run.as_u128().to_be_bytes().to_vec())
        .bind(&*run.project)
        .bind(&run.title)
        .bind(i64::try_from(run.started.as_micros()).unwrap_or(i64::MAX))
        .bind(micros(run.took))
        .bind(reason_word(run.reason))
        .bind(run.tally.planned)
        .bind(run.tally.passed)
        .bind(run.tally.reused)
        .bind(run.tally.flaky)
        .bind(run.tally.failed)
        .bind(run.tally.not_run)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn reason_word(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Complete => "complete",
        StopReason::MaxFail => "max fail",
        StopReason::Cancelled => "cancelled",
        StopReason::GlobalTimeout => "global timeout",
        StopReason::SetupScriptFailed => "setup script failed",
        StopReason::Stranded => "stranded",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_durations_go() {
        let mut recent = String::new();
        for took in 0..40 {
            push_recent(&mut recent, took, 7);
        }
        let kept: Vec<&str> = recent.split(',').collect();
        assert_eq!(
            (kept.len(), kept[0], kept[RECENT_MAX - 1]),
            (RECENT_MAX, "24:7", "39:7")
        );
    }
}
