//! Coordinators that end before their runs do, and those that carry the runs on.

use std::time::Duration;

use thresh_core::digest::Digest;
use thresh_core::schedule::Policy;
use thresh_proto::v1;
use thresh_proto::v1::run_ended::Reason;
use thresh_proto::v1::run_event::Event;
use tonic::{Code, Streaming};

use crate::farm::*;
use crate::reuse::{audit_report, audited, put};
use crate::steps::*;

/// Ends a coordinator as if it had died, and starts the next one with its store.
async fn succeeded(farm: Farm) -> Farm {
    let Farm {
        coordinator, folder, ..
    } = farm;
    soon("the end of the coordinator", coordinator.give_up()).await;
    Farm::start_in(folder, Policy::default()).await
}

fn with_retries(mut request: v1::SubmitRequest, count: u32) -> v1::SubmitRequest {
    request.header.as_mut().unwrap().settings[0].retries = Some(v1::RetryPolicy {
        count,
        ..Default::default()
    });
    request
}

/// Reads up to the `count`-th ended attempt; returns all that was read.
async fn up_to_attempt(events: &mut Streaming<v1::RunEvent>, count: usize) -> Vec<v1::RunEvent> {
    let mut read = Vec::new();
    let mut ended = 0;
    while ended < count {
        let event = soon("the next event", events.message()).await.unwrap().unwrap();
        ended += usize::from(matches!(event.event, Some(Event::Attempt(_))));
        read.push(event);
    }
    read
}

