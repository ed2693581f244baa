//! Workers and clients that go, freeze or talk nonsense.

use std::time::Duration;

use thresh_core::schedule::Policy;
use thresh_proto::v1;
use thresh_proto::v1::coordinator_message::Message as ToWorker;
use thresh_proto::v1::run_ended::Reason;
use thresh_proto::v1::run_event::Event;
use thresh_proto::v1::worker_message::Message as FromWorker;
use thresh_proto::v1::worker_news::Kind;
use tonic::Code;

use crate::farm::*;
use crate::steps::*;

/// Noticed within a fifth of a second.
fn impatient() -> Policy {
    Policy {
        heartbeat: Duration::from_millis(50),
        lease_ttl: Duration::from_millis(200),
        client_grace: Duration::from_millis(100),
        ..Policy::default()
    }
}

/// A run is cancelled a tenth of a second after the last client went.
fn forsaken() -> Policy {
    Policy {
        client_grace: Duration::from_millis(100),
        ..Policy::default()
    }
}

fn revoked(message: ToWorker) -> Option<v1::Revoke> {
    match message {
        ToWorker::Revoke(revoke) => Some(revoke),
        _ => None,
    }
}

#[tokio::test]
async fn an_outcome_under_another_generation_is_refused() {
    let (_farm, mut worker, mut client) = submitted(Policy::default(), 1).await;
    let events = watch(&mut client, RUN).await;
    let case = worker.cases(1).await.remove(0);
    let stale = v1::LeasedCase {
        generation: case.generation + 1,
        ..case.clone()
    };
    worker.ended(RUN, &stale, failed());
    worker.ended(RUN, &case, passed());
    worker.ended(RUN, &case, failed());

    let events = to_the_end(events).await;
    let attempts = attempts(&events);
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome, Some(passed()));
}

#[tokio::test]
async fn cases_of_a_worker_that_vanishes_go_to_another() {
    let farm = Farm::start(Policy::default()).await;
    let mut first = farm.worker("first").await;
    let mut client = farm.client().await;
    submit(&mut client, run(RUN, 2)).await.unwrap();
    let events = watch(&mut client, RUN).await;
    let cases = first.cases(2).await;
    first.run(RUN, &cases[..1], &passed());
    first.started(RUN, &cases[1]);
    let mut other = watch(&mut client, RUN).await;
    wait_for(&mut other, |event| match event {
        Event::Started(started) if started.case == cases[1].case => Some(()),
        _ => None,
    })
    .await;
    drop(first);

    let mut second = farm.worker("second").await;
    let again = second.cases(1).await;
    assert_eq!(
        (again[0].case, again[0].generation),
        (cases[1].case, cases[1].generation + 1)
    );
    second.run(RUN, &again, &passed());

    let events = to_the_end(events).await;
    let told: Vec<_> = (attempts(&events).into_iter())
        .map(|attempt| {
            (
                attempt.worker.as_str(),
                attempt.outcome.as_ref().unwrap().kind(),
                attempt.last,
            )
        })
        .collect();
    use v1::outcome::Kind as Outcome;
    assert_eq!(
        told,
        [
            ("first", Outcome::Passed, true),
            ("first", Outcome::Lost, false),
            ("second", Outcome::Passed, true)
        ]
    );
    let news: Vec<_> = (events.iter())
        .filter_map(|event| match event {
            Event::Worker(news) => Some((news.worker.as_str(), news.kind(), news.requeued)),
            _ => None,
        })
        .collect();
    assert_eq!(news, [("first", Kind::Lost, 1), ("second", Kind::Joined, 0)]);
    assert_eq!(end(&events).reason(), Reason::Complete);
}

