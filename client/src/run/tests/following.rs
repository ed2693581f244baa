use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::RunId;
use thresh_core::verdict::{CaseStatus, Verdict};
use thresh_proto::{PROTOCOL, v1};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

use super::super::fake::{Fake, Script, State};
use super::super::follow::Follower;
use super::super::seen::Observations;
use super::super::*;
use crate::nextest::{FlakyFailStatus, OutputDisplay, ReportSettings, ReportSkipped};
use crate::report::{CaseLabel, Reporters, Roster, RunSummary};

fn pass(number: u64, case: u32) -> v1::RunEvent {
    let outcome = Some(v1::Outcome {
        kind: v1::outcome::Kind::Passed.into(),
        ..Default::default()
    });
    let attempt = v1::AttemptEnded {
        case,
        attempt: 1,
        outcome,
        last: true,
        ..Default::default()
    };
    v1::RunEvent {
        number,
        at_micros: number,
        event: Some(v1::run_event::Event::Attempt(attempt)),
    }
}

fn ended(number: u64, reason: v1::run_ended::Reason) -> v1::RunEvent {
    let ended = v1::RunEnded {
        reason: reason.into(),
        ..Default::default()
    };
    v1::RunEvent {
        number,
        at_micros: number,
        event: Some(v1::run_event::Event::Ended(ended)),
    }
}

fn two_cases() -> Fold {
    let report = ReportSettings {
        success_output: OutputDisplay::Never,
        failure_output: OutputDisplay::Immediate,
        junit_store_success_output: false,
        junit_store_failure_output: true,
        junit_report_skipped: ReportSkipped::None,
        junit_flaky_fail_status: FlakyFailStatus::Failure,
    };
    let label = |name: &str| CaseLabel {
        binary_id: "b".into(),
        package: "p".into(),
        name: name.into(),
        report,
    };
    let roster = Roster {
        cases: vec![label("one"), label("two")],
        ..Roster::default()
    };
    let settings = vec![
        FoldCase {
            flaky_passes: true,
            weight: 1
        };
        2
    ];
    Fold::new(RunId::from_u128(1), Arc::new(roster), settings, 0, None)
}

/// Follows a run of two cases; returns how following ended, and the summary.
async fn follow(channel: Channel, cancel: Cancel, patience: Duration) -> (Result<(), RunError>, RunSummary) {
    let mut fold = two_cases();
    let mut reporters = Reporters::new();
    let mut observations = Observations::default();
    let follower = Follower {
        observations: &mut observations,
        session: Session::hello(channel).await.unwrap(),
        run: RunId::from_u128(1),
        fold: &mut fold,
        reporters: &mut reporters,
        cancel,
        patience,
    };
    let followed = follower.follow().await;
    (
        followed,
        fold.summary()
            .expect("a run that is no longer followed has a summary")
            .clone(),
    )
}

#[tokio::test]
async fn a_broken_connection_is_followed_from_the_last_event() {
    let complete = ended(4, v1::run_ended::Reason::Complete);
    let watches = [
        Script::Events(vec![pass(1, 0)], Some(Status::unavailable("gone"))),
        Script::Refused(Status::unavailable("not yet")),
        // The coordinator repeats an event and closes the stream without an error.
        Script::Events(vec![pass(1, 0), pass(2, 1)], None),
        Script::Events(
            vec![
                v1::RunEvent {
                    number: 3,
                    ..Default::default()
                },
                complete,
            ],
            None,
        ),
    ];
    let (fake, channel) = Fake::start(State {
        watches: watches.into(),
        ..State::default()
    })
    .await;
    let (_sender, cancel) = watch::channel(0);
    let (followed, summary) = follow(channel, cancel, Duration::from_secs(60)).await;
    followed.unwrap();
    assert_eq!(summary.verdict, Verdict::Pass);
    assert_eq!(fake.state().watched_after, [0, 1, 1, 2]);
}

#[tokio::test]
async fn a_run_that_cannot_be_followed_any_more_says_what_was_tried() {
    for (then, patience) in [
        (
            Script::Refused(Status::not_found("no such run")),
            Duration::from_secs(60),
        ),
        (Script::Refused(Status::unavailable("down")), Duration::ZERO),
    ] {
        let watches = [
            Script::Events(vec![pass(1, 0)], Some(Status::unavailable("broken pipe"))),
            then,
        ];
        let (_fake, channel) = Fake::start(State {
            watches: watches.into(),
            ..State::default()
        })
        .await;
        let (_sender, cancel) = watch::channel(0);
        let (followed, summary) = follow(channel, cancel, patience).await;
        let error = followed.unwrap_err();
        assert_eq!(error.exit_code(), 96);
        assert!(error.to_string().contains("broken pipe"), "{error}");
        assert_eq!(summary.verdict, Verdict::Incomplete);
        assert_eq!(summary.cases[0].status, CaseStatus::Passed);
    }
}

#[tokio::test]
async fn the_first_interruption_cancels_and_still_reports() {
    let script = Script::UntilCancelled(vec![pass(1, 0)], vec![ended(2, v1::run_ended::Reason::Cancelled)]);
    let (fake, channel) = Fake::start(State {
        watches: [script].into(),
        ..State::default()
    })
    .await;
    let (sender, cancel) = watch::channel(0);
    sender.send_replace(1);
    let (followed, summary) = follow(channel, cancel, Duration::ZERO).await;
    followed.unwrap();
    assert_eq!(fake.state().cancels, 1);
    assert_eq!((summary.exit_code(), summary.tally.not_run), (106, 1));
}

#[tokio::test]
async fn the_second_interruption_leaves_at_once() {
    // The coordinator never ends the run.
    let script = Script::UntilCancelled(vec![pass(1, 0)], vec![]);
    let (fake, channel) = Fake::start(State {
        watches: [script].into(),
        ..State::default()
    })
    .await;
    let (sender, cancel) = watch::channel(0);
    sender.send_replace(2);
    let (followed, summary) = follow(channel, cancel, Duration::ZERO).await;
    let error = followed.unwrap_err();
    assert!(matches!(error, RunError::Interrupted { .. }), "{error}");
    assert_eq!(error.exit_code(), 106);
    assert_eq!(fake.state().cancels, 1);
    assert_eq!(summary.cases.len(), 2);
}

#[tokio::test]
async fn another_protocol_is_refused_with_both_versions() {
    let protocol = Some(PROTOCOL + 1);
    let (_fake, channel) = Fake::start(State {
        protocol,
        ..State::default()
    })
    .await;
    let error = Session::hello(channel).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("9.9.9") && text.contains(env!("CARGO_PKG_VERSION")),
        "{text}"
    );
    assert!(text.ends_with("upgrade the client"), "{text}");
    assert_eq!(error.exit_code(), 96);
}

#[tokio::test]
async fn history_is_shown_on_one_line_each() {
    let (_fake, channel) = Fake::start(State::default()).await;
    let query = HistoryQuery {
        project: "p".into(),
        ..HistoryQuery::default()
    };
    let cases = history(channel, query).await.unwrap();
    let mut text = Vec::new();
    write_history(&mut text, &cases).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "[   2.000s] p a\\nb: 3 attempts, 1 failed, flaky in 1 run (50 % of all)\n    2023-11-14 22:13:20 UTC [   1.500s] crashed by signal 6 \
         (attempt 1, w, run 07070707-0707-0707-0707-070707070707)\n"
    );
}
