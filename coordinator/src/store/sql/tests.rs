//! What only a file can suffer; everything else is tested on both engines, in the package `thresh-tests`.

use std::time::Duration;

use sqlx::AnyPool;
use tempfile::TempDir;
use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_core::time::Timestamp;

use super::*;
use crate::store::{AttemptRecord, Batch, CaseId, JournalEntry, Store, StoreError};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

async fn fresh() -> (TempDir, SqlStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqlStore::open(folder.path().join("thresh.db")).await.unwrap();
    (folder, store)
}

fn attempts(count: usize) -> Batch {
    let attempt = |number| AttemptRecord {
        project: "p".into(),
        case: CaseId {
            binary_id: "pkg::tests".into(),
            name: format!("case {number}").into(),
        },
        run: RunId::from_u128(7),
        attempt: 1,
        worker: "here".into(),
        outcome: Outcome::Passed,
        started: NOW,
        took: Duration::from_millis(5),
        granted: None,
        why: "",
        lease: None,
    };
    Batch {
        attempts: (0..count).map(attempt).collect(),
        ..Batch::default()
    }
}

/// Does something on every connection of a pool.
async fn on_all(pool: &AnyPool, connections: u32, statement: &'static str) {
    let mut held = Vec::new();
    for _ in 0..connections {
        let mut connection = pool.acquire().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut *connection).await.unwrap();
        held.push(connection);
    }
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thresh.db");
    sqlx::any::install_default_drivers();
    let old = AnyPool::connect(&format!("sqlite://{}?mode=rwc", path.display()))
        .await
        .unwrap();
    let (_, first_version) = sqlite::MIGRATIONS[0];
    sqlx::raw_sql(first_version).execute(&old).await.unwrap();
    let rows = "INSERT INTO project VALUES (1, 'p'); INSERT INTO worker VALUES (1, 'here');
        INSERT INTO test_case VALUES (1, 1, 'pkg::tests', 'case 0', '5000:1,6000:1', 2, 1, 0);
        INSERT INTO attempt VALUES (1, 1, zeroblob(16), 1, 1, 'passed', 1, 0, 0, NULL, 9, 5000),
                                   (2, 1, zeroblob(16), 1, 1, 'passed', 1, 0, 0, NULL, 9, 6000);
        INSERT INTO run VALUES (zeroblob(16), 1, '', 9, 9, 'complete', 1, 1, 0, 0, 0, 0);";
    sqlx::raw_sql(rows).execute(&old).await.unwrap();
    old.close().await;

    let store = SqlStore::open(path).await.unwrap();
    store.record(&attempts(1)).await.unwrap();
    let past = store.history("p", &[], 9).await.unwrap();
    assert_eq!(
        (past[0].attempts, past[0].failures, past[0].newest.len()),
        (3, 1, 3)
    );
    assert_eq!(store.samples("p").await.unwrap()[0].samples.len(), 3);
    let timeline = store.timeline(RunId::from_u128(0)).await.unwrap().unwrap();
    assert_eq!(
        (timeline.attempts.len(), timeline.record.unwrap().tally.planned),
        (2, 1)
    );
    assert_eq!(store.lead().await.unwrap().epoch(), 1);
}

#[tokio::test]
async fn what_is_journalled_is_on_the_disk_and_history_need_not_be() {
    let (_folder, store) = fresh().await;
    store.open_runs(NOW).await.unwrap();
    for (pool, expected) in [(&store.database.history, 1), (&store.database.journal, 2)] {
        let row = sqlx::query("SELECT synchronous FROM pragma_synchronous")
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(sqlx::Row::get::<i64, _>(&row, 0), expected);
        let row = sqlx::query("SELECT journal_mode FROM pragma_journal_mode")
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(sqlx::Row::get::<String, _>(&row, 0), "wal");
    }
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thresh.db");
    std::fs::write(&path, vec![b'x'; 8_192]).unwrap();
    let error = SqlStore::open(path).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("thresh.db") && text.contains("move it away"),
        "{text}"
    );
}

#[tokio::test]
async fn a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = SqlStore::open(folder.path().join("none/thresh.db"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}

#[tokio::test]
async fn a_path_may_have_any_characters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("100% of #1?x=1 ☃.db");
    let store = SqlStore::open(path.clone()).await.unwrap();
    store.record(&attempts(1)).await.unwrap();
    assert!(path.is_file());
}

#[tokio::test]
async fn a_full_disk_is_an_error() {
    let (_folder, store) = fresh().await;
    on_all(&store.database.history, 4, "PRAGMA max_page_count = 64").await;
    let error = store.record(&attempts(5_000)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(!error.is_transient());

    store.open_runs(NOW).await.unwrap();
    on_all(&store.database.journal, 1, "PRAGMA max_page_count = 64").await;
    let entry = JournalEntry::Submitted {
        run: RunId::from_u128(1),
        project: "p".into(),
        at: NOW,
        request: vec![7; 1 << 20].into(),
    };
    let entries = [entry];
    let error = store.journal(1, &entries).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(store.open_runs(NOW).await.unwrap().is_empty(), "all or nothing");

    // There is room again.
    on_all(&store.database.history, 4, "PRAGMA max_page_count = 1000000").await;
    on_all(&store.database.journal, 1, "PRAGMA max_page_count = 1000000").await;
    store.record(&attempts(5_000)).await.unwrap();
    store.journal(1, &entries).await.unwrap();
    assert!(store.knows_run(RunId::from_u128(1)).await.unwrap());
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let (_folder, store) = fresh().await;
    on_all(&store.database.history, 4, "PRAGMA query_only = ON").await;
    let error = store.record(&attempts(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_another_process_keeps_locked_may_be_tried_again() {
    let (folder, store) = fresh().await;
    on_all(&store.database.history, 4, "PRAGMA busy_timeout = 1").await;
    let other = SqlStore::open(folder.path().join("thresh.db")).await.unwrap();
    let held = other.database.write().await.unwrap();
    let error = store.record(&attempts(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    assert!(error.is_transient());
    held.commit().await.unwrap();
    store.record(&attempts(1)).await.unwrap();
}
