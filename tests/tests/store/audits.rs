//! What audits of reuse found.

use crate::place::Place;
use crate::records::{FAILED, NOW, audit, audits, case, days_ago};
use std::collections::BTreeSet;
use std::time::Duration;
use thresh_coordinator::store::{AuditCounts, AuditRecord, AuditReport, Disagreement, SqlStore, Store};
use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_core::reuse::AuditFinding::{Agreed, Disagreed, Flaky};

fn disagreed() -> thresh_core::reuse::AuditFinding {
    Disagreed(FAILED)
}

async fn report(store: &SqlStore) -> AuditReport {
    store.audit_report("p", 10).await.unwrap()
}

/// Case and run of each disagreement.
fn told(report: &AuditReport) -> Vec<(&str, u128)> {
    let disagreements = report.disagreements.iter();
    disagreements
        .map(|told| (&*told.case.name, told.run.as_u128()))
        .collect()
}

pub(crate) async fn findings_are_counted_once_and_come_back_as_they_were(place: Place) {
    let store = place.open().await;
    assert_eq!(report(&store).await, AuditReport::default());
    let crashed = Outcome::Crashed {
        signal: 6,
        leaked: true,
    };
    let by_another_cache = AuditRecord {
        past_run: None,
        output: vec![0, 255, 7],
        ..audit(2, "b", Disagreed(crashed.clone()), NOW)
    };
    let batch = audits(vec![
        audit(1, "a", Agreed, NOW),
        audit(2, "a", Flaky, NOW),
        audit(1, "b", disagreed(), days_ago(1)),
        by_another_cache,
        AuditRecord {
            project: "q".into(),
            ..audit(1, "a", Agreed, NOW)
        },
    ]);
    store.record(&batch).await.unwrap();
    store.record(&batch).await.unwrap();
    // What was said first counts.
    store
        .record(&audits(vec![audit(1, "a", disagreed(), NOW)]))
        .await
        .unwrap();

    let whole = report(&store).await;
    let counts = AuditCounts {
        agreed: 1,
        flaky: 1,
        disagreed: 2,
    };
    assert_eq!((whole.counts, whole.counts.audited()), (counts, 4));
    let latest = Disagreement {
        case: case("b"),
        run: RunId::from_u128(2),
        at: NOW,
        past_run: None,
        outcome: crashed,
        output: vec![0, 255, 7],
        trusted: None,
    };
    let before = Disagreement {
        run: RunId::from_u128(1),
        at: days_ago(1),
        past_run: Some(RunId::from_u128(9)),
        outcome: FAILED,
        output: Vec::new(),
        ..latest.clone()
    };
    assert_eq!(whole.disagreements, [latest, before]);
    let without = store.audit_report("p", 0).await.unwrap();
    assert!(without.disagreements[0].output.is_empty());
    assert_eq!(
        store.audit_report("nobody's", 9).await.unwrap(),
        AuditReport::default()
    );
}

pub(crate) async fn a_case_is_distrusted_until_somebody_trusts_it(place: Place) {
    let store = place.open().await;
    let batch = vec![
        audit(1, "a", Agreed, NOW),
        audit(1, "b", disagreed(), NOW),
        audit(2, "b", disagreed(), NOW),
        audit(1, "c", disagreed(), NOW),
        audit(1, "d", Flaky, NOW),
    ];
    store.record(&audits(batch.clone())).await.unwrap();
    assert_eq!(
        store.distrusted("p").await.unwrap(),
        BTreeSet::from([case("b"), case("c")])
    );
    assert!(store.distrusted("q").await.unwrap().is_empty());

    let asked = [case("a"), case("b"), case("b"), case("unknown")];
    assert_eq!(store.trust("q", &asked, NOW).await.unwrap(), 0);
    assert_eq!(store.trust("p", &asked, NOW).await.unwrap(), 1, "one case");
    assert_eq!(store.trust("p", &asked, NOW).await.unwrap(), 0);
    assert_eq!(store.distrusted("p").await.unwrap(), BTreeSet::from([case("c")]));
    let whole = report(&store).await;
    assert_eq!(
        told(&whole),
        [("c", 1), ("b", 2), ("b", 1)],
        "what is open is first"
    );
    let trusted: Vec<_> = whole.disagreements.iter().map(|told| told.trusted).collect();
    assert_eq!(trusted, [None, Some(NOW), Some(NOW)]);

    // Recorded once more it is the same; found once more it is not.
    store.record(&audits(batch)).await.unwrap();
    assert!(!store.distrusted("p").await.unwrap().contains(&case("b")));
    store
        .record(&audits(vec![audit(3, "b", disagreed(), NOW)]))
        .await
        .unwrap();
    assert!(store.distrusted("p").await.unwrap().contains(&case("b")));
}

pub(crate) async fn findings_are_swept_and_distrust_stays(place: Place) {
    let store = place.open().await;
    let batch = vec![
        audit(1, "old", Agreed, days_ago(91)),
        audit(2, "old", Agreed, days_ago(80)),
        audit(1, "trusted", disagreed(), days_ago(91)),
        audit(1, "open", disagreed(), days_ago(500)),
    ];
    store.record(&audits(batch)).await.unwrap();
    store.trust("p", &[case("trusted")], NOW).await.unwrap();
    assert!(store.sweep(NOW).await.unwrap());
    let left = report(&store).await;
    assert_eq!(told(&left), [("open", 1)]);
    assert_eq!((left.counts.agreed, left.counts.disagreed), (1, 1));

    store.trust("p", &[case("open")], NOW).await.unwrap();
    assert!(store.sweep(NOW.after(Duration::from_secs(90_000))).await.unwrap());
    let left = report(&store).await;
    assert_eq!((left.counts.agreed, left.counts.disagreed), (1, 0));
}
