//! Writing attempts, passes, findings of audits and ended runs.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AnyConnection, Error};
use thresh_core::digest::{Digest, FieldHasher};
use thresh_core::reuse::{CaseKey, KeyPart, KeyParts};

use super::audits::add_audits;
use super::cases::{CaseName, CaseRow, add_cases, add_names, name_of, update_cases};
use super::database::Database;
use super::engine::{Column, Engine, query};
use super::rows::{
    OutcomeColumns, get_position, hex, json, micros, outcome_columns, reason_word, run_bytes, run_hex,
    signed, text, time,
};
use crate::store::{AttemptRecord, Batch, PassRecord, RunRecord};

/// Rows of one transaction. More cost less each, but other processes that write the same history wait longer.
const ROWS_MAX: usize = 2_048;

pub(super) async fn record(database: &Database, batch: &Batch) -> Result<(), Error> {
    for attempts in batch.attempts.chunks(ROWS_MAX) {
        let mut write = database.write().await?;
        add_attempts(write.connection(), database.engine, attempts).await?;
        write.commit().await?;
    }
    for passes in batch.passes.chunks(ROWS_MAX) {
        let mut write = database.write().await?;
        add_passes(write.connection(), database.engine, passes).await?;
        write.commit().await?;
    }
    for audits in batch.audits.chunks(ROWS_MAX) {
        let mut write = database.write().await?;
        add_audits(write.connection(), database.engine, audits).await?;
        write.commit().await?;
    }
    if !batch.runs.is_empty() {
        let mut write = database.write().await?;
        add_runs(write.connection(), database.engine, &batch.runs).await?;
        write.commit().await?;
    }
    Ok(())
}

async fn add_attempts(
    connection: &mut AnyConnection,
    engine: Engine,
    attempts: &[AttemptRecord],
) -> Result<(), Error> {
    let workers = attempts.iter().map(|attempt| &*attempt.worker);
    let workers = add_names(connection, engine, "worker", workers).await?;
    let names = attempts
        .iter()
        .map(|attempt| name_of(&attempt.project, &attempt.case));
    let mut cases = add_cases(connection, engine, names).await?;
    let mut rows = attempt_rows(attempts, &cases, &workers);
    let known = known_attempts(connection, engine, &rows).await?;
    let mut position = 0..;
    rows.retain(|_| {
        position
            .next()
            .is_some_and(|position: usize| !known.contains(&position))
    });
    for row in &rows {
        if let Some(case) = cases.get_mut(&name_of(&row.record.project, &row.record.case)) {
            case.note(row.record, row.worker);
        }
    }
    insert_attempts(connection, engine, &rows).await?;
    update_cases(connection, engine, cases.values()).await
}

struct AttemptRow<'a> {
    record: &'a AttemptRecord,
    case: i64,
    worker: i64,
}

/// The rows of attempts, the first of those that are the same.
fn attempt_rows<'a>(
    attempts: &'a [AttemptRecord],
    cases: &BTreeMap<CaseName<'_>, CaseRow>,
    workers: &BTreeMap<&str, i64>,
) -> Vec<AttemptRow<'a>> {
    let mut seen = BTreeSet::new();
    let rows = attempts.iter().filter_map(|record| {
        let case = cases.get(&name_of(&record.project, &record.case))?.id;
        let worker = *workers.get(&*record.worker)?;
        let is_new = record
            .lease
            .is_none_or(|lease| seen.insert((case, record.run, record.attempt, lease)));
        is_new.then_some(AttemptRow { record, case, worker })
    });
    rows.collect()
}

fn lease_column(record: &AttemptRecord) -> Option<i64> {
    record.lease.map(|lease| signed(lease.0))
}

/// The positions of the attempts that were recorded before.
async fn known_attempts(
    connection: &mut AnyConnection,
    engine: Engine,
    rows: &[AttemptRow<'_>],
) -> Result<BTreeSet<usize>, Error> {
    let argument: Vec<_> = (rows.iter())
        .map(|row| {
            (
                run_hex(row.record.run),
                row.case,
                row.record.attempt,
                lease_column(row.record),
            )
        })
        .collect();
    let columns = [
        Column::Bytes("run"),
        Column::Integer("test_case"),
        Column::Integer("attempt"),
        Column::Integer("lease"),
    ];
    let (from, join) = (engine.rows("$1", &columns), engine.join());
    let known = query(format!(
        "SELECT j.position FROM {from} {join} attempt AS a
         ON a.run = j.run AND a.test_case = j.test_case AND a.attempt = j.attempt AND a.lease = j.lease"
    ))
    .bind(json(&argument)?)
    .fetch_all(connection)
    .await?;
    known.iter().map(get_position).collect()
}

async fn insert_attempts(
    connection: &mut AnyConnection,
    engine: Engine,
    rows: &[AttemptRow<'_>],
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let argument: Vec<_> = rows.iter().map(attempt_values).collect();
    let columns = [
        Column::Integer("test_case"),
        Column::Bytes("run"),
        Column::Integer("attempt"),
        Column::Integer("worker"),
        Column::Text("outcome"),
        Column::Integer("passes"),
        Column::Integer("code"),
        Column::Integer("leaked"),
        Column::Text("exec_error"),
        Column::Integer("started_at"),
        Column::Integer("took"),
        Column::Integer("granted_at"),
        Column::Text("reason"),
        Column::Integer("lease"),
    ];
    let from = engine.rows("$1", &columns);
    query(format!(
        "INSERT INTO attempt (test_case, run, attempt, worker, outcome, passes, code, leaked, exec_error,
                              started_at, took, granted_at, reason, lease)
         SELECT j.test_case, j.run, j.attempt, j.worker, j.outcome, j.passes, j.code, j.leaked, j.exec_error,
                j.started_at, j.took, j.granted_at, j.reason, j.lease
         FROM {from} WHERE true ON CONFLICT DO NOTHING"
    ))
    .bind(json(&argument)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// In the order of the columns.
#[derive(serde::Serialize)]
struct AttemptValues<'a>(
    i64,
    String,
    u32,
    i64,
    &'static str,
    i64,
    i32,
    i64,
    Option<&'a str>,
    i64,
    i64,
    Option<i64>,
    &'static str,
    Option<i64>,
);

fn attempt_values<'a>(row: &AttemptRow<'a>) -> AttemptValues<'a> {
    let record = row.record;
    let (outcome, passes, code, leaked, why): OutcomeColumns<'a> = outcome_columns(&record.outcome);
    AttemptValues(
        row.case,
        run_hex(record.run),
        record.attempt,
        row.worker,
        outcome,
        passes,
        code,
        leaked,
        why,
        time(record.started),
        micros(record.took),
        record.granted.map(time),
        record.why,
        lease_column(record),
    )
}

