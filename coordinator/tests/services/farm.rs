//! A coordinator in memory, with scripted clients and workers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use thresh_coordinator::{Coordinator, CoordinatorConfig};
use thresh_core::digest::Digest;
use thresh_core::schedule::Policy;
use thresh_proto::v1::blobs_client::BlobsClient;
use thresh_proto::v1::coordinator_message::Message as ToWorker;
use thresh_proto::v1::run_event::Event;
use thresh_proto::v1::runs_client::RunsClient;
use thresh_proto::v1::work_client::WorkClient;
use thresh_proto::v1::worker_message::Message as FromWorker;
use thresh_proto::v1::worker_report::Report;
use thresh_proto::{Dialer, MESSAGE_BYTES_MAX, PROTOCOL, in_process, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

pub(crate) const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

pub(crate) struct Farm {
    pub(crate) coordinator: Coordinator,
    dialer: Dialer,
    pub(crate) folder: TempDir,
}

impl Farm {
    pub(crate) async fn start(policy: Policy) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), policy).await
    }

    pub(crate) async fn start_in(folder: TempDir, policy: Policy) -> Self {
        let coordinator = Coordinator::start(config(folder.path(), policy)).await.unwrap();
        let (dialer, connections) = in_process();
        tokio::spawn(coordinator.serve_in_process(connections));
        Self {
            coordinator,
            dialer,
            folder,
        }
    }

    /// Another coordinator with the same files, to which nobody connects.
    pub(crate) async fn start_at(folder: PathBuf) -> Coordinator {
        let config = config(&folder, Policy::default());
        Coordinator::start(config).await.unwrap()
    }

    /// A connection of its own, as each part of a farm has.
    pub(crate) async fn connect(&self) -> Channel {
        self.dialer.dial().await.unwrap()
    }

    pub(crate) async fn client(&self) -> RunsClient<Channel> {
        RunsClient::new(self.connect().await).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) async fn blobs(&self) -> BlobsClient<Channel> {
        BlobsClient::new(self.connect().await)
    }

    pub(crate) async fn worker(&self, name: &str) -> Worker {
        self.worker_of_kind(name, true).await
    }

    pub(crate) async fn worker_of_kind(&self, name: &str, in_place: bool) -> Worker {
        let hello = v1::WorkerHello {
            protocol: PROTOCOL,
            version: "0.1.0".into(),
            name: name.into(),
            slots: 2,
            cpus: 2,
            platform: PLATFORM.into(),
            in_place,
            remap_cause: None,
            isolation_shortfalls: Vec::new(),
            process: 0,
            connection: 0,
        };
        Worker::connect(self, hello).await.unwrap()
    }
}

fn config(folder: &Path, policy: Policy) -> CoordinatorConfig {
    CoordinatorConfig {
        data_dir: folder.to_owned(),
        store: None,
        policy,
        blobs: Some(u64::MAX),
        engine: None,
        bucket: None,
        reuse_from: None,
        version: "0.1.0 (test)".to_owned(),
    }
}

/// A worker that does what a test says.
pub(crate) struct Worker {
    pub(crate) to: mpsc::UnboundedSender<v1::WorkerMessage>,
    pub(crate) from: Streaming<v1::CoordinatorMessage>,
    pub(crate) welcome: v1::Welcome,
    _channel: Channel,
}

impl Worker {
    pub(crate) async fn connect(farm: &Farm, hello: v1::WorkerHello) -> Result<Self, Status> {
        let channel = farm.connect().await;
        let (to, messages) = mpsc::unbounded_channel();
        to.send(v1::WorkerMessage {
            message: Some(FromWorker::Hello(hello)),
        })
        .unwrap();
        let stream = WorkClient::new(channel.clone())
            .session(UnboundedReceiverStream::new(messages))
            .await?;
        let mut worker = Self {
            to,
            from: stream.into_inner(),
            welcome: v1::Welcome::default(),
            _channel: channel,
        };
        match worker.next().await? {
            Some(ToWorker::Welcome(welcome)) => worker.welcome = welcome,
            other => panic!("expected a welcome, got {other:?}"),
        }
        Ok(worker)
    }

