//! What audits of reuse found.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Error, Row};
use thresh_core::reuse::AuditFinding;
use thresh_core::time::Timestamp;

use super::cases::{CaseName, CaseRow, add_cases, name_of};
use super::database::Database;
use super::engine::{Column, Engine, query};
use super::history::get_case;
use super::rows::{
    OutcomeColumns, get_outcome, get_run, get_time, json, outcome_columns, run_bytes, run_hex, text, time,
    unsigned,
};
use crate::store::{AuditCounts, AuditRecord, AuditReport, CaseId, Disagreement};

/// A disagreement that keeps its case from being reused. The index `audit_open` has the same words.
const OPEN: &str = "a.finding = 'disagreed' AND a.trusted_at IS NULL";

/// The cases of a project, given `$1`, with their findings.
const FINDINGS: &str = "FROM project AS p JOIN test_case AS t ON t.project = p.id
                        JOIN audit AS a ON a.test_case = t.id WHERE p.name = $1";

pub(super) async fn add_audits(
    connection: &mut AnyConnection,
    engine: Engine,
    audits: &[AuditRecord],
) -> Result<(), Error> {
    let names = audits.iter().map(|audit| name_of(&audit.project, &audit.case));
    let cases = add_cases(connection, engine, names).await?;
    insert(connection, engine, audits, &cases).await?;
    // By themselves, since they can be long; there are hardly any.
    for audit in audits.iter().filter(|audit| !audit.output.is_empty()) {
        let Some(case) = cases.get(&name_of(&audit.project, &audit.case)) else {
            continue;
        };
        query("UPDATE audit SET output = $3 WHERE test_case = $1 AND run = $2 AND output IS NULL")
            .bind(case.id)
            .bind(run_bytes(audit.run))
            .bind(audit.output.clone())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// In the order of the columns.
#[derive(serde::Serialize)]
struct Values<'a>(
    i64,
    String,
    i64,
    &'static str,
    Option<String>,
    Option<&'static str>,
    Option<i64>,
    Option<i32>,
    Option<i64>,
    Option<&'a str>,
);

fn values(audit: &AuditRecord, case: i64) -> Values<'_> {
    let outcome: Option<OutcomeColumns<'_>> = match &audit.finding {
        AuditFinding::Disagreed(outcome) => Some(outcome_columns(outcome)),
        AuditFinding::Agreed | AuditFinding::Flaky => None,
    };
    Values(
        case,
        run_hex(audit.run),
        time(audit.at),
        audit.finding.word(),
        audit.past_run.map(run_hex),
        outcome.map(|(word, ..)| word),
        outcome.map(|(_, passes, ..)| passes),
        outcome.map(|(_, _, code, ..)| code),
        outcome.map(|(_, _, _, leaked, _)| leaked),
        outcome.and_then(|(.., why)| why),
    )
}

