//! Workers against a scripted coordinator.

mod fake;
mod in_place;
mod lost;
mod observed;
mod shipped;
mod start;

use std::path::PathBuf;
use std::time::Duration;

use thresh_core::id::RunId;
use thresh_proto::v1::LeasedCase;

use super::{Worker, WorkerConfig, WorkerHandle};
use crate::inputs::testing::leased_case;
use fake::{Fake, FakeSession};

const RUN: RunId = RunId::from_u128(0x1234);

/// A case whose name is a shell command.
fn case(number: u32, name: &str) -> LeasedCase {
    LeasedCase {
        name: name.into(),
        ..leased_case(number)
    }
}

/// An in-place worker with two slots that reconnects, and its first session.
async fn connected(fake: &mut Fake) -> (WorkerHandle, FakeSession) {
    let config = WorkerConfig {
        reconnect: true,
        ..WorkerConfig::in_place("here", 2, "any")
    };
    let worker = Worker::start(fake.coordinator(), config);
    let session = fake.session().await;
    (worker, session)
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Whether a process has this text among its arguments.
fn runs(text: &str) -> bool {
    let arguments = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(arguments)
        .any(|arguments| {
            // Only whole arguments: a shell that is to start such a process holds the text within its script.
            arguments
                .split(|&byte| byte == 0)
                .any(|argument| argument == text.as_bytes())
        })
}

/// A shell command that runs until it is killed, and an argument by which its process is found.
fn endless(within: &str) -> (String, String) {
    let mark = format!("thresh-test-{}", uuid::Uuid::new_v4().simple());
    (
        format!("{within} sh -c 'while :; do sleep 1000; done' {mark}"),
        mark,
    )
}
