//! Runs from submission to end.

use std::time::Duration;

use thresh_core::schedule::Policy;
use thresh_proto::v1;
use thresh_proto::v1::coordinator_message::Message as ToWorker;
use thresh_proto::v1::run_ended::Reason;
use thresh_proto::v1::run_event::Event;
use thresh_proto::v1::worker_report::Report;
use tonic::Code;

use crate::farm::*;
use crate::steps::*;

#[tokio::test]
async fn a_run_is_leased_reported_and_ended() {
    let (_farm, mut worker, mut client) = submitted(Policy::default(), 3).await;
    let events = watch(&mut client, RUN).await;

    let Some(ToWorker::Run(brief)) = worker.next().await.unwrap() else {
        panic!("the brief comes first")
    };
    assert_eq!(brief.test_threads, 2);
    let header = brief.header.unwrap();
    assert_eq!(header.commands.len(), 1);
    assert!(header.key_parts.is_empty(), "a worker has no use for keys");
    let cases = worker.cases(2).await;
    assert!(
        cases
            .iter()
            .all(|case| case.attempt == 1 && case.attempts_max == 1)
    );
    worker.run(RUN, &cases, &passed());
    let third = worker.cases(1).await;
    worker.run(RUN, &third, &failed());

    let events = to_the_end(events).await;
    let Event::Planned(planned) = &events[0] else {
        panic!("the plan comes first, not {:?}", events[0])
    };
    assert_eq!((planned.cases, planned.reused, planned.slots), (3, 0, 2));
    let attempts = attempts(&events);
    assert_eq!(attempts.len(), 3);
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.last && attempt.worker == "here")
    );
    assert_eq!(attempts[2].outcome, Some(failed()));
    assert_eq!(
        attempts[2].output.as_ref().unwrap().stdout.as_ref().unwrap().head,
        b"said"[..]
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event, Event::Started(_)))
            .count(),
        3
    );
    assert_eq!(end(&events).reason(), Reason::Complete);
    let forget = told(&mut worker, |message| match message {
        ToWorker::Forget(forget) => Some(forget),
        _ => None,
    });
    assert_eq!(forget.await.run_id, id(RUN));

    let history = history(&mut client).await;
    assert_eq!(history.len(), 3, "it is written before the end is told");
    assert_eq!(history.iter().map(|case| case.failures).sum::<u32>(), 1);
    assert_eq!(history[0].outcomes[0].worker, "here");
    assert!(history[0].estimate.is_some());

    // A second follower gets the whole story, from any point.
    let request = v1::WatchRequest {
        run_id: id(RUN),
        after: events.len() as u64 - 1,
    };
    let mut again = client.watch(request).await.unwrap().into_inner();
    assert_eq!(
        again.message().await.unwrap().unwrap().number,
        events.len() as u64
    );
    assert!(again.message().await.unwrap().is_none());
}

#[tokio::test]
async fn an_event_that_is_held_back_comes_though_nothing_follows_it() {
    let hour = Duration::from_secs(3_600);
    let policy = Policy {
        lease_ttl: hour,
        client_grace: hour,
        ..Policy::default()
    };
    let (_farm, mut worker, mut client) = submitted(policy, 2).await;
    let mut events = watch(&mut client, RUN).await;
    for case in worker.cases(2).await {
        worker.started(RUN, &case);
        soon("the start of a case", async {
            loop {
                let event = events.message().await.unwrap().unwrap().event;
                if matches!(event, Some(Event::Started(started)) if started.case == case.case) {
                    return;
                }
            }
        })
        .await;
    }
}