async fn add_passes(
    connection: &mut AnyConnection,
    engine: Engine,
    passes: &[PassRecord],
) -> Result<(), Error> {
    let names = passes.iter().map(|pass| name_of(&pass.project, &pass.case));
    let cases = add_cases(connection, engine, names).await?;
    add_key_parts(connection, engine, passes).await?;
    // A statement may not write the same key twice.
    let mut newest: BTreeMap<CaseKey, &PassRecord> = BTreeMap::new();
    for pass in passes {
        let known = newest.entry(pass.key()).or_insert(pass);
        if pass.at >= known.at {
            *known = pass;
        }
    }
    let argument: Vec<_> = (newest.iter())
        .filter_map(|(key, pass)| {
            let case = cases.get(&name_of(&pass.project, &pass.case))?.id;
            let digest = hex(parts_digest(&pass.parts).as_bytes());
            Some((
                hex(key.0.as_bytes()),
                case,
                digest,
                run_hex(pass.run),
                time(pass.at),
            ))
        })
        .collect();
    let columns = [
        Column::Bytes("key"),
        Column::Integer("test_case"),
        Column::Bytes("digest"),
        Column::Bytes("run"),
        Column::Integer("at"),
    ];
    let (from, join) = (engine.rows("$1", &columns), engine.join());
    query(format!(
        "INSERT INTO pass (key, test_case, parts, run, at, used_at)
         SELECT j.key, j.test_case, k.id, j.run, j.at, j.at
         FROM {from} {join} key_parts AS k ON k.digest = j.digest
         WHERE true
         ON CONFLICT (key) DO UPDATE SET test_case = excluded.test_case, parts = excluded.parts,
             run = excluded.run, at = excluded.at,
             used_at = CASE WHEN excluded.used_at > pass.used_at THEN excluded.used_at ELSE pass.used_at END
             WHERE excluded.at >= pass.at"
    ))
    .bind(json(&argument)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_key_parts(
    connection: &mut AnyConnection,
    engine: Engine,
    passes: &[PassRecord],
) -> Result<(), Error> {
    let parts: BTreeMap<Digest, &KeyParts> = (passes.iter())
        .map(|pass| (parts_digest(&pass.parts), &pass.parts))
        .collect();
    let argument: Vec<Vec<String>> = (parts.iter())
        .map(|(digest, parts)| {
            let each = KeyPart::ALL
                .into_iter()
                .map(|part| hex(parts.part(part).as_bytes()));
            std::iter::once(hex(digest.as_bytes())).chain(each).collect()
        })
        .collect();
    let columns = [
        Column::Bytes("digest"),
        Column::Bytes("code"),
        Column::Bytes("arguments"),
        Column::Bytes("environment"),
        Column::Bytes("platform"),
        Column::Bytes("files"),
        Column::Bytes("programs"),
    ];
    let from = engine.rows("$1", &columns);
    query(format!(
        "INSERT INTO key_parts (digest, code, arguments, environment, platform, files, programs)
         SELECT j.digest, j.code, j.arguments, j.environment, j.platform, j.files, j.programs
         FROM {from} WHERE NOT EXISTS (SELECT 1 FROM key_parts AS k WHERE k.digest = j.digest)
         ON CONFLICT DO NOTHING"
    ))
    .bind(json(&argument)?)
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

async fn add_runs(connection: &mut AnyConnection, engine: Engine, runs: &[RunRecord]) -> Result<(), Error> {
    let projects = runs.iter().map(|run| &*run.project);
    let projects = add_names(connection, engine, "project", projects).await?;
    for run in runs {
        query(
            "INSERT INTO run (id, project, title, started_at, took, reason, planned, passed, reused, flaky,
                              failed, not_run, quarantined)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT DO NOTHING",
        )
        .bind(run_bytes(run.run))
        .bind(projects.get(&*run.project).copied().unwrap_or_default())
        .bind(text(&run.title).into_owned())
        .bind(time(run.started))
        .bind(micros(run.took))
        .bind(reason_word(run.reason))
        .bind(i64::from(run.tally.planned))
        .bind(i64::from(run.tally.passed))
        .bind(i64::from(run.tally.reused))
        .bind(i64::from(run.tally.flaky))
        .bind(i64::from(run.tally.failed))
        .bind(i64::from(run.tally.not_run))
        .bind(i64::from(run.tally.quarantined))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
