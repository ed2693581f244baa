//! Removing what is old.

use std::time::Duration;

use sqlx::Error;
use thresh_core::time::Timestamp;

use super::SqliteStore;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Attempts, runs, and cases of which nothing else is left.
const HISTORY_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Passes and test lists, since their last use.
const UNUSED_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// `?1`: what is older than history is kept; `?2`: what was last used before this.
const STEPS: [&str; 7] = [
    "DELETE FROM attempt WHERE started_at < ?1 OR id IN (
         SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY test_case ORDER BY id DESC) AS nth
                         FROM attempt)
         WHERE nth > 50)",
    "DELETE FROM pass WHERE used_at < ?2",
    // Every edit of a workspace stores a pass a case: without this limit a busy one would keep thousands.
    "DELETE FROM pass WHERE key IN (
         SELECT key FROM (SELECT key, row_number() OVER (PARTITION BY test_case ORDER BY used_at DESC) AS nth
                          FROM pass)
         WHERE nth > 256)",
    "DELETE FROM key_parts WHERE NOT EXISTS (SELECT 1 FROM pass WHERE pass.parts = key_parts.id)",
    "DELETE FROM test_list WHERE used_at < ?2",
    "DELETE FROM run WHERE started_at < ?1",
    "DELETE FROM test_case WHERE last_at < ?1
         AND NOT EXISTS (SELECT 1 FROM pass WHERE pass.test_case = test_case.id)
         AND NOT EXISTS (SELECT 1 FROM attempt WHERE attempt.test_case = test_case.id)",
];

pub(super) async fn sweep(store: &SqliteStore, now: Timestamp) -> Result<bool, Error> {
    let before = |kept: Duration| {
        let micros = now
            .as_micros()
            .saturating_sub(u64::try_from(kept.as_micros()).unwrap_or(u64::MAX));
        i64::try_from(micros).unwrap_or(i64::MAX)
    };
    let is_recent: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM upkeep WHERE swept_at >= ?1)")
        .bind(before(DAY))
        .fetch_one(&store.pool)
        .await?;
    if is_recent {
        return Ok(false);
    }
    let mut claim = store.begin_write().await?;
    let claimed = sqlx::query("UPDATE upkeep SET swept_at = ?2 WHERE swept_at < ?1")
        .bind(before(DAY))
        .bind(before(Duration::ZERO))
        .execute(&mut *claim)
        .await?;
    claim.commit().await?;
    if claimed.rows_affected() == 0 {
        return Ok(false);
    }
    // A transaction a step, so that other processes get their turn in between.
    for step in STEPS {
        let mut transaction = store.begin_write().await?;
        sqlx::query(step)
            .bind(before(HISTORY_KEPT))
            .bind(before(UNUSED_KEPT))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    Ok(true)
}
