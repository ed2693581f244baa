//! A client: it ships a run's manifests, submits the run and follows it to its end.

use std::time::{Duration, Instant};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_proto::convert::{digest_to_wire, duration_to_wire, run_id_to_wire};
use thresh_proto::v1::blobs_client::BlobsClient;
use thresh_proto::v1::outcome::Kind;
use thresh_proto::v1::run_ended::Reason;
use thresh_proto::v1::run_event::Event;
use thresh_proto::v1::runs_client::RunsClient;
use thresh_proto::{MESSAGE_BYTES_MAX, v1};
use tonic::transport::Channel;

/// Each run has so many test binaries.
const BINARIES: u32 = 20;

/// What a worker has to fetch for a binary: the scheduler reckons with it, nobody does it here.
const BINARY_BYTES: u64 = 20_000_000;

/// Cases of one message of a submission.
const CASES_AT_ONCE: usize = 10_000;

/// No worker looks into it: all manifests of all runs are this blob.
const MANIFEST: &[u8] = b"of files that nobody fetches";

/// When a client saw the last outcome, and the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    pub(super) last_outcome: Instant,
    pub(super) ended: Instant,
}

/// Submits a run and follows it.
///
/// # Panics
/// When the run does not pass, or a case does not have exactly one outcome.
pub(super) async fn run(channel: Channel, number: u32, cases: u32, platform: String) -> Followed {
    let run = RunId::from_u128(0xbe2c_0000 + u128::from(number));
    let mut blobs = BlobsClient::new(channel.clone());
    let manifest = v1::Frame {
        digest: digest_to_wire(Digest::of(MANIFEST)),
        size_bytes: MANIFEST.len() as u32,
        data: MANIFEST.into(),
        ..Default::default()
    };
    let put = v1::PutRequest {
        frames: vec![manifest],
    };
    (blobs.put(tokio_stream::iter([put])).await).expect("the coordinator stores blobs");
    let mut client = RunsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let messages = submission(run, number, cases, platform);
    (client.submit(tokio_stream::iter(messages)).await).expect("the coordinator takes the run");
    follow(client, run, cases).await
}

async fn follow(mut client: RunsClient<Channel>, run: RunId, cases: u32) -> Followed {
    let request = v1::WatchRequest {
        run_id: run_id_to_wire(run),
        after: 0,
    };
    let watched = client.watch(request).await;
    let mut events = watched.expect("a run can be followed").into_inner();
    let mut outcomes = vec![0_u8; cases as usize];
    let mut last_outcome = Instant::now();
    while let Some(event) = events.message().await.expect("the connection holds") {
        match event.event {
            Some(Event::Attempt(attempt)) => {
                let outcome = attempt.outcome.as_ref().map(v1::Outcome::kind);
                assert_eq!((outcome, attempt.last), (Some(Kind::Passed), true), "{attempt:?}");
                outcomes[attempt.case as usize] += 1;
                last_outcome = Instant::now();
            }
            Some(Event::Ended(ended)) => {
                assert_eq!(ended.reason(), Reason::Complete, "{}", ended.message);
                assert!(ended.message.is_empty(), "{}", ended.message);
                let wrong = outcomes.iter().filter(|outcomes| **outcomes != 1).count();
                assert_eq!(wrong, 0, "so many cases have not exactly one outcome");
                let ended = Instant::now();
                return Followed { last_outcome, ended };
            }
            _ => {}
        }
    }
    panic!("the events stop before the end");
}

/// A run as `thresh run` submits it when nothing is configured, but larger.
fn submission(run: RunId, number: u32, cases: u32, platform: String) -> Vec<v1::SubmitRequest> {
    let mut rest = (0..cases).map(|case| v1::Case {
        binary: case % BINARIES,
        name: format!("module_{}::submodule::case_{case}", case % 97),
        key_parts: 1 + case % BINARIES,
        ..Default::default()
    });
    let mut messages = vec![v1::SubmitRequest {
        header: Some(header(run, number, platform)),
        cases: Vec::new(),
    }];
    loop {
        let cases: Vec<_> = rest.by_ref().take(CASES_AT_ONCE).collect();
        if cases.is_empty() {
            return messages;
        }
        messages.push(v1::SubmitRequest { header: None, cases });
    }
}

fn header(run: RunId, number: u32, platform: String) -> v1::RunHeader {
    let manifest = digest_to_wire(Digest::of(MANIFEST));
    let threads = v1::threads_required::Amount::Count(1);
    let seconds = |seconds| Some(duration_to_wire(Duration::from_secs(seconds)));
    let settings = v1::Settings {
        threads_required: Some(v1::ThreadsRequired {
            amount: Some(threads),
        }),
        slow_timeout: Some(v1::SlowTimeout {
            period: seconds(60),
            grace_period: seconds(10),
            ..Default::default()
        }),
        leak_timeout: Some(v1::LeakTimeout {
            period: seconds(1),
            leak_passes: true,
        }),
        ..Default::default()
    };
    v1::RunHeader {
        run_id: run_id_to_wire(run),
        project: format!("project-{number}"),
        submitter: format!("submitter-{number}"),
        platform,
        binaries: (0..BINARIES).map(|binary| binary_of(number, binary)).collect(),
        settings: vec![settings],
        commands: vec![v1::Command {
            before: vec!["/target/tests".into()],
            ..Default::default()
        }],
        key_parts: (0..BINARIES).map(|binary| key_parts(number, binary)).collect(),
        inputs: Some(v1::Inputs {
            source_root: "/source".into(),
            target_root: "/target".into(),
            source_manifest: manifest.clone(),
            target_manifest: manifest,
            ..Default::default()
        }),
        reuse: true,
        ..Default::default()
    }
}

fn binary_of(number: u32, binary: u32) -> v1::Binary {
    v1::Binary {
        id: format!("package-{binary}::tests"),
        package: format!("package-{binary}"),
        path: format!("/target/tests-{binary}"),
        digest: digest_to_wire(code(number, binary)),
        manifest: digest_to_wire(Digest::of(MANIFEST)),
        bytes: BINARY_BYTES,
    }
}

fn key_parts(number: u32, binary: u32) -> v1::KeyParts {
    let same = digest_to_wire(Digest::of(b"same"));
    v1::KeyParts {
        code: digest_to_wire(code(number, binary)),
        arguments: same.clone(),
        environment: same.clone(),
        platform: same.clone(),
        files: same.clone(),
        programs: same,
    }
}

fn code(number: u32, binary: u32) -> Digest {
    Digest::of(format!("binary {binary} of run {number}").as_bytes())
}