    pub(crate) async fn next(&mut self) -> Result<Option<ToWorker>, Status> {
        let message = soon("a message to the worker", self.from.message()).await?;
        Ok(message.and_then(|message| message.message))
    }

    /// The next lease, past anything else.
    pub(crate) async fn lease(&mut self) -> v1::Lease {
        loop {
            match self.next().await.unwrap() {
                Some(ToWorker::Lease(lease)) => return lease,
                Some(_) => {}
                None => panic!("the stream ended before a lease came"),
            }
        }
    }

    /// Waits for so many leased cases.
    pub(crate) async fn cases(&mut self, count: usize) -> Vec<v1::LeasedCase> {
        let mut cases = Vec::new();
        while cases.len() < count {
            cases.extend(self.lease().await.cases);
        }
        cases
    }

    pub(crate) fn say(&self, message: FromWorker) {
        // The other side may be gone, which some tests want.
        let _ = self.to.send(v1::WorkerMessage {
            message: Some(message),
        });
    }

    pub(crate) fn report(&self, run: u128, report: Report) {
        let run_id = run.to_be_bytes().to_vec().into();
        let reports = vec![v1::WorkerReport {
            run_id,
            report: Some(report),
        }];
        self.say(FromWorker::Batch(v1::WorkerBatch { reports }));
    }

    pub(crate) fn started(&self, run: u128, case: &v1::LeasedCase) {
        self.report(
            run,
            Report::Started(v1::Started {
                case: case.case,
                generation: case.generation,
            }),
        );
    }

    pub(crate) fn ended(&self, run: u128, case: &v1::LeasedCase, outcome: v1::Outcome) {
        self.report(
            run,
            Report::Attempt(v1::Attempt {
                case: case.case,
                generation: case.generation,
                outcome: Some(outcome),
                started_micros: 1_000_000,
                took: Some(v1::Duration { micros: 5_000 }),
                outputs: Default::default(),
                observed: None,
                output: Some(v1::Output {
                    stdout: Some(v1::Stream {
                        head: b"said"[..].into(),
                        ..Default::default()
                    }),
                    stderr: None,
                }),
            }),
        );
    }

    /// Starts and ends cases, all with one outcome.
    pub(crate) fn run(&self, run: u128, cases: &[v1::LeasedCase], outcome: &v1::Outcome) {
        for case in cases {
            self.started(run, case);
            self.ended(run, case, outcome.clone());
        }
    }
}

pub(crate) fn passed() -> v1::Outcome {
    v1::Outcome {
        kind: v1::outcome::Kind::Passed.into(),
        passes: true,
        ..Default::default()
    }
}

pub(crate) fn failed() -> v1::Outcome {
    v1::Outcome {
        kind: v1::outcome::Kind::Failed.into(),
        code: 101,
        ..Default::default()
    }
}

/// A run's id on the wire.
pub(crate) fn id(run: u128) -> prost::bytes::Bytes {
    run.to_be_bytes().to_vec().into()
}

fn bytes(digest: Digest) -> prost::bytes::Bytes {
    prost::bytes::Bytes::copy_from_slice(digest.as_bytes())
}

pub(crate) fn key_parts(files: &str) -> v1::KeyParts {
    let same = bytes(Digest::of(b"same"));
    v1::KeyParts {
        code: same.clone(),
        arguments: same.clone(),
        environment: same.clone(),
        platform: same.clone(),
        files: bytes(Digest::of(files.as_bytes())),
        programs: same,
    }
}

