//! Reusable passes.

use sqlx::{Error, Row};
use thresh_core::reuse::CaseKey;
use thresh_core::time::Timestamp;

use super::SqliteStore;
use super::rows::{hex, json, key_parts, run_id, unsigned};
use crate::store::{CaseId, KnownPass, LastPass};

pub(super) async fn find(store: &SqliteStore, keys: &[CaseKey]) -> Result<Vec<KnownPass>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT j.key AS position, p.used_at
         FROM json_each(?1) AS j CROSS JOIN pass AS p ON p.key = unhex(j.value)",
    )
    .bind(keys_json(keys)?)
    .fetch_all(&store.pool)
    .await?;
    let mut found = (rows.iter())
        .map(|row| {
            let used = Timestamp::from_micros(unsigned(row.try_get("used_at")?));
            Ok(KnownPass {
                position: row.try_get::<u32, _>("position")? as usize,
                used,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    found.sort_unstable_by_key(|pass| pass.position);
    Ok(found)
}

pub(super) async fn touch(store: &SqliteStore, keys: &[CaseKey], now: Timestamp) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut transaction = store.begin_write().await?;
    sqlx::query(
        "UPDATE pass SET used_at = max(used_at, ?2) WHERE key IN (SELECT unhex(value) FROM json_each(?1))",
    )
    .bind(keys_json(keys)?)
    .bind(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

pub(super) async fn last(
    store: &SqliteStore,
    project: &str,
    cases: &[CaseId],
) -> Result<Vec<Option<LastPass>>, Error> {
    let names: Vec<(&str, &str)> = cases.iter().map(|case| (&*case.binary_id, &*case.name)).collect();
    let rows = sqlx::query(
        "SELECT j.key AS position, p.run, p.at, k.*
         FROM json_each(?1) AS j
         CROSS JOIN project AS o ON o.name = ?2
         CROSS JOIN test_case AS t
           ON t.project = o.id AND t.binary_id = j.value ->> 0 AND t.name = j.value ->> 1
         CROSS JOIN pass AS p ON p.key = (
             SELECT key FROM pass WHERE test_case = t.id ORDER BY at DESC LIMIT 1)
         CROSS JOIN key_parts AS k ON k.id = p.parts",
    )
    .bind(json(&names)?)
    .bind(project)
    .fetch_all(&store.pool)
    .await?;
    let mut passes = vec![None; cases.len()];
    for row in &rows {
        let pass = LastPass {
            run: run_id(row, "run")?,
            at: Timestamp::from_micros(unsigned(row.try_get("at")?)),
            parts: key_parts(row)?,
        };
        if let Some(place) = passes.get_mut(row.try_get::<u32, _>("position")? as usize) {
            *place = Some(pass);
        }
    }
    Ok(passes)
}

fn keys_json(keys: &[CaseKey]) -> Result<String, Error> {
    json(&keys.iter().map(|key| hex(key.0.as_bytes())).collect::<Vec<_>>())
}