#[tokio::test]
async fn a_frozen_worker_is_lost_and_its_late_outcome_is_refused() {
    let farm = Farm::start(impatient()).await;
    let mut frozen = farm.worker("frozen").await;
    assert_eq!(frozen.welcome.lease_ttl, Some(v1::Duration { micros: 200_000 }));
    let mut client = farm.client().await;
    submit(&mut client, run(RUN, 1)).await.unwrap();
    let mut events = watch(&mut client, RUN).await;
    let case = frozen.cases(1).await.remove(0);
    frozen.started(RUN, &case);

    let requeued = wait_for(&mut events, |event| match event {
        Event::Worker(news) if news.kind() == Kind::Lost => Some(news.requeued),
        _ => None,
    })
    .await;
    assert_eq!(requeued, 1);
    let closed = loop {
        match frozen.next().await {
            Err(status) => break status,
            Ok(Some(_)) => {}
            Ok(None) => panic!("the reason is told"),
        }
    };
    assert_eq!(closed.code(), Code::Aborted);

    // It wakes, and tells of its outcome, over the old stream.
    frozen.ended(RUN, &case, failed());
    soon("the refusal", async {
        while farm.coordinator.stale_reports() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut awake = farm.worker("awake").await;
    let again = awake.cases(1).await;
    assert_eq!(again[0].case, case.case);
    awake.run(RUN, &again, &passed());

    let all = to_the_end(watch(&mut client, RUN).await).await;
    let kinds: Vec<_> = attempts(&all)
        .iter()
        .map(|attempt| attempt.outcome.as_ref().unwrap().kind())
        .collect();
    assert_eq!(kinds, [v1::outcome::Kind::Lost, v1::outcome::Kind::Passed]);
}

#[tokio::test]
async fn heartbeats_keep_a_worker_and_are_answered() {
    let farm = Farm::start(impatient()).await;
    let mut worker = farm.worker("here").await;
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    for sent_micros in 1..=8 {
        beat.tick().await;
        worker.say(FromWorker::Heartbeat(v1::Heartbeat {
            sent_micros,
            ..Default::default()
        }));
        let answer = worker.next().await;
        // It says which one it answers: the worker's leases count from there.
        let answers = |answer: &v1::HeartbeatReply| answer.sent_micros == sent_micros;
        assert!(matches!(answer, Ok(Some(ToWorker::Heartbeat(answer))) if answers(&answer)));
    }
}

#[tokio::test]
async fn a_run_that_nobody_follows_is_cancelled() {
    let (_farm, mut worker, mut client) = submitted(forsaken(), 1).await;
    let case = worker.cases(1).await.remove(0);
    worker.started(RUN, &case);
    {
        let mut events = watch(&mut client, RUN).await;
        wait_for(&mut events, |event| {
            matches!(event, Event::Started(_)).then_some(())
        })
        .await;
    }
    let revoke = told(&mut worker, revoked).await;
    assert!(revoke.kill_running && revoke.run_id == id(RUN));
    worker.ended(RUN, &case, cancelled());
    let events = to_the_end(watch(&mut client, RUN).await).await;
    assert_eq!(end(&events).reason(), Reason::Cancelled);
}

#[tokio::test]
async fn a_client_that_dies_before_it_follows_leaves_no_run() {
    let (_farm, mut worker, client) = submitted(forsaken(), 1).await;
    drop(client);
    told(&mut worker, revoked).await;
}

#[tokio::test]
async fn a_stranded_run_says_what_it_lacks() {
    let farm = Farm::start(Policy {
        stranded_grace: Duration::from_millis(50),
        ..Policy::default()
    })
    .await;
    let _wrong_kind = farm.worker_of_kind("far", false).await;
    let mut client = farm.client().await;
    submit(&mut client, run(RUN, 1)).await.unwrap();
    let events = to_the_end(watch(&mut client, RUN).await).await;
    assert_eq!(end(&events).reason(), Reason::Stranded);
    let message = &end(&events).message;
    assert!(
        message.contains("shares the client's files") && message.contains("far"),
        "{message}"
    );
}

#[tokio::test]
async fn a_cordoned_worker_gets_nothing_new_and_runs_hear_why() {
    let farm = Farm::start(Policy::default()).await;
    let full = farm.worker("full").await;
    let mut client = farm.client().await;
    let reason = v1::cordon::Reason::DiskFull.into();
    submit(&mut client, run(RUN, 0)).await.unwrap();
    full.say(FromWorker::Cordon(v1::Cordon {
        reason,
        message: "no space left".into(),
    }));
    submit(&mut client, run(RUN + 1, 1)).await.unwrap();
    let mut events = watch(&mut client, RUN + 1).await;
    let mut other = farm.worker("other").await;
    let case = other.cases(1).await;
    other.run(RUN + 1, &case, &passed());
    let worker = wait_for(&mut events, |event| match event {
        Event::Attempt(attempt) => Some(attempt.worker.clone()),
        _ => None,
    });
    assert_eq!(worker.await, "other");
}

#[tokio::test]
async fn a_worker_that_talks_nonsense_is_disconnected() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker("here").await;
    worker.to.send(v1::WorkerMessage { message: None }).unwrap();
    assert_eq!(worker.next().await.unwrap_err().code(), Code::InvalidArgument);
    let mut client = farm.client().await;
    let hello = v1::HelloRequest {
        protocol: thresh_proto::PROTOCOL,
        version: "x".into(),
    };
    soon("the worker's leaving", async {
        while client.hello(hello.clone()).await.unwrap().into_inner().workers > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
