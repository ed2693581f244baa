//! Cached test lists.

use std::time::Duration;

use sqlx::{Error, Row};
use thresh_core::digest::Digest;
use thresh_core::time::Timestamp;

use super::database::Database;
use super::engine::{Column, query};
use super::rows::{get_position, get_time, hex, json, time};

/// How exactly the last use is remembered: rarely enough that reading seldom writes.
const USED_STEP: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) async fn get(
    database: &Database,
    keys: &[Digest],
    now: Timestamp,
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let argument = json(&keys.iter().map(|key| [hex(key.as_bytes())]).collect::<Vec<_>>())?;
    let engine = database.engine;
    let (from, join) = (engine.rows("$1", &[Column::Bytes("key")]), engine.join());
    let rows = query(format!(
        "SELECT j.position, l.list, l.used_at FROM {from} {join} test_list AS l ON l.key = j.key"
    ))
    .bind(argument.clone())
    .fetch_all(&database.history)
    .await?;
    let mut lists = vec![None; keys.len()];
    let mut is_use_old = false;
    for row in &rows {
        is_use_old |= now.since(get_time(row, "used_at")?) > USED_STEP;
        if let Some(place) = lists.get_mut(get_position(row)?) {
            *place = Some(row.try_get("list")?);
        }
    }
    if is_use_old {
        let mut write = database.write().await?;
        query(format!(
            "UPDATE test_list SET used_at = $2 WHERE key IN (SELECT j.key FROM {from})"
        ))
        .bind(argument)
        .bind(time(now))
        .execute(write.connection())
        .await?;
        write.commit().await?;
    }
    Ok(lists)
}

pub(super) async fn put(
    database: &Database,
    lists: &[(Digest, Vec<u8>)],
    now: Timestamp,
) -> Result<(), Error> {
    let mut write = database.write().await?;
    for (key, list) in lists {
        query(
            "INSERT INTO test_list (key, list, used_at) VALUES ($1, $2, $3)
             ON CONFLICT (key) DO UPDATE SET list = excluded.list, used_at = excluded.used_at",
        )
        .bind(key.as_bytes().to_vec())
        .bind(list.clone())
        .bind(time(now))
        .execute(write.connection())
        .await?;
    }
    write.commit().await
}
