//! What must not be forgotten, and who may write it.

use crate::place::Place;
use crate::records::{NOW, attempt, attempts, case, days_ago};
use prost::bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;
use thresh_coordinator::store::{JournalEntry, OpenRun, Quarantine, Store, StoreError};
use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_core::time::Timestamp;
use tokio::time::timeout;

fn submitted(run: u128) -> JournalEntry {
    JournalEntry::Submitted {
        run: RunId::from_u128(run),
        project: "p".into(),
        at: NOW,
        request: vec![0, 255, run as u8].into(),
    }
}

fn events(run: u128, first_number: u64, count: u32, payload: &'static [u8]) -> JournalEntry {
    JournalEntry::Events {
        run: RunId::from_u128(run),
        first_number,
        count,
        payload: Bytes::from_static(payload),
    }
}

fn closed(run: u128, at: Timestamp) -> JournalEntry {
    JournalEntry::Closed {
        run: RunId::from_u128(run),
        at,
    }
}

/// Runs with the first numbers, counts and payloads of their events.
type Told<'a> = Vec<(u128, Vec<(u64, u32, &'a [u8])>)>;

fn told(runs: &[OpenRun]) -> Told<'_> {
    runs.iter()
        .map(|run| {
            let batches = run.events.iter();
            let batches = batches.map(|batch| (batch.first_number, batch.count, &*batch.payload));
            (run.run.as_u128(), batches.collect())
        })
        .collect()
}

pub(crate) async fn several_processes_open_and_write_one_new_database_at_once(place: Place) {
    let mut openings = tokio::task::JoinSet::new();
    for number in 0..6 {
        let location = place.location();
        openings.spawn(async move {
            let store = thresh_coordinator::store::SqlStore::open(location).await.unwrap();
            for _ in 0..10 {
                let name = format!("case {number}");
                let batch = attempts(vec![
                    attempt(&name, Outcome::Passed, 1, NOW),
                    attempt("shared", Outcome::Passed, 1, NOW),
                ]);
                store.record(&batch).await.unwrap();
            }
            store.close().await;
        });
    }
    while let Some(done) = openings.join_next().await {
        done.unwrap();
    }
    let store = place.open().await;
    let past = store.history("p", &[], 50).await.unwrap();
    let counts: Vec<_> = past.iter().map(|past| past.attempts).collect();
    assert_eq!(counts, [10, 10, 10, 10, 10, 10, 60]);
}

pub(crate) async fn quarantine_ends_by_itself_and_by_hand(place: Place) {
    let store = place.open().await;
    let entry = |name: &str, owner: &str, until: Timestamp| Quarantine {
        case: case(name),
        owner: owner.into(),
        reason: "it's \"slow\"".into(),
        since: days_ago(3),
        until,
    };
    let tomorrow = NOW.after(Duration::from_secs(86_400));
    let all = [
        entry("c", "ann", tomorrow),
        entry("a", "ann", NOW),
        entry("b", "bob", tomorrow),
    ];
    store.add_quarantine("p", &all).await.unwrap();
    store
        .add_quarantine("p", &[entry("c", "cay", tomorrow)])
        .await
        .unwrap();
    store
        .add_quarantine("q", &[entry("z", "zoe", tomorrow)])
        .await
        .unwrap();

    let listed = store.quarantine("p").await.unwrap();
    let shown: Vec<_> = (listed.iter())
        .map(|entry| (&*entry.case.name, &*entry.owner, entry.is_expired(NOW)))
        .collect();
    assert_eq!(
        shown,
        [("a", "ann", true), ("b", "bob", false), ("c", "cay", false)]
    );
    assert_eq!(listed[2], entry("c", "cay", tomorrow));
    let now = store.quarantined("p", NOW).await.unwrap();
    assert_eq!(now, BTreeSet::from([case("b"), case("c")]));
    assert!(store.quarantined("p", tomorrow).await.unwrap().is_empty());

    let ended = [case("a"), case("b"), case("unknown")];
    assert_eq!(store.expire_quarantine("p", &ended, NOW).await.unwrap(), 1);
    assert_eq!(store.expire_quarantine("nobody's", &ended, NOW).await.unwrap(), 0);
    let now = store.quarantined("p", NOW).await.unwrap();
    assert_eq!(now, BTreeSet::from([case("c")]));
}

