//! What is kept of cases and runs that are over.

use crate::place::Place;
use crate::records::{
    FAILED, NOW, attempt, attempt_of, attempts, case, days_ago, ended, parts, pass, passes, runs,
};
use std::time::Duration;
use thresh_coordinator::store::{Batch, Kept, LastPass, Store};
use thresh_core::digest::Digest;
use thresh_core::id::{LeaseId, RunId};
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::schedule::StopReason;

pub(crate) async fn every_outcome_comes_back_as_it_was(place: Place) {
    let store = place.open().await;
    let exec = FailureCause::Exec("no 'such' \"file\" \u{fffd} \\u0000".into());
    let outcomes = [
        Outcome::Passed,
        Outcome::Leaked { passes: false },
        Outcome::Failed {
            cause: FailureCause::ExitCode(101),
            leaked: true,
        },
        Outcome::Failed {
            cause: exec,
            leaked: false,
        },
        Outcome::Crashed {
            signal: 6,
            leaked: false,
        },
        Outcome::TimedOut { passes: true },
        Outcome::TookWorker,
        Outcome::Lost,
        Outcome::Cancelled,
    ];
    let batch = outcomes
        .iter()
        .map(|outcome| attempt("a name, with ☃", outcome.clone(), 5, NOW))
        .collect();
    store.record(&attempts(batch)).await.unwrap();

    let past = store.history("p", &["with ☃".into()], 50).await.unwrap();
    let newest_first: Vec<_> = past[0]
        .newest
        .iter()
        .map(|attempt| attempt.outcome.clone())
        .collect();
    assert_eq!(newest_first, outcomes.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(past[0].newest[0].worker, "here");
    assert_eq!(past[0].newest[0].took, Duration::from_millis(5));
    assert_eq!(past[0].newest[0].started, NOW);
    assert_eq!(
        (past[0].attempts, past[0].failures),
        (5, 3),
        "lost, cancelled and unstarted do not count"
    );
    let two = store.history("p", &["tests a name".into()], 2).await.unwrap();
    assert_eq!(two[0].newest.len(), 2);
    let none = store.history("p", &["tests a name".into()], 0).await.unwrap();
    assert!(none[0].newest.is_empty());
    let other = store.history("p", &["other".into()], 50).await.unwrap();
    assert!(other.is_empty());
    assert!(store.history("q", &[], 50).await.unwrap().is_empty());
}

pub(crate) async fn samples_are_the_latest_sixteen_latest_first(place: Place) {
    let store = place.open().await;
    for took in 0..20 {
        let passed = attempt("a", Outcome::Passed, took, NOW);
        store.record(&attempts(vec![passed])).await.unwrap();
    }
    let lost = attempt("a", Outcome::Lost, 999, NOW);
    store.record(&attempts(vec![lost])).await.unwrap();
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

pub(crate) async fn passes_are_found_by_key_and_by_case(place: Place) {
    let store = place.open().await;
    let later = NOW.after(Duration::from_secs(1));
    let batch = vec![
        pass("a", "old", NOW),
        pass("a", "new", later),
        pass("b", "old", NOW),
        pass("a", "old", days_ago(1)),
    ];
    store.record(&passes(batch.clone())).await.unwrap();
    store.record(&passes(batch)).await.unwrap();

    let keys = [
        parts("new").case_key("b"),
        parts("old").case_key("a"),
        parts("new").case_key("a"),
    ];
    let found = store.find_passes(&keys).await.unwrap();
    assert_eq!(found.iter().map(|pass| pass.position).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((found[0].used, found[0].run), (NOW, RunId::from_u128(9)));

    store.touch_passes(&keys, later).await.unwrap();
    assert_eq!(store.find_passes(&keys).await.unwrap()[0].used, later);
    store.touch_passes(&keys, NOW).await.unwrap();
    assert_eq!(store.find_passes(&keys).await.unwrap()[0].used, later);
    assert!(store.find_passes(&[]).await.unwrap().is_empty());

    let asked = [case("missing"), case("a")];
    let last = store.last_passes("p", &asked).await.unwrap();
    let newest = LastPass {
        run: RunId::from_u128(9),
        at: later,
        parts: parts("new"),
    };
    assert_eq!(last, [None, Some(newest)]);
}

pub(crate) async fn what_is_kept_comes_back_in_the_order_asked(place: Place) {
    let store = place.open().await;
    let (a, b, none) = (Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"none"));
    let both = [(a, b"old".to_vec()), (b, vec![0, 255])];
    store.keep(Kept::TestLists, &both, days_ago(29)).await.unwrap();
    store
        .keep(Kept::TestLists, &[(a, b"new".to_vec())], days_ago(40))
        .await
        .unwrap();
    let lists = store.kept(Kept::TestLists, &[b, none], NOW).await.unwrap();
    assert_eq!(lists, [Some(vec![0, 255]), None]);
    assert!(store.sweep(NOW).await.unwrap());
    let lists = store.kept(Kept::TestLists, &[b, none, a], NOW).await.unwrap();
    assert_eq!(lists, [Some(vec![0, 255]), None, None], "what is used stays");
}

pub(crate) async fn old_rows_are_swept_once_a_day_and_used_ones_stay(place: Place) {
    let store = place.open().await;
    let mut records = vec![
        attempt("gone", Outcome::Passed, 1, days_ago(400)),
        attempt("counted", Outcome::Passed, 1, days_ago(100)),
    ];
    records.extend((0..60).map(|_| attempt("kept", Outcome::Passed, 1, NOW)));
    let batch = Batch {
        attempts: records,
        passes: vec![
            pass("used", "f", days_ago(100)),
            pass("unused", "g", days_ago(100)),
        ],
        audits: Vec::new(),
        runs: vec![ended(7, "p", days_ago(100)), ended(8, "p", NOW)],
    };
    store.record(&batch).await.unwrap();
    let used = parts("f").case_key("used");
    store.touch_passes(&[used], NOW).await.unwrap();

    assert!(store.sweep(NOW).await.unwrap());
    assert!(!store.sweep(NOW).await.unwrap(), "once a day");

    let past = store.history("p", &[], 100).await.unwrap();
    let left: Vec<_> = past
        .iter()
        .map(|past| (&*past.case.name, past.attempts, past.newest.len()))
        .collect();
    assert_eq!(left, [("counted", 1, 0), ("kept", 60, 50), ("used", 0, 0)]);
    let keys = [used, parts("g").case_key("unused")];
    assert_eq!(store.find_passes(&keys).await.unwrap().len(), 1);
    let runs = store.runs(None, 9).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.run.as_u128()).collect::<Vec<_>>(), [8]);
    assert!(store.sweep(NOW.after(Duration::from_secs(90_000))).await.unwrap());
}