/// A run with one binary and `cases` cases named `case 0`, `case 1`, …; reuse is on.
pub(crate) fn run(id: u128, cases: u32) -> v1::SubmitRequest {
    let secs = |secs: u64| {
        Some(v1::Duration {
            micros: secs * 1_000_000,
        })
    };
    let threads = v1::ThreadsRequired {
        amount: Some(v1::threads_required::Amount::Count(1)),
    };
    let header = v1::RunHeader {
        run_id: id.to_be_bytes().to_vec().into(),
        project: "demo".into(),
        platform: PLATFORM.into(),
        binaries: vec![v1::Binary {
            id: "demo::tests".into(),
            package: "demo".into(),
            path: "/target/tests".into(),
            digest: bytes(Digest::of(b"binary")),
            manifest: Default::default(),
            bytes: 0,
        }],
        settings: vec![v1::Settings {
            threads_required: Some(threads),
            slow_timeout: Some(v1::SlowTimeout {
                period: secs(60),
                terminate_after: 0,
                grace_period: secs(10),
                on_timeout_passes: false,
            }),
            leak_timeout: Some(v1::LeakTimeout {
                period: secs(1),
                leak_passes: true,
            }),
            ..Default::default()
        }],
        commands: vec![v1::Command {
            before: vec!["/target/tests".into()],
            ..Default::default()
        }],
        key_parts: vec![key_parts("tree")],
        inputs: Some(v1::Inputs {
            in_place: true,
            ..Default::default()
        }),
        reuse: true,
        ..Default::default()
    };
    let cases = (0..cases).map(|n| v1::Case {
        name: format!("case {n}"),
        key_parts: 1,
        ..Default::default()
    });
    v1::SubmitRequest {
        header: Some(header),
        cases: cases.collect(),
    }
}

/// The same, but its inputs are shipped. Returns the content of its manifests, too.
pub(crate) fn shipped_run(id: u128, cases: u32) -> (v1::SubmitRequest, Vec<Vec<u8>>) {
    let mut request = run(id, cases);
    let manifests: Vec<Vec<u8>> = ["source", "target", "binary"]
        .map(|of| of.as_bytes().to_vec())
        .into();
    let digests: Vec<_> = manifests
        .iter()
        .map(|manifest| bytes(Digest::of(manifest)))
        .collect();
    let header = request.header.as_mut().unwrap();
    header.inputs = Some(v1::Inputs {
        in_place: false,
        source_root: "/source".into(),
        target_root: "/target".into(),
        source_manifest: digests[0].clone(),
        target_manifest: digests[1].clone(),
        ..Default::default()
    });
    header.binaries[0].manifest = digests[2].clone();
    (request, manifests)
}

pub(crate) async fn submit(
    client: &mut RunsClient<Channel>,
    request: v1::SubmitRequest,
) -> Result<(), Status> {
    client.submit(tokio_stream::iter([request])).await.map(drop)
}

pub(crate) async fn watch(client: &mut RunsClient<Channel>, id: u128) -> Streaming<v1::RunEvent> {
    let request = v1::WatchRequest {
        run_id: id.to_be_bytes().to_vec().into(),
        after: 0,
    };
    client.watch(request).await.unwrap().into_inner()
}

/// All events up to the end.
pub(crate) async fn to_the_end(mut events: Streaming<v1::RunEvent>) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = soon("the next event", events.message()).await.unwrap() {
        assert_eq!(event.number, all.len() as u64 + 1, "numbered without gaps");
        all.extend(event.event);
    }
    all
}

/// Waits for an event that `which` picks.
pub(crate) async fn wait_for<T>(
    events: &mut Streaming<v1::RunEvent>,
    which: impl Fn(&Event) -> Option<T>,
) -> T {
    loop {
        let event = soon("the awaited event", events.message())
            .await
            .unwrap()
            .expect("it comes before the end");
        if let Some(found) = event.event.as_ref().and_then(&which) {
            return found;
        }
    }
}

pub(crate) fn attempts(events: &[Event]) -> Vec<&v1::AttemptEnded> {
    events
        .iter()
        .filter_map(|event| {
            if let Event::Attempt(attempt) = event {
                Some(attempt)
            } else {
                None
            }
        })
        .collect()
}

pub(crate) fn end(events: &[Event]) -> &v1::RunEnded {
    match events.last() {
        Some(Event::Ended(ended)) => ended,
        other => panic!("the last event is {other:?}"),
    }
}
