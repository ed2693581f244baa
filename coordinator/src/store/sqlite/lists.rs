//! Cached test lists.

use std::time::Duration;

use sqlx::{Error, Row};
use thresh_core::digest::Digest;
use thresh_core::time::Timestamp;

use super::SqliteStore;
use super::rows::{hex, json, unsigned};

/// How exactly the last use is remembered: rarely enough that reading seldom writes.
const USED_STEP: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) async fn get(
    store: &SqliteStore,
    keys: &[Digest],
    now: Timestamp,
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let keys_json = json(&keys.iter().map(|key| hex(key.as_bytes())).collect::<Vec<_>>())?;
    let rows = sqlx::query(
        "SELECT j.key AS position, l.list, l.used_at
         FROM json_each(?1) AS j CROSS JOIN test_list AS l ON l.key = unhex(j.value)",
    )
    .bind(&keys_json)
    .fetch_all(&store.pool)
    .await?;
    let mut lists = vec![None; keys.len()];
    let mut is_use_old = false;
    for row in &rows {
        let used = Timestamp::from_micros(unsigned(row.try_get("used_at")?));
        is_use_old |= now.since(used) > USED_STEP;
        if let Some(place) = lists.get_mut(row.try_get::<u32, _>("position")? as usize) {
            *place = Some(row.try_get("list")?);
        }
    }
    if is_use_old {
        let mut transaction = store.begin_write().await?;
        sqlx::query(
            "UPDATE test_list SET used_at = ?2 WHERE key IN (SELECT unhex(value) FROM json_each(?1))",
        )
        .bind(&keys_json)
        .bind(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
    }
    Ok(lists)
}

pub(super) async fn put(
    store: &SqliteStore,
    lists: &[(Digest, Vec<u8>)],
    now: Timestamp,
) -> Result<(), Error> {
    let mut transaction = store.begin_write().await?;
    for (key, list) in lists {
        sqlx::query(
            "INSERT INTO test_list (key, list, used_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (key) DO UPDATE SET list = excluded.list, used_at = excluded.used_at",
        )
        .bind(&key.as_bytes()[..])
        .bind(&list[..])
        .bind(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}
