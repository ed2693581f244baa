//! The rows that others refer to: projects, workers, test cases.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, Error, Row};
use thresh_core::outcome::{FailureCause, Outcome};

use super::engine::{Column, Engine, query};
use super::marks::{push_recent, push_run};
use super::rows::{get_position, json, micros, text, time};
use crate::store::{AttemptRecord, CaseId};

/// A case as (project, binary id, name).
pub(super) type CaseName<'a> = (&'a str, &'a str, &'a str);

pub(super) fn name_of<'a>(project: &'a str, case: &'a CaseId) -> CaseName<'a> {
    (project, &case.binary_id, &case.name)
}

/// A case's row, as far as it is rewritten.
#[derive(Debug)]
pub(super) struct CaseRow {
    pub(super) id: i64,
    recent: String,
    runs: String,
    more: More,
}

/// What is added to a case's counters.
#[derive(Debug, Default)]
struct More {
    attempts: i64,
    failures: i64,
    flaky_runs: i64,
    last_at: i64,
}

/// Returns the project's number, if there is such a project.
pub(super) async fn find_project(connection: &mut AnyConnection, name: &str) -> Result<Option<i64>, Error> {
    let row = query("SELECT id FROM project WHERE name = $1")
        .bind(text(name).into_owned())
        .fetch_optional(connection)
        .await?;
    row.map(|row| row.try_get("id")).transpose()
}

/// What is not found is added and looked up once more; the last look sees that nothing is missing.
const LOOK_UPS: usize = 3;

/// Returns the numbers of the rows of `table` (`project` or `worker`) with these names, new ones where needed.
pub(super) async fn add_names<'a>(
    connection: &mut AnyConnection,
    engine: Engine,
    table: &'static str,
    names: impl Iterator<Item = &'a str>,
) -> Result<BTreeMap<&'a str, i64>, Error> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let (rows, join) = (engine.rows("$1", &[Column::Text("name")]), engine.join());
    let mut found = BTreeMap::new();
    for _ in 0..LOOK_UPS {
        let asked: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| !found.contains_key(name))
            .collect();
        if asked.is_empty() {
            return Ok(found);
        }
        let argument = json(&asked.iter().map(|name| [name]).collect::<Vec<_>>())?;
        let known = query(format!(
            "SELECT j.position, t.id FROM {rows} {join} {table} AS t ON t.name = j.name"
        ))
        .bind(argument.clone())
        .fetch_all(&mut *connection)
        .await?;
        for row in &known {
            if let Some(name) = asked.get(get_position(row)?) {
                found.insert(*name, row.try_get("id")?);
            }
        }
        if known.len() < asked.len() {
            let sql = format!(
                "INSERT INTO {table} (name) SELECT j.name FROM {rows} WHERE true ON CONFLICT DO NOTHING"
            );
            query(sql).bind(argument).execute(&mut *connection).await?;
        }
    }
    Err(Error::RowNotFound)
}

/// Returns the rows of these cases, new ones where needed.
pub(super) async fn add_cases<'a>(
    connection: &mut AnyConnection,
    engine: Engine,
    names: impl Iterator<Item = CaseName<'a>>,
) -> Result<BTreeMap<CaseName<'a>, CaseRow>, Error> {
    let mut names: Vec<CaseName<'a>> = names.collect();
    names.sort_unstable();
    names.dedup();
    let projects = names.iter().map(|(project, _, _)| *project);
    let projects = add_names(connection, engine, "project", projects).await?;
    let columns = [
        Column::Integer("project"),
        Column::Text("binary_id"),
        Column::Text("name"),
    ];
    let (rows, join) = (engine.rows("$1", &columns), engine.join());
    let mut found = BTreeMap::new();
    for _ in 0..LOOK_UPS {
        let asked: Vec<CaseName<'a>> = names
            .iter()
            .copied()
            .filter(|name| !found.contains_key(name))
            .collect();
        if asked.is_empty() {
            return Ok(found);
        }
        let argument: Vec<(i64, &str, &str)> = (asked.iter())
            .map(|(project, binary, name)| {
                (projects.get(project).copied().unwrap_or_default(), *binary, *name)
            })
            .collect();
        let argument = json(&argument)?;
        let known = query(format!(
            "SELECT j.position, t.id, t.recent, t.runs FROM {rows} {join} test_case AS t
             ON t.project = j.project AND t.binary_id = j.binary_id AND t.name = j.name"
        ))
        .bind(argument.clone())
        .fetch_all(&mut *connection)
        .await?;
        for row in &known {
            let Some(name) = asked.get(get_position(row)?) else {
                continue;
            };
            let case = CaseRow {
                id: row.try_get("id")?,
                recent: row.try_get("recent")?,
                runs: row.try_get("runs")?,
                more: More::default(),
            };
            found.insert(*name, case);
        }
        if known.len() < asked.len() {
            let sql = format!(
                "INSERT INTO test_case (project, binary_id, name) SELECT j.project, j.binary_id, j.name
                 FROM {rows} WHERE true ON CONFLICT DO NOTHING"
            );
            query(sql).bind(argument).execute(&mut *connection).await?;
        }
    }
    Err(Error::RowNotFound)
}

impl CaseRow {
    /// Notes what an attempt of the case says about it.
    pub(super) fn note(&mut self, attempt: &AttemptRecord, worker: i64) {
        if !says_how_long(&attempt.outcome) {
            return;
        }
        let passes = attempt.outcome.passes();
        push_recent(&mut self.recent, micros(attempt.took), worker);
        self.more.attempts += 1;
        self.more.failures += i64::from(!passes);
        self.more.flaky_runs += i64::from(push_run(&mut self.runs, attempt.run, passes));
        self.more.last_at = self.more.last_at.max(time(attempt.started));
    }
}

/// Whether the attempt's duration is one of the case, and not of a machine that failed.
fn says_how_long(outcome: &Outcome) -> bool {
    outcome.is_about_the_case()
        && !matches!(
            outcome,
            Outcome::TookWorker
                | Outcome::Failed {
                    cause: FailureCause::Exec(_),
                    ..
                }
        )
}

/// Writes what was noted.
pub(super) async fn update_cases(
    connection: &mut AnyConnection,
    engine: Engine,
    cases: impl Iterator<Item = &CaseRow>,
) -> Result<(), Error> {
    let changed: Vec<_> = cases
        .filter(|case| case.more.attempts > 0)
        .map(
            |CaseRow {
                 id,
                 recent,
                 runs,
                 more,
             }| {
                (
                    id,
                    recent,
                    runs,
                    more.attempts,
                    more.failures,
                    more.flaky_runs,
                    more.last_at,
                )
            },
        )
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let columns = [
        Column::Integer("id"),
        Column::Text("recent"),
        Column::Text("runs"),
        Column::Integer("attempts"),
        Column::Integer("failures"),
        Column::Integer("flaky_runs"),
        Column::Integer("last_at"),
    ];
    let rows = engine.rows("$1", &columns);
    query(format!(
        "UPDATE test_case
         SET recent = j.recent, runs = j.runs, attempts = test_case.attempts + j.attempts,
             failures = test_case.failures + j.failures, flaky_runs = test_case.flaky_runs + j.flaky_runs,
             last_at = CASE WHEN j.last_at > test_case.last_at THEN j.last_at ELSE test_case.last_at END
         FROM {rows} WHERE test_case.id = j.id"
    ))
    .bind(json(&changed)?)
    .execute(connection)
    .await?;
    Ok(())
}
