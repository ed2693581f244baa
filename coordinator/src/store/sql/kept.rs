//! What is kept by a key for as long as it is used.

use std::time::Duration;

use sqlx::{Error, Row};
use thresh_core::digest::Digest;
use thresh_core::time::Timestamp;

use super::database::Database;
use super::engine::{Column, query};
use super::rows::{get_position, get_time, hex, json, time};
use crate::store::Kept;

/// How exactly the last use is remembered: rarely enough that reading seldom writes.
const USED_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Where something is kept.
fn table(kept: Kept) -> &'static str {
    match kept {
        Kept::TestLists => "test_list",
        Kept::ActionResults => "action_result",
        Kept::Seen => "seen",
    }
}

/// Reads what there is, in the order of the keys, and notes that it was used.
pub(super) async fn get(
    database: &Database,
    kept: Kept,
    keys: &[Digest],
    now: Timestamp,
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let table = table(kept);
    let argument = json(&keys.iter().map(|key| [hex(key.as_bytes())]).collect::<Vec<_>>())?;
    let engine = database.engine;
    let (from, join) = (engine.rows("$1", &[Column::Bytes("key")]), engine.join());
    let rows = query(format!(
        "SELECT j.position, k.content, k.used_at FROM {from} {join} {table} AS k ON k.key = j.key"
    ))
    .bind(argument.clone())
    .fetch_all(&database.history)
    .await?;
    let mut found = vec![None; keys.len()];
    let mut is_use_old = false;
    for row in &rows {
        is_use_old |= now.since(get_time(row, "used_at")?) > USED_STEP;
        if let Some(place) = found.get_mut(get_position(row)?) {
            *place = Some(row.try_get("content")?);
        }
    }
    if is_use_old {
        let mut write = database.write().await?;
        query(format!(
            "UPDATE {table} SET used_at = $2 WHERE key IN (SELECT j.key FROM {from})"
        ))
        .bind(argument)
        .bind(time(now))
        .execute(write.connection())
        .await?;
        write.commit().await?;
    }
    Ok(found)
}

/// Writes entries in the place of those that there may be.
pub(super) async fn put(
    database: &Database,
    kept: Kept,
    entries: &[(Digest, Vec<u8>)],
    now: Timestamp,
) -> Result<(), Error> {
    let mut write = database.write().await?;
    for (key, content) in entries {
        query(format!(
            "INSERT INTO {} (key, content, used_at) VALUES ($1, $2, $3)
             ON CONFLICT (key) DO UPDATE SET content = excluded.content, used_at = excluded.used_at",
            table(kept)
        ))
        .bind(key.as_bytes().to_vec())
        .bind(content.clone())
        .bind(time(now))
        .execute(write.connection())
        .await?;
    }
    write.commit().await
}