pub(crate) async fn texts_that_no_database_likes_are_kept(place: Place) {
    let store = place.open().await;
    for name in [
        "",
        "'; DROP TABLE attempt; --",
        "nul\0nul",
        "\u{1}\n\"\\",
        "$1 ?1 %",
        "\u{10ffff}",
    ] {
        let mut record = attempt(name, FAILED, 1, NOW);
        record.worker = name.into();
        record.project = format!("project {name}").into();
        store.record(&attempts(vec![record.clone()])).await.unwrap();
        let mut run = ended(1, &record.project, NOW);
        run.title = name.into();
        store.record(&runs(vec![run])).await.unwrap();
        let past = store.history(&record.project, &[], 9).await.unwrap();
        let kept = name.replace('\0', "\u{fffd}");
        assert_eq!(
            (&*past[0].case.name, &*past[0].newest[0].worker),
            (&*kept, &*kept)
        );
    }
}

pub(crate) async fn attempts_are_counted_once_however_often_they_are_written(place: Place) {
    let store = place.open().await;
    let (first, second) = (attempt_of(1, "a", 1, FAILED), attempt_of(1, "a", 2, FAILED));
    let batch = attempts(vec![first.clone(), second, first]);
    store.record(&batch).await.unwrap();
    store.record(&batch).await.unwrap();
    let past = store.history("p", &[], 9).await.unwrap();
    assert_eq!((past[0].attempts, past[0].newest.len()), (2, 2));
    assert_eq!(store.samples("p").await.unwrap()[0].samples.len(), 2);
}