async fn watch_after(farm: &Farm, after: u64) -> Streaming<v1::RunEvent> {
    let request = v1::WatchRequest {
        run_id: id(RUN),
        after,
    };
    farm.client().await.watch(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_run_goes_on_under_the_next_coordinator() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker("here").await;
    let mut client = farm.client().await;
    submit(&mut client, with_retries(run(RUN, 3), 1)).await.unwrap();
    let mut events = watch(&mut client, RUN).await;
    let first = worker.cases(2).await;
    worker.run(RUN, &first[..1], &passed());
    worker.run(RUN, &first[1..], &failed());
    let seen = up_to_attempt(&mut events, 2).await;

    let farm = succeeded(farm).await;
    let mut events = watch_after(&farm, seen.len() as u64).await;
    let mut worker = farm.worker("here").await;
    // What the worker of before had to say comes too late.
    worker.ended(RUN, &first[1], passed());
    let cases = worker.cases(2).await;
    let mut numbers: Vec<_> = cases.iter().map(|case| (case.case, case.attempt)).collect();
    numbers.sort_unstable();
    let (settled, tried) = (first[0].case, first[1].case);
    let untried = (0..3).find(|case| *case != settled && *case != tried).unwrap();
    let mut expected = vec![(tried, 2), (untried, 1)];
    expected.sort_unstable();
    assert_eq!(numbers, expected, "what was settled is not leased again");
    let newest = first.iter().map(|case| case.generation).max().unwrap();
    assert!(cases.iter().all(|case| case.generation > newest));
    worker.run(RUN, &cases, &passed());

    let mut all = seen;
    while let Some(event) = soon("the next event", events.message()).await.unwrap() {
        all.push(event);
    }
    let numbers: Vec<u64> = all.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
    let all: Vec<Event> = all.into_iter().filter_map(|event| event.event).collect();
    assert_eq!(attempts(&all).len(), 4);
    assert_eq!(end(&all).reason(), Reason::Complete);
    assert_eq!(farm.coordinator.stale_reports(), 1);
    let attempts: u32 = history(&mut farm.client().await)
        .await
        .iter()
        .map(|case| case.runs)
        .sum();
    assert_eq!(attempts, 4, "each attempt is in the history, and once");
}

#[tokio::test]
async fn a_run_that_was_to_stop_starts_nothing_under_the_next_coordinator() {
    let (farm, mut worker, mut client) = submitted(Policy::default(), 4).await;
    let mut events = watch(&mut client, RUN).await;
    worker.cases(2).await;
    client
        .cancel(v1::CancelRequest { run_id: id(RUN) })
        .await
        .unwrap();
    wait_for(&mut events, |event| {
        matches!(event, Event::Stopping(stopping) if stopping.reason() == Reason::Cancelled).then_some(())
    })
    .await;

    let farm = succeeded(farm).await;
    let all = to_the_end(watch_after(&farm, 0).await).await;
    assert_eq!(end(&all).reason(), Reason::Cancelled);
}

#[tokio::test]
async fn a_run_that_has_ended_can_be_followed_under_the_next_coordinator() {
    let (farm, mut worker, mut client) = submitted(Policy::default(), 1).await;
    let cases = worker.cases(1).await;
    worker.run(RUN, &cases, &passed());
    let before = to_the_end(watch(&mut client, RUN).await).await;

    let farm = succeeded(farm).await;
    assert_eq!(to_the_end(watch_after(&farm, 0).await).await, before);
    let again = submit(&mut farm.client().await, run(RUN, 1)).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn a_coordinator_that_is_told_to_end_leaves_its_runs_to_the_next() {
    let (farm, mut worker, mut client) = submitted(Policy::default(), 2).await;
    let mut events = watch(&mut client, RUN).await;
    let cases = worker.cases(2).await;
    worker.run(RUN, &cases[..1], &passed());
    let seen = up_to_attempt(&mut events, 1).await;
    let Farm {
        coordinator, folder, ..
    } = farm;
    soon("the end of the coordinator", coordinator.shutdown()).await;

    let farm = Farm::start_in(folder, Policy::default()).await;
    let mut worker = farm.worker("here").await;
    let events = watch_after(&farm, 0).await;
    let cases = worker.cases(1).await;
    worker.run(RUN, &cases, &passed());
    let all = to_the_end(events).await;
    assert!(all.len() > seen.len());
    assert_eq!((attempts(&all).len(), end(&all).reason()), (2, Reason::Complete));
}

#[tokio::test]
async fn a_run_whose_client_does_not_come_back_is_cancelled() {
    let (farm, mut worker, _client) = submitted(Policy::default(), 2).await;
    worker.cases(2).await;
    let Farm {
        coordinator, folder, ..
    } = farm;
    soon("the end of the coordinator", coordinator.give_up()).await;
    let policy = Policy {
        client_grace: Duration::ZERO,
        restored_grace: Duration::ZERO,
        ..Policy::default()
    };
    let farm = Farm::start_in(folder, policy).await;
    // An answer shows that the coordinator has looked at the clock.
    farm.client().await.hello(hello()).await.unwrap();
    let all = to_the_end(watch_after(&farm, 0).await).await;
    assert_eq!(end(&all).reason(), Reason::Cancelled);
}

#[tokio::test]
async fn two_coordinators_do_not_lead_at_once() {
    let farm = Farm::start(Policy::default()).await;
    let mut standby = tokio::spawn(Farm::start_at(farm.folder.path().to_owned()));
    tokio::select! {
        _ = &mut standby => panic!("it does not wait"),
        _ = async { farm.client().await.hello(hello()).await.unwrap() } => {}
    }
    farm.coordinator.give_up().await;
    soon("the lead", standby).await.unwrap().shutdown().await;
}

fn hello() -> v1::HelloRequest {
    v1::HelloRequest {
        protocol: thresh_proto::PROTOCOL,
        version: "0.1.0".into(),
    }
}

#[tokio::test]
async fn an_audit_goes_on_under_the_next_coordinator() {
    let farm = Farm::start(Policy::default()).await;
    let mut worker = farm.worker_of_kind("far", false).await;
    let mut client = farm.client().await;
    let (request, manifests) = shipped_run(1, 2);
    for manifest in &manifests {
        put(&farm, manifest, Digest::of(manifest)).await.unwrap();
    }
    submit(&mut client, request).await.unwrap();
    let cases = worker.cases(2).await;
    worker.run(1, &cases, &passed());
    to_the_end(watch(&mut client, 1).await).await;

    submit(&mut client, audited(shipped_run(RUN, 2).0)).await.unwrap();
    let mut events = watch(&mut client, RUN).await;
    let cases = worker.cases(2).await;
    worker.run(RUN, &cases[..1], &failed());
    let seen = up_to_attempt(&mut events, 1).await;
    let farm = succeeded(farm).await;
    let events = watch_after(&farm, seen.len() as u64).await;
    let mut worker = farm.worker_of_kind("far", false).await;
    let cases = worker.cases(1).await;
    worker.run(RUN, &cases, &failed());
    let mut events = events;
    while soon("the next event", events.message()).await.unwrap().is_some() {}

    let (counts, disagreements) = audit_report(&farm).await;
    assert_eq!(counts, [2, 0, 0, 2]);
    for found in disagreements {
        assert_eq!((found.run_id, found.past_run), (id(RUN), id(1)));
        let stdout = found.output.unwrap().stdout.unwrap();
        assert_eq!(&*stdout.head, b"said");
    }
}
