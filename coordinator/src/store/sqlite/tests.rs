use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::reuse::KeyParts;
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;

use super::*;
use crate::store::{AttemptRecord, PassRecord, RunRecord};

const DAY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;
const NOW: Timestamp = Timestamp::from_micros(20_000 * DAY_MICROS);

async fn fresh() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("thresh.db")).await.unwrap();
    (folder, store)
}

fn case(name: &str) -> CaseId {
    CaseId {
        binary_id: "pkg::tests".into(),
        name: name.into(),
    }
}

fn attempt(name: &str, outcome: Outcome, took_ms: u64, started: Timestamp) -> AttemptRecord {
    AttemptRecord {
        project: "p".into(),
        case: case(name),
        run: RunId::from_u128(7),
        attempt: 1,
        worker: "here".into(),
        outcome,
        started,
        took: Duration::from_millis(took_ms),
    }
}

fn parts(files: &str) -> KeyParts {
    let digest = Digest::of(b"same");
    KeyParts {
        code: digest,
        arguments: digest,
        environment: digest,
        platform: digest,
        files: Digest::of(files.as_bytes()),
        programs: digest,
    }
}

fn pass(name: &str, files: &str, at: Timestamp) -> PassRecord {
    PassRecord {
        project: "p".into(),
        case: case(name),
        run: RunId::from_u128(9),
        at,
        parts: parts(files),
    }
}

fn attempts(attempts: Vec<AttemptRecord>) -> Batch {
    Batch {
        attempts,
        ..Batch::default()
    }
}

fn passes(passes: Vec<PassRecord>) -> Batch {
    Batch {
        passes,
        ..Batch::default()
    }
}