pub(crate) async fn what_is_in_the_journal_comes_back(place: Place) {
    let store = place.open().await;
    let leadership = store.lead().await.unwrap();
    let epoch = leadership.epoch();
    let first = [
        submitted(1),
        events(1, 0, 2, b"ab"),
        submitted(2),
        events(2, 0, 1, b"x"),
        events(1, 2, 1, b"c"),
        events(3, 0, 1, b"of a run that was never submitted"),
    ];
    store.journal(epoch, &first).await.unwrap();
    let many: Vec<_> = (0..40).map(|number| events(1, 3 + number, 1, b"d")).collect();
    store.journal(epoch, &many).await.unwrap();
    store.journal(epoch, &[closed(2, NOW)]).await.unwrap();
    store.journal(epoch, &[]).await.unwrap();
    store.close().await;

    let store = place.open().await;
    let later = NOW.after(Duration::from_secs(1));
    let open = store.open_runs(later).await.unwrap();
    let told_open = told(&open);
    assert_eq!(told_open.len(), 1);
    let (run, batches) = &told_open[0];
    assert_eq!(
        (*run, &batches[..2]),
        (1, &[(0, 2, &b"ab"[..]), (2, 1, &b"c"[..])][..])
    );
    assert_eq!(batches.len(), 42);
    assert!(batches.is_sorted());
    assert_eq!((&*open[0].project, open[0].at), ("p", NOW));
    assert_eq!((&*open[0].request, open[0].closed), (&[0, 255, 1][..], None));

    let with_closed = store.open_runs(NOW).await.unwrap();
    assert_eq!(
        (with_closed.len(), with_closed[1].closed),
        (2, Some(NOW)),
        "those who follow a run that has just ended can be told"
    );
}

pub(crate) async fn writing_the_journal_again_changes_nothing(place: Place) {
    let store = place.open().await;
    let entries = [
        submitted(1),
        events(1, 0, 2, b"ab"),
        events(1, 2, 1, b"c"),
        submitted(2),
        closed(2, NOW),
    ];
    for _ in 0..3 {
        store.journal(1, &entries).await.unwrap();
    }
    let again = [closed(2, NOW.after(Duration::from_secs(9)))];
    store.journal(1, &again).await.unwrap();
    let open = store.open_runs(NOW).await.unwrap();
    assert_eq!(
        told(&open),
        [(1, vec![(0, 2, &b"ab"[..]), (2, 1, &b"c"[..])]), (2, vec![])]
    );
    assert_eq!(open[1].closed, Some(NOW));
}

pub(crate) async fn closed_runs_leave_the_journal_after_a_day(place: Place) {
    let store = place.open().await;
    let entries = [
        submitted(1),
        events(1, 0, 1, b"a"),
        submitted(2),
        events(2, 0, 1, b"b"),
        closed(2, days_ago(2)),
        submitted(3),
        closed(3, NOW),
    ];
    store.journal(1, &entries).await.unwrap();
    store.sweep(NOW).await.unwrap();
    let left = store.open_runs(Timestamp::default()).await.unwrap();
    assert_eq!(told(&left), [(1, vec![(0, 1, &b"a"[..])]), (3, vec![])]);
    let much_later = NOW.after(Duration::from_secs(100 * 86_400));
    store.sweep(much_later).await.unwrap();
    let left = store.open_runs(Timestamp::default()).await.unwrap();
    assert_eq!(told(&left), [(1, vec![(0, 1, &b"a"[..])])], "an open run stays");
}

pub(crate) async fn epochs_are_never_used_twice(place: Place) {
    let store = place.open().await;
    let mut epochs = vec![store.lead().await.unwrap().epoch()];
    store.close().await;
    let other = place.open().await;
    for _ in 0..2 {
        epochs.push(other.lead().await.unwrap().epoch());
    }
    assert_eq!(epochs, [1, 2, 3]);
}

pub(crate) async fn one_leads_and_the_next_one_supersedes_it(place: Place) {
    let (one, other) = (place.open().await, place.open().await);
    let first = one.lead().await.unwrap();
    one.journal(first.epoch(), &[submitted(1)]).await.unwrap();
    let standby = tokio::spawn(async move { (other.lead().await.unwrap(), other) });
    // Those who only use the store are not concerned.
    let user = place.open().await;
    let batch = attempts(vec![attempt("a", Outcome::Passed, 1, NOW)]);
    user.record(&batch).await.unwrap();
    one.journal(first.epoch(), &[events(1, 0, 1, b"a")])
        .await
        .unwrap();
    assert!(!standby.is_finished());

    let first_epoch = first.epoch();
    drop(first);
    let (second, other) = timeout(Duration::from_secs(30), standby).await.unwrap().unwrap();
    assert!(second.epoch() > first_epoch);
    let late = one.journal(first_epoch, &[submitted(2)]).await.unwrap_err();
    assert!(matches!(late, StoreError::Superseded { .. }), "{late}");
    assert!(!late.is_transient());
    let known = other.open_runs(NOW).await.unwrap();
    assert_eq!(told(&known), [(1, vec![(0, 1, &b"a"[..])])]);
    other.journal(second.epoch(), &[closed(1, NOW)]).await.unwrap();
    let lost = timeout(Duration::from_millis(1), second.lost()).await;
    assert!(lost.is_err(), "nobody took it");
}

pub(crate) async fn a_newer_database_is_refused(place: Place) {
    place.open().await.close().await;
    place
        .execute(
            "PRAGMA user_version = 99",
            "UPDATE thresh_schema SET version = 99",
        )
        .await;
    let error = place.try_open().await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&place.location().to_string()) && text.contains("upgrade"),
        "{text}"
    );
}

pub(crate) async fn another_programs_database_is_refused(place: Place) {
    place
        .execute("CREATE TABLE t (a)", "CREATE TABLE t (a int)")
        .await;
    let error = place.try_open().await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
}
