//! Connections that end, and coordinators that fall silent.

use thresh_proto::v1::worker_report::Report;

use super::*;
use crate::inputs::testing::in_place_header;

/// Runs a case that hides its process in a session of its own until that process is there.
async fn with_hidden_process(session: &mut FakeSession) -> String {
    let (command, mark) = endless("setsid -w");
    session.lease(
        in_place_header(RUN),
        vec![case(0, &command), case(1, "sleep 1000"), case(2, "true")],
    );
    session.started(1).await;
    until("the case runs", || runs(&mark)).await;
    mark
}

#[tokio::test]
async fn a_lost_connection_kills_everything_before_the_next_is_made() {
    let mut fake = Fake::start().await;
    let (_worker, mut session) = connected(&mut fake).await;
    let mark = with_hidden_process(&mut session).await;
    drop(session);
    let mut session = fake.session().await;
    assert!(!runs(&mark));
    // Nothing of the old session comes over the new one, which works.
    session.lease(in_place_header(RUN), vec![case(5, "true")]);
    assert!(matches!(session.next().await, Some(Report::Started(started)) if started.case == 5));
    assert!(matches!(session.next().await, Some(Report::Attempt(attempt)) if attempt.case == 5));
}

#[tokio::test]
async fn silence_beyond_the_lease_is_as_good_as_a_lost_connection() {
    let mut fake = Fake::with_terms(Duration::from_millis(50), Duration::from_millis(1_000)).await;
    let (_worker, mut session) = connected(&mut fake).await;
    let mark = with_hidden_process(&mut session).await;
    fake.fall_silent();
    let rest = session.rest().await;
    assert!(
        rest.iter().all(|report| !matches!(report, Report::Attempt(_))),
        "{rest:?}"
    );
    fake.speak_again();
    fake.session().await;
    assert!(!runs(&mark));
}

#[tokio::test]
async fn stop_kills_everything_and_leaves() {
    let mut fake = Fake::start().await;
    let (mut worker, mut session) = connected(&mut fake).await;
    let mark = with_hidden_process(&mut session).await;
    worker.stop();
    worker.ended().await.unwrap();
    assert!(!runs(&mark));
    assert_eq!(session.rest().await, []);
}
