//! Workers that show cases a run's files at other paths than the client's, or isolate them less than they should.

use thresh_core::digest::Digest;
use thresh_core::schedule::Policy;
use thresh_proto::v1;
use thresh_proto::v1::run_event::Event;
use thresh_proto::v1::worker_message::Message as FromWorker;

use crate::farm::*;
use crate::reuse::put;

const CAUSE: &str = "not permitted";
const SHORTFALL: &str = "cases are not private: no";

async fn remapped_worker(farm: &Farm, name: &str) -> Worker {
    let hello = v1::WorkerHello {
        protocol: thresh_proto::PROTOCOL,
        version: "0.1.0".into(),
        name: name.into(),
        slots: 2,
        cpus: 2,
        platform: PLATFORM.into(),
        in_place: false,
        remap_cause: Some(CAUSE.into()),
        isolation_shortfalls: vec![SHORTFALL.into()],
        process: 0,
        connection: 0,
    };
    Worker::connect(farm, hello).await.unwrap()
}

/// Submits a run whose inputs are shipped, and has `worker` pass its cases.
async fn pass_all(farm: &Farm, worker: &mut Worker, run: u128, cases: u32) -> Vec<Event> {
    let mut client = farm.client().await;
    let (mut request, manifests) = shipped_run(run, cases);
    request.header.as_mut().unwrap().reuse = false;
    for manifest in &manifests {
        put(farm, manifest, Digest::of(manifest)).await.unwrap();
    }
    submit(&mut client, request).await.unwrap();
    let events = watch(&mut client, run).await;
    let mut passes = 0;
    while passes < cases as usize {
        let leased = worker.lease().await.cases;
        worker.run(run, &leased, &passed());
        passes += leased.len();
    }
    to_the_end(events).await
}

/// The warnings, each with its place among the events.
fn warnings(events: &[Event]) -> Vec<(usize, &v1::InputsRemapped)> {
    let events = events.iter().enumerate();
    events
        .filter_map(|(at, event)| match event {
            Event::InputsRemapped(remapped) => Some((at, remapped)),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_run_hears_once_and_before_its_first_case_that_paths_differ_there() {
    let farm = Farm::start(Policy::default()).await;
    let mut elsewhere = remapped_worker(&farm, "elsewhere").await;
    for run in [1, 2] {
        let events = pass_all(&farm, &mut elsewhere, run, 2000).await;
        let warnings = warnings(&events);
        assert_eq!(warnings.len(), 1, "{events:?}");
        let (at, warning) = warnings[0];
        assert_eq!(
            (warning.worker.as_str(), warning.cause.as_str()),
            ("elsewhere", CAUSE)
        );
        let started = events.iter().position(|event| matches!(event, Event::Started(_)));
        assert!(at < started.unwrap(), "{events:?}");
        let reduced = events.iter().filter_map(|event| match event {
            Event::IsolationReduced(reduced) => Some((reduced.worker.as_str(), &reduced.shortfalls[..])),
            _ => None,
        });
        let expected = [SHORTFALL.to_owned()];
        assert_eq!(reduced.collect::<Vec<_>>(), [("elsewhere", &expected[..])]);
    }
}

#[tokio::test]
async fn a_run_hears_nothing_of_paths_where_it_has_no_cases_or_they_are_the_same() {
    let farm = Farm::start(Policy::default()).await;
    let elsewhere = remapped_worker(&farm, "elsewhere").await;
    elsewhere.say(FromWorker::Cordon(v1::Cordon {
        reason: v1::cordon::Reason::DiskFull.into(),
        message: "no space left".into(),
    }));
    let mut same = farm.worker_of_kind("same", false).await;
    // Leases go to either worker until the coordinator has heard of the full disk.
    soon("the cordon", async {
        let mut client = farm.client().await;
        let hello = v1::HelloRequest {
            protocol: thresh_proto::PROTOCOL,
            version: "0.1.0".into(),
        };
        while client.hello(hello.clone()).await.unwrap().into_inner().workers != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let events = pass_all(&farm, &mut same, 1, 2).await;
    assert_eq!(warnings(&events), []);
}
