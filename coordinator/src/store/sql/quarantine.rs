//! Cases that may fail without failing their run.

use std::collections::BTreeMap;

use sqlx::{Error, Row};
use thresh_core::time::Timestamp;

use super::cases::{add_names, find_project};
use super::database::Database;
use super::engine::{Column, query};
use super::history::get_case;
use super::rows::{get_time, json, text, time};
use crate::store::{CaseId, Quarantine};

pub(super) async fn add(database: &Database, project: &str, cases: &[Quarantine]) -> Result<(), Error> {
    // A statement may not write the same case twice; the last word counts.
    let cases: BTreeMap<&CaseId, &Quarantine> = cases.iter().map(|entry| (&entry.case, entry)).collect();
    let argument: Vec<_> = (cases.values())
        .map(|entry| {
            let CaseId { binary_id, name } = &entry.case;
            let (owner, reason) = (&entry.owner, &entry.reason);
            (
                &**binary_id,
                &**name,
                owner,
                reason,
                time(entry.since),
                time(entry.until),
            )
        })
        .collect();
    let columns = [
        Column::Text("binary_id"),
        Column::Text("name"),
        Column::Text("owner"),
        Column::Text("reason"),
        Column::Integer("since_at"),
        Column::Integer("until_at"),
    ];
    let from = database.engine.rows("$1", &columns);
    let mut write = database.write().await?;
    let names = std::iter::once(project);
    let projects = add_names(write.connection(), database.engine, "project", names).await?;
    query(format!(
        "INSERT INTO quarantine (project, binary_id, name, owner, reason, since_at, until_at)
         SELECT $2, j.binary_id, j.name, j.owner, j.reason, j.since_at, j.until_at FROM {from} WHERE true
         ON CONFLICT (project, binary_id, name) DO UPDATE SET owner = excluded.owner,
             reason = excluded.reason, since_at = excluded.since_at, until_at = excluded.until_at"
    ))
    .bind(json(&argument)?)
    .bind(projects.get(project).copied().unwrap_or_default())
    .execute(write.connection())
    .await?;
    write.commit().await
}

pub(super) async fn list(database: &Database, project: &str) -> Result<Vec<Quarantine>, Error> {
    let rows =
        query("SELECT q.* FROM quarantine AS q JOIN project AS p ON p.id = q.project WHERE p.name = $1")
            .bind(text(project).into_owned())
            .fetch_all(&database.history)
            .await?;
    let mut cases = (rows.iter())
        .map(|row| {
            Ok(Quarantine {
                case: get_case(row)?,
                owner: row.try_get("owner")?,
                reason: row.try_get("reason")?,
                since: get_time(row, "since_at")?,
                until: get_time(row, "until_at")?,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    // Here and not in the database, whose order of texts hangs on its locale.
    cases.sort_unstable_by(|one, other| one.case.cmp(&other.case));
    Ok(cases)
}

pub(super) async fn expire(
    database: &Database,
    project: &str,
    cases: &[CaseId],
    now: Timestamp,
) -> Result<u64, Error> {
    let names: Vec<(&str, &str)> = cases.iter().map(|case| (&*case.binary_id, &*case.name)).collect();
    let columns = [Column::Text("binary_id"), Column::Text("name")];
    let from = database.engine.rows("$1", &columns);
    let mut write = database.write().await?;
    let Some(project) = find_project(write.connection(), project).await? else {
        return Ok(0);
    };
    let ended = query(format!(
        "UPDATE quarantine SET until_at = $2 WHERE until_at > $2 AND project = $3 AND EXISTS (
             SELECT 1 FROM {from} WHERE j.binary_id = quarantine.binary_id AND j.name = quarantine.name)"
    ))
    .bind(json(&names)?)
    .bind(time(now))
    .bind(project)
    .execute(write.connection())
    .await?;
    write.commit().await?;
    Ok(ended.rows_affected())
}
