//! How a worker begins, and why it may not.

use tonic::Status;
use tonic::transport::Endpoint;

use super::*;
use crate::session::{Coordinator, WorkerError};
use thresh_core::fault::Fault;

async fn error(coordinator: Coordinator, config: WorkerConfig) -> WorkerError {
    Worker::start(coordinator, config).ended().await.unwrap_err()
}

#[tokio::test]
async fn says_who_it_is() {
    let mut fake = Fake::start().await;
    let (worker, session) = connected(&mut fake).await;
    let hello = &session.hello;
    assert_eq!(
        (hello.name.as_str(), hello.slots, hello.in_place),
        ("here", 2, true)
    );
    assert_eq!(
        (hello.protocol, hello.platform.as_str()),
        (thresh_proto::PROTOCOL, "any")
    );
    assert_eq!(hello.remap_cause, None);
    assert!(hello.cpus > 0 && !hello.version.is_empty());
    drop(worker);
    assert_eq!(session.rest().await, []);
}

#[tokio::test]
async fn refusals_are_final_and_told_apart() {
    let fake = Fake::start().await;
    let refuse = |status| *fake.service.refusal.lock().unwrap() = Some(status);
    let config = || WorkerConfig {
        reconnect: true,
        ..WorkerConfig::in_place("here", 1, "any")
    };

    refuse(Status::failed_precondition(
        "the coordinator is thresh 9.9 with protocol 7: upgrade the worker",
    ));
    let mismatch = error(fake.coordinator(), config()).await;
    assert!(
        matches!(mismatch, WorkerError::VersionMismatch { .. }),
        "{mismatch}"
    );
    let message = mismatch.to_string();
    for part in [
        "9.9",
        "protocol 7",
        "upgrade",
        env!("CARGO_PKG_VERSION"),
        &format!("protocol {}", thresh_proto::PROTOCOL),
    ] {
        assert!(message.contains(part), "{message}");
    }

    refuse(Status::invalid_argument("a worker cannot offer 1 slots"));
    let refused = error(fake.coordinator(), config()).await;
    assert!(matches!(refused, WorkerError::Refused { .. }), "{refused}");
    assert_eq!(refused.fault(), Fault::Input);

    refuse(Status::unimplemented(""));
    let other = error(fake.coordinator(), config()).await;
    assert!(matches!(other, WorkerError::NoCoordinator { .. }), "{other}");
}

#[tokio::test]
async fn an_unreachable_coordinator_is_named_with_what_was_tried() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let coordinator = Coordinator::at(Endpoint::from_shared(address.clone()).unwrap());
    let patience = Duration::from_millis(300);
    let config = WorkerConfig {
        reconnect: true,
        patience,
        ..WorkerConfig::in_place("here", 1, "any")
    };
    let unreachable = error(coordinator, config).await;
    let message = unreachable.to_string();
    assert!(
        message.contains(&address) && message.contains("refused"),
        "{message}"
    );
    assert!(
        matches!(unreachable, WorkerError::Unreachable { tries: 2.., .. }),
        "{unreachable:?}"
    );
    assert_eq!(unreachable.fault(), Fault::Environment);
}

#[tokio::test]
async fn needs_a_slot() {
    let fake = Fake::start().await;
    let error = error(fake.coordinator(), WorkerConfig::in_place("here", 0, "any")).await;
    assert!(matches!(error, WorkerError::NoSlots));
}

#[tokio::test]
async fn an_embedded_worker_ends_with_its_session() {
    let mut fake = Fake::start().await;
    let mut worker = Worker::start(fake.coordinator(), WorkerConfig::in_place("here", 1, "any"));
    drop(fake.session().await);
    let error = worker.ended().await.unwrap_err();
    assert!(matches!(error, WorkerError::Lost { .. }), "{error}");
}