async fn insert(
    connection: &mut AnyConnection,
    engine: Engine,
    audits: &[AuditRecord],
    cases: &BTreeMap<CaseName<'_>, CaseRow>,
) -> Result<(), Error> {
    let argument: Vec<Values<'_>> = (audits.iter())
        .filter_map(|audit| {
            let case = cases.get(&name_of(&audit.project, &audit.case))?;
            Some(values(audit, case.id))
        })
        .collect();
    let columns = [
        Column::Integer("test_case"),
        Column::Bytes("run"),
        Column::Integer("at"),
        Column::Text("finding"),
        Column::Bytes("past_run"),
        Column::Text("outcome"),
        Column::Integer("passes"),
        Column::Integer("code"),
        Column::Integer("leaked"),
        Column::Text("exec_error"),
    ];
    let from = engine.rows("$1", &columns);
    query(format!(
        "INSERT INTO audit (test_case, run, at, finding, past_run, outcome, passes, code, leaked, exec_error)
         SELECT j.test_case, j.run, j.at, j.finding, j.past_run, j.outcome, j.passes, j.code, j.leaked, j.exec_error
         FROM {from} WHERE true ON CONFLICT DO NOTHING"
    ))
    .bind(json(&argument)?)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn distrusted(database: &Database, project: &str) -> Result<BTreeSet<CaseId>, Error> {
    // From what is open to its project: there are hardly any, and many cases.
    let join = database.engine.join();
    let rows = query(format!(
        "SELECT t.binary_id, t.name FROM audit AS a {join} test_case AS t ON t.id = a.test_case
         {join} project AS p ON p.id = t.project WHERE {OPEN} AND p.name = $1"
    ))
    .bind(text(project).into_owned())
    .fetch_all(&database.history)
    .await?;
    rows.iter().map(get_case).collect()
}

pub(super) async fn report(
    database: &Database,
    project: &str,
    outputs_max: u32,
) -> Result<AuditReport, Error> {
    let counts = counts(database, project).await?;
    // Their output is left out here, since there can be many.
    let rows = query(format!(
        "SELECT a.id, t.binary_id, t.name, a.run, a.at, a.past_run, a.outcome, a.passes, a.code, a.leaked,
                a.exec_error, a.trusted_at
         {FINDINGS} AND a.finding = 'disagreed'
         ORDER BY CASE WHEN a.trusted_at IS NULL THEN 0 ELSE 1 END, a.at DESC, a.id DESC"
    ))
    .bind(text(project).into_owned())
    .fetch_all(&database.history)
    .await?;
    let ids = (rows.iter().map(|row| row.try_get("id"))).collect::<Result<Vec<i64>, _>>()?;
    let with_output = &ids[..ids.len().min(outputs_max as usize)];
    let mut outputs = outputs(database, with_output).await?;
    let disagreements = (rows.iter().zip(ids))
        .map(|(row, id)| disagreement(row, outputs.remove(&id).unwrap_or_default()))
        .collect::<Result<_, Error>>()?;
    Ok(AuditReport {
        counts,
        disagreements,
    })
}

async fn counts(database: &Database, project: &str) -> Result<AuditCounts, Error> {
    let rows = query(format!(
        "SELECT a.finding, count(*) AS findings {FINDINGS} GROUP BY a.finding"
    ))
    .bind(text(project).into_owned())
    .fetch_all(&database.history)
    .await?;
    let mut counts = AuditCounts::default();
    for row in &rows {
        let count = unsigned(row.try_get("findings")?);
        match row.try_get("finding")? {
            "agreed" => counts.agreed = count,
            "flaky" => counts.flaky = count,
            _ => counts.disagreed = count,
        }
    }
    Ok(counts)
}

async fn outputs(database: &Database, ids: &[i64]) -> Result<BTreeMap<i64, Vec<u8>>, Error> {
    let (engine, columns) = (database.engine, [Column::Integer("id")]);
    let (from, join) = (engine.rows("$1", &columns), engine.join());
    let rows = query(format!(
        "SELECT a.id, a.output FROM {from} {join} audit AS a ON a.id = j.id WHERE a.output IS NOT NULL"
    ))
    .bind(json(&ids.iter().map(|id| [id]).collect::<Vec<_>>())?)
    .fetch_all(&database.history)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("id")?, row.try_get("output")?)))
        .collect()
}

fn disagreement(row: &AnyRow, output: Vec<u8>) -> Result<Disagreement, Error> {
    let past_run: Option<Vec<u8>> = row.try_get("past_run")?;
    let trusted: Option<i64> = row.try_get("trusted_at")?;
    Ok(Disagreement {
        case: get_case(row)?,
        run: get_run(row, "run")?,
        at: get_time(row, "at")?,
        past_run: past_run.map(|_| get_run(row, "past_run")).transpose()?,
        outcome: get_outcome(row)?,
        output,
        trusted: trusted.map(|at| Timestamp::from_micros(unsigned(at))),
    })
}

/// Closes the open disagreements of cases; returns of how many cases.
pub(super) async fn trust(
    database: &Database,
    project: &str,
    cases: &[CaseId],
    now: Timestamp,
) -> Result<u64, Error> {
    let names: Vec<(&str, &str)> = cases.iter().map(|case| (&*case.binary_id, &*case.name)).collect();
    let argument = json(&names)?;
    let (engine, columns) = (database.engine, [Column::Text("binary_id"), Column::Text("name")]);
    let (from, join) = (engine.rows("$1", &columns), engine.join());
    let mut write = database.write().await?;
    let open = query(format!(
        "SELECT DISTINCT t.id FROM {from} {join} project AS p ON p.name = $2
         {join} test_case AS t ON t.project = p.id AND t.binary_id = j.binary_id AND t.name = j.name
         {join} audit AS a ON a.test_case = t.id WHERE {OPEN}"
    ))
    .bind(argument)
    .bind(text(project).into_owned())
    .fetch_all(write.connection())
    .await?;
    let ids = (open.iter().map(|row| row.try_get("id"))).collect::<Result<Vec<i64>, _>>()?;
    let from = engine.rows("$1", &[Column::Integer("id")]);
    query(format!(
        "UPDATE audit SET trusted_at = $2 WHERE finding = 'disagreed' AND trusted_at IS NULL
             AND test_case IN (SELECT j.id FROM {from})"
    ))
    .bind(json(&ids.iter().map(|id| [id]).collect::<Vec<_>>())?)
    .bind(time(now))
    .execute(write.connection())
    .await?;
    write.commit().await?;
    Ok(ids.len() as u64)
}