pub(crate) async fn a_run_can_be_told_again(place: Place) {
    let store = place.open().await;
    assert!(store.timeline(RunId::from_u128(1)).await.unwrap().is_none());
    let mut hedged = attempt_of(1, "b", 1, Outcome::Cancelled);
    hedged.why = "hedge";
    hedged.lease = Some(LeaseId(u64::MAX >> 1));
    hedged.worker = "there".into();
    let batch = Batch {
        attempts: vec![
            attempt_of(1, "a", 2, Outcome::Passed),
            attempt_of(1, "a", 1, FAILED),
            hedged.clone(),
            attempt_of(2, "a", 1, Outcome::Passed),
            attempt("c", Outcome::Passed, 1, days_ago(1)),
        ],
        ..Batch::default()
    };
    store.record(&batch).await.unwrap();

    let timeline = store.timeline(RunId::from_u128(1)).await.unwrap().unwrap();
    assert!(timeline.record.is_none(), "it has not ended");
    let told: Vec<_> = (timeline.attempts.iter())
        .map(|told| (&*told.case.name, told.attempt.attempt, &*told.why, told.granted))
        .collect();
    assert_eq!(
        told,
        [
            ("a", 2, "first", Some(NOW)),
            ("a", 1, "first", Some(NOW)),
            ("b", 1, "hedge", Some(NOW)),
        ]
    );
    assert_eq!(timeline.attempts[2].lease, hedged.lease);
    assert_eq!(timeline.attempts[2].attempt.worker, "there");
    let plain = store.timeline(RunId::from_u128(7)).await.unwrap().unwrap();
    assert_eq!((plain.attempts[0].granted, plain.attempts[0].lease), (None, None));

    let all = vec![
        ended(1, "p", days_ago(2)),
        ended(2, "q", days_ago(1)),
        ended(3, "p", NOW),
    ];
    store.record(&runs(all.clone())).await.unwrap();
    store.record(&runs(all.clone())).await.unwrap();
    let timeline = store.timeline(RunId::from_u128(1)).await.unwrap().unwrap();
    let record = timeline.record.unwrap();
    assert_eq!(
        (record.reason, record.tally, record.took, record.started),
        (StopReason::MaxFail, all[0].tally, all[0].took, all[0].started)
    );
    let numbers = |runs: Vec<thresh_coordinator::store::RunRecord>| {
        let numbers = runs.iter().map(|run| run.run.as_u128());
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(numbers(store.runs(Some("p"), 9).await.unwrap()), [3, 1]);
    assert_eq!(numbers(store.runs(None, 2).await.unwrap()), [3, 2]);
    assert!(store.runs(Some("nobody's"), 9).await.unwrap().is_empty());
}

pub(crate) async fn flaky_runs_are_counted(place: Place) {
    let store = place.open().await;
    // Both attempts at once; each by itself; never a second one; a pass at once.
    let batches = [
        vec![
            attempt_of(1, "a", 1, FAILED),
            attempt_of(1, "a", 2, Outcome::Passed),
        ],
        vec![attempt_of(2, "a", 1, FAILED)],
        vec![attempt_of(2, "a", 2, Outcome::Passed)],
        vec![attempt_of(3, "a", 1, FAILED)],
        vec![attempt_of(4, "a", 1, Outcome::Passed)],
        vec![attempt_of(4, "b", 1, Outcome::Passed)],
        vec![attempt_of(4, "c", 1, Outcome::Lost)],
    ];
    for batch in batches {
        store.record(&attempts(batch)).await.unwrap();
    }
    let past = store.history("p", &[], 0).await.unwrap();
    let rates: Vec<_> = past
        .iter()
        .map(|past| (&*past.case.name, past.flaky_runs, past.flake_rate))
        .collect();
    assert_eq!(rates, [("a", 2, 0.5), ("b", 0, 0.0), ("c", 0, 0.0)]);
}

pub(crate) async fn a_large_batch_is_written_whole(place: Place) {
    let store = place.open().await;
    let all = (0..3_000)
        .map(|number| attempt_of(1, &format!("case {number}"), 1, Outcome::Passed))
        .collect();
    store.record(&attempts(all)).await.unwrap();
    let past = store.history("p", &[], 5).await.unwrap();
    assert_eq!(past.len(), 3_000);
    assert!(past.iter().all(|past| past.newest.len() == 1));
}