#[tokio::test]
async fn every_outcome_comes_back_as_it_was() {
    let (_folder, store) = fresh().await;
    let outcomes = [
        Outcome::Passed,
        Outcome::Leaked { passes: false },
        Outcome::Failed {
            cause: FailureCause::ExitCode(101),
            leaked: true,
        },
        Outcome::Failed {
            cause: FailureCause::Exec("no 'such' \"file\" \u{fffd}".into()),
            leaked: false,
        },
        Outcome::Crashed {
            signal: 6,
            leaked: false,
        },
        Outcome::TimedOut { passes: true },
        Outcome::Lost,
        Outcome::Cancelled,
    ];
    let batch = outcomes
        .iter()
        .map(|outcome| attempt("a name, with ☃", outcome.clone(), 5, NOW))
        .collect();
    store.record(attempts(batch)).await.unwrap();

    let past = store.history("p", &["with ☃".into()], 50).await.unwrap();
    let newest_first: Vec<_> = past[0]
        .newest
        .iter()
        .map(|attempt| attempt.outcome.clone())
        .collect();
    assert_eq!(newest_first, outcomes.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(past[0].newest[0].worker, "here");
    assert_eq!(
        (past[0].attempts, past[0].failures),
        (5, 3),
        "lost, cancelled and unstarted do not count"
    );
    assert_eq!(
        store.history("p", &["tests a name".into()], 2).await.unwrap()[0]
            .newest
            .len(),
        2
    );
    assert!(
        store
            .history("p", &["other".into()], 50)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(store.history("q", &[], 50).await.unwrap().is_empty());
}

#[tokio::test]
async fn samples_are_the_latest_sixteen_latest_first() {
    let (_folder, store) = fresh().await;
    for took in 0..20 {
        store
            .record(attempts(vec![attempt("a", Outcome::Passed, took, NOW)]))
            .await
            .unwrap();
    }
    store
        .record(attempts(vec![attempt("a", Outcome::Lost, 999, NOW)]))
        .await
        .unwrap();
    let samples = store.samples("p").await.unwrap();
    let took: Vec<_> = samples[0]
        .samples
        .iter()
        .map(|sample| sample.took.as_millis())
        .collect();
    assert_eq!(took, (4..20).rev().collect::<Vec<_>>());
    assert_eq!(
        (&*samples[0].binary, &*samples[0].package, &*samples[0].name),
        ("pkg::tests", "pkg", "a")
    );
}

#[tokio::test]
async fn passes_are_found_by_key_and_by_case() {
    let (_folder, store) = fresh().await;
    let later = NOW.after(Duration::from_secs(1));
    let batch = vec![
        pass("a", "old", NOW),
        pass("a", "new", later),
        pass("b", "old", NOW),
    ];
    store.record(passes(batch.clone())).await.unwrap();
    store.record(passes(batch)).await.unwrap();

    let keys = [
        parts("new").case_key("b"),
        parts("old").case_key("a"),
        parts("new").case_key("a"),
    ];
    let found = store.find_passes(&keys).await.unwrap();
    assert_eq!(found.iter().map(|pass| pass.position).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(found[0].used, NOW);

    store.touch_passes(&keys, later).await.unwrap();
    assert_eq!(store.find_passes(&keys).await.unwrap()[0].used, later);

    let last = store
        .last_passes("p", &[case("missing"), case("a")])
        .await
        .unwrap();
    assert_eq!(last[0], None);
    assert_eq!(
        last[1],
        Some(LastPass {
            run: RunId::from_u128(9),
            at: later,
            parts: parts("new")
        })
    );
}

#[tokio::test]
async fn lists_come_back_in_the_order_asked() {
    let (_folder, store) = fresh().await;
    let (a, b, none) = (Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"none"));
    store
        .put_lists(&[(a, b"old".to_vec()), (b, vec![0, 255])], NOW)
        .await
        .unwrap();
    store.put_lists(&[(a, b"new".to_vec())], NOW).await.unwrap();
    let lists = store.lists(&[b, none, a], NOW).await.unwrap();
    assert_eq!(lists, [Some(vec![0, 255]), None, Some(b"new".to_vec())]);
}

#[tokio::test]
async fn old_rows_are_swept_once_a_day_and_used_ones_stay() {
    let (_folder, store) = fresh().await;
    let long_ago = Timestamp::from_micros(NOW.as_micros() - 100 * DAY_MICROS);
    let run = RunRecord {
        run: RunId::from_u128(7),
        project: "p".into(),
        title: String::new(),
        started: long_ago,
        took: Duration::ZERO,
        reason: StopReason::Complete,
        tally: Tally::new(1),
    };
    let mut old = vec![attempt("gone", Outcome::Passed, 1, long_ago)];
    old.extend((0..60).map(|_| attempt("kept", Outcome::Passed, 1, NOW)));
    let batch = Batch {
        attempts: old,
        passes: vec![pass("used", "f", long_ago), pass("unused", "g", long_ago)],
        runs: vec![run],
    };
    store.record(batch).await.unwrap();
    store
        .put_lists(&[(Digest::of(b"a"), vec![1])], long_ago)
        .await
        .unwrap();
    store
        .touch_passes(&[parts("f").case_key("used")], NOW)
        .await
        .unwrap();

    assert!(store.sweep(NOW).await.unwrap());
    assert!(!store.sweep(NOW).await.unwrap(), "once a day");

    let past = store.history("p", &[], 100).await.unwrap();
    let left: Vec<_> = past
        .iter()
        .map(|past| (&*past.case.name, past.newest.len()))
        .collect();
    assert_eq!(left, [("kept", 50), ("used", 0)]);
    let keys = [parts("f").case_key("used"), parts("g").case_key("unused")];
    assert_eq!(store.find_passes(&keys).await.unwrap().len(), 1);
    assert_eq!(store.lists(&[Digest::of(b"a")], NOW).await.unwrap(), [None]);
}

#[tokio::test]
async fn several_processes_open_and_write_one_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thresh.db");
    let mut openings = tokio::task::JoinSet::new();
    for number in 0..8 {
        let path = path.clone();
        openings.spawn(async move {
            let store = SqliteStore::open(path).await.unwrap();
            for _ in 0..10 {
                let name: Arc<str> = format!("case {number}").into();
                store
                    .record(attempts(vec![attempt(&name, Outcome::Passed, 1, NOW)]))
                    .await
                    .unwrap();
            }
            store.close().await;
        });
    }
    while let Some(done) = openings.join_next().await {
        done.unwrap();
    }
    let store = SqliteStore::open(path).await.unwrap();
    let past = store.history("p", &[], 50).await.unwrap();
    assert_eq!(
        past.iter().map(|past| past.newest.len()).collect::<Vec<_>>(),
        [10; 8]
    );
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let (folder, store) = fresh().await;
    sqlx::raw_sql("PRAGMA user_version = 99")
        .execute(&store.pool)
        .await
        .unwrap();
    store.close().await;
    let error = SqliteStore::open(folder.path().join("thresh.db"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert!(
        error.to_string().contains("thresh.db") && error.to_string().contains("upgrade"),
        "{error}"
    );
}

#[tokio::test]
async fn damaged_and_foreign_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thresh.db");
    std::fs::write(&path, vec![b'x'; 8_192]).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(
        error.to_string().contains("thresh.db") && error.to_string().contains("move it away"),
        "{error}"
    );

    let path = folder.path().join("other.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let other = SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (a)").execute(&other).await.unwrap();
    other.close().await;
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = SqliteStore::open(folder.path().join("none/thresh.db"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_an_error() {
    let (_folder, store) = fresh().await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut connection = store.pool.acquire().await.unwrap();
        sqlx::raw_sql("PRAGMA max_page_count = 64")
            .execute(&mut *connection)
            .await
            .unwrap();
        connections.push(connection);
    }
    drop(connections);
    let batch = (0..5_000)
        .map(|n| attempt(&format!("case {n}"), Outcome::Passed, 1, NOW))
        .collect();
    let error = store.record(attempts(batch)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
}
