//! Reusable passes.

use sqlx::{Error, Row};
use thresh_core::reuse::CaseKey;
use thresh_core::time::Timestamp;

use super::database::Database;
use super::engine::{Column, query};
use super::rows::{get_key_parts, get_position, get_run, get_time, hex, json, text, time};
use crate::store::{CaseId, KnownPass, LastPass};

pub(super) async fn find(database: &Database, keys: &[CaseKey]) -> Result<Vec<KnownPass>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let engine = database.engine;
    let (from, join) = (engine.rows("$1", &[Column::Bytes("key")]), engine.join());
    let rows = query(format!(
        "SELECT j.position, p.used_at, p.run FROM {from} {join} pass AS p ON p.key = j.key"
    ))
    .bind(keys_json(keys)?)
    .fetch_all(&database.history)
    .await?;
    let mut found = (rows.iter())
        .map(|row| {
            Ok(KnownPass {
                position: get_position(row)?,
                used: get_time(row, "used_at")?,
                run: get_run(row, "run")?,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    found.sort_unstable_by_key(|pass| pass.position);
    Ok(found)
}

pub(super) async fn touch(database: &Database, keys: &[CaseKey], now: Timestamp) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let from = database.engine.rows("$1", &[Column::Bytes("key")]);
    let mut write = database.write().await?;
    query(format!(
        "UPDATE pass SET used_at = $2 WHERE used_at < $2 AND key IN (SELECT j.key FROM {from})"
    ))
    .bind(keys_json(keys)?)
    .bind(time(now))
    .execute(write.connection())
    .await?;
    write.commit().await
}

pub(super) async fn last(
    database: &Database,
    project: &str,
    cases: &[CaseId],
) -> Result<Vec<Option<LastPass>>, Error> {
    let names: Vec<(&str, &str)> = cases.iter().map(|case| (&*case.binary_id, &*case.name)).collect();
    let (engine, columns) = (database.engine, [Column::Text("binary_id"), Column::Text("name")]);
    let (from, join) = (engine.rows("$1", &columns), engine.join());
    let newest =
        engine.hex("(SELECT q.key FROM pass AS q WHERE q.test_case = t.id ORDER BY q.at DESC LIMIT 1)");
    let rows = query(format!(
        "SELECT j.position, {newest} AS key
         FROM {from} {join} project AS o ON o.name = $2
         {join} test_case AS t ON t.project = o.id AND t.binary_id = j.binary_id AND t.name = j.name"
    ))
    .bind(json(&names)?)
    .bind(text(project).into_owned())
    .fetch_all(&database.history)
    .await?;
    let mut keys = Vec::new();
    for row in &rows {
        if let Some(key) = row
            .try_get::<Option<String>, _>("key")?
            .filter(|key| !key.is_empty())
        {
            keys.push((key, get_position(row)?));
        }
    }
    let mut passes = vec![None; cases.len()];
    for (position, pass) in by_key(database, &keys).await? {
        if let Some(place) = passes.get_mut(position) {
            *place = Some(pass);
        }
    }
    Ok(passes)
}

/// The passes of keys, which come with the positions that are returned.
async fn by_key(database: &Database, keys: &[(String, usize)]) -> Result<Vec<(usize, LastPass)>, Error> {
    let (engine, columns) = (database.engine, [Column::Bytes("key")]);
    let (from, join) = (engine.rows("$1", &columns), engine.join());
    let rows = query(format!(
        "SELECT j.position, p.run, p.at, k.code, k.arguments, k.environment, k.platform, k.files, k.programs
         FROM {from} {join} pass AS p ON p.key = j.key {join} key_parts AS k ON k.id = p.parts"
    ))
    .bind(json(&keys.iter().map(|(key, _)| [key]).collect::<Vec<_>>())?)
    .fetch_all(&database.history)
    .await?;
    let pass = |row| {
        let pass = LastPass {
            run: get_run(row, "run")?,
            at: get_time(row, "at")?,
            parts: get_key_parts(row)?,
        };
        let position = keys
            .get(get_position(row)?)
            .map_or(usize::MAX, |(_, position)| *position);
        Ok((position, pass))
    };
    rows.iter().map(pass).collect()
}

fn keys_json(keys: &[CaseKey]) -> Result<String, Error> {
    json(&keys.iter().map(|key| [hex(key.0.as_bytes())]).collect::<Vec<_>>())
}