#[tokio::test]
async fn requests_about_unknown_and_duplicate_runs_are_refused() {
    let farm = Farm::start(Policy::default()).await;
    let mut client = farm.client().await;
    let unknown = client
        .watch(v1::WatchRequest {
            run_id: id(9),
            after: 0,
        })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let unknown = client
        .cancel(v1::CancelRequest { run_id: id(9) })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let malformed = client
        .cancel(v1::CancelRequest {
            run_id: b"short"[..].into(),
        })
        .await
        .unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);

    submit(&mut client, run(RUN, 1)).await.unwrap();
    assert_eq!(
        submit(&mut client, run(RUN, 1)).await.unwrap_err().code(),
        Code::AlreadyExists
    );
    let early = client
        .confirm_inputs(v1::ConfirmInputsRequest {
            run_id: id(RUN),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);

    let mut bad = run(8, 1);
    bad.cases[0].binary = 7;
    let bad = submit(&mut client, bad).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    assert!(bad.message().contains("cases.binary"), "{bad}");
    assert_eq!(
        submit(&mut client, v1::SubmitRequest::default())
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_cancelled_run_ends_at_once_when_nothing_runs() {
    let farm = Farm::start(Policy::default()).await;
    let mut client = farm.client().await;
    submit(&mut client, run(RUN, 2)).await.unwrap();
    let events = watch(&mut client, RUN).await;
    client
        .cancel(v1::CancelRequest { run_id: id(RUN) })
        .await
        .unwrap();
    assert_eq!(end(&to_the_end(events).await).reason(), Reason::Cancelled);
    client
        .cancel(v1::CancelRequest { run_id: id(RUN) })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_failed_setup_script_ends_the_run_by_name() {
    let (_farm, mut worker, mut client) = submitted(Policy::default(), 1).await;
    let events = watch(&mut client, RUN).await;
    let case = worker.cases(1).await.remove(0);
    worker.report(
        RUN,
        Report::SetupScript(v1::SetupScriptEnded {
            id: "db-init".into(),
            outcome: Some(failed()),
            ..Default::default()
        }),
    );
    worker.ended(RUN, &case, cancelled());
    let events = to_the_end(events).await;
    assert_eq!(end(&events).reason(), Reason::SetupScriptFailed);
    assert!(
        end(&events).message.contains("db-init failed on here"),
        "{}",
        end(&events).message
    );
}

#[tokio::test]
async fn parts_of_another_version_are_told_who_must_upgrade() {
    let farm = Farm::start(Policy::default()).await;
    let old = v1::HelloRequest {
        protocol: thresh_proto::PROTOCOL - 1,
        version: "0.0.1".into(),
    };
    let refused = farm.client().await.hello(old).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("0.0.1") && refused.message().contains("0.1.0 (test)"));
    let hello = v1::WorkerHello {
        protocol: thresh_proto::PROTOCOL + 1,
        version: "9.0.0".into(),
        name: "new".into(),
        slots: 1,
        cpus: 1,
        platform: PLATFORM.into(),
        in_place: true,
        remap_cause: None,
        isolation_shortfalls: Vec::new(),
        process: 0,
        connection: 0,
    };
    let refused = Worker::connect(&farm, hello.clone()).await.err().unwrap();
    assert!(
        refused.message().ends_with("upgrade the coordinator"),
        "{refused}"
    );
    for slots in [0, 1 << 20] {
        let hello = v1::WorkerHello {
            protocol: thresh_proto::PROTOCOL,
            slots,
            ..hello.clone()
        };
        let refused = Worker::connect(&farm, hello).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn shutdown_ends_streams_and_keeps_history() {
    let (farm, mut worker, mut client) = submitted(Policy::default(), 2).await;
    let mut events = watch(&mut client, RUN).await;
    let cases = worker.cases(2).await;
    worker.run(RUN, &cases[..1], &passed());
    wait_for(&mut events, |event| {
        matches!(event, Event::Attempt(_)).then_some(())
    })
    .await;
    let Farm {
        coordinator, folder, ..
    } = farm;
    soon("the end of the coordinator", coordinator.shutdown()).await;
    let told = loop {
        match soon("the end of events", events.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the run has not ended"),
            Err(status) => break status,
        }
    };
    assert_eq!(told.code(), Code::Unavailable);

    let farm = Farm::start_in(folder, Policy::default()).await;
    assert_eq!(history(&mut farm.client().await).await.len(), 1);
}
