//! The Remote Execution API beside buildbox-casd.

use crate::Options;
use crate::figure::Figure;
use crate::measure::median;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    Action, ActionResult, Directory, FindMissingBlobsRequest, UpdateActionResultRequest,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thresh_cas::{BlobName, DigestFunction};
use thresh_tests::casd::Casd;
use thresh_tests::farm::Farm;
use thresh_tests::reapi::{Client, shell};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Connections at once.
const CONNECTIONS: [usize; 2] = [1, 64];
/// How long each side answers in each repeat.
const TIME: Duration = Duration::from_secs(2);
/// Blobs that one request asks for, and blobs that are there.
const ASKED: usize = 10;
const BLOBS: usize = 1_000;
const ACTIONS: usize = 500;
/// Actions that are asked for at once.
const AT_ONCE: usize = 16;
/// Actions that each side executes at a time.
const SLOTS: u32 = 2;

/// An engine, as its client sees it.
struct Side {
    url: String,
    instance: &'static str,
    /// Of its actions.
    root: Directory,
    blobs: Vec<BlobName>,
    result: BlobName,
}

impl Side {
    async fn prepare(url: String, instance: &'static str, roots: Vec<Directory>) -> Self {
        let mut side = Self {
            url,
            instance,
            root: roots[0].clone(),
            blobs: Vec::new(),
            result: BlobName::of(DigestFunction::Sha256, b"an action"),
        };
        let client = side.client().await;
        for root in &roots {
            client.put_message(root).await.expect("blobs are taken");
        }
        for number in 0..BLOBS {
            let content = format!("blob {number}");
            side.blobs
                .push(client.put(content.as_bytes()).await.expect("blobs are taken"));
        }
        let request = UpdateActionResultRequest {
            instance_name: instance.to_owned(),
            action_digest: Some(side.result.to_wire()),
            action_result: Some(ActionResult {
                stdout_digest: Some(side.blobs[0].to_wire()),
                ..ActionResult::default()
            }),
            digest_function: client.function(),
            ..UpdateActionResultRequest::default()
        };
        client
            .results()
            .update_action_result(request)
            .await
            .expect("results are taken");
        side
    }

    async fn client(&self) -> Client {
        let client = Client::connect(&self.url, self.instance, DigestFunction::Sha256);
        client.await.expect("the engine answers")
    }

    /// Answers a second to one kind of request.
    async fn rate(&self, kind: Kind, connections: usize) -> f64 {
        let (count, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(self.client().await);
        }
        let began = Instant::now();
        for (number, client) in clients.into_iter().enumerate() {
            let (count, action) = (count.clone(), self.result);
            let first = number * ASKED % (BLOBS - ASKED);
            let asked = self.blobs[first..first + ASKED].to_vec();
            tasks.spawn(async move {
                while began.elapsed() < TIME {
                    kind.ask(&client, &asked, &action).await;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("every answer comes");
        }
        count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
    }

    /// Seconds for many actions that do nothing.
    async fn execute(&self, repeat: usize) -> f64 {
        let client = self.client().await;
        let mut actions = Vec::new();
        for number in 0..ACTIONS {
            let action = Action {
                salt: format!("{repeat} {number}").into_bytes(),
                ..Action::default()
            };
            let action = client.put_action(&shell("exit 0"), &self.root, action).await;
            actions.push(action.expect("actions are taken"));
        }
        let (began, mut tasks) = (Instant::now(), JoinSet::new());
        for action in actions {
            if tasks.len() == AT_ONCE {
                executed(tasks.join_next().await);
            }
            let client = client.clone();
            tasks.spawn(async move { client.execute(&action, true).await });
        }
        while let Some(ended) = tasks.join_next().await {
            executed(Some(ended));
        }
        began.elapsed().as_secs_f64()
    }
}

type Execution = Result<
    Result<bazel_remote_apis::build::bazel::remote::execution::v2::ExecuteResponse, tonic::Status>,
    tokio::task::JoinError,
>;

fn executed(ended: Option<Execution>) {
    let response = ended
        .expect("one was begun")
        .expect("it does not panic")
        .expect("it is executed");
    assert_eq!(response.result.expect("it has a result").exit_code, 0);
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    FindMissing,
    GetResult,
}

impl Kind {
    const ALL: [(Self, &'static str); 2] = [
        (Self::FindMissing, "FindMissingBlobs"),
        (Self::GetResult, "GetActionResult"),
    ];

    async fn ask(self, client: &Client, asked: &[BlobName], action: &BlobName) {
        match self {
            Self::FindMissing => {
                let request = FindMissingBlobsRequest {
                    instance_name: client.instance.clone(),
                    blob_digests: asked.iter().map(BlobName::to_wire).collect(),
                    digest_function: client.function(),
                };
                let missing = client
                    .cas()
                    .find_missing_blobs(request)
                    .await
                    .expect("it is answered");
                assert!(missing.into_inner().missing_blob_digests.is_empty());
            }
            Self::GetResult => drop(client.result(action).await.expect("it is known")),
        }
    }
}

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let temp = tempfile::tempdir_in("/var/tmp").expect("a temp folder can be made");
    let runtime = Runtime::new().expect("a runtime can be made");
    let farm = Farm::with_workers(&temp.path().join("thresh"), 1, SLOTS);
    let casd = Casd::start(&temp.path().join("casd"), SLOTS);
    let (root, empty) = Casd::root();
    let ours = Side::prepare(farm.url(), "bench/trusted", vec![Directory::default()]);
    let ours = runtime.block_on(ours);
    let theirs = runtime.block_on(Side::prepare(casd.url(), "", vec![root, empty]));
    let mut figures = rates(options, &runtime, &ours, &theirs);
    figures.push(executions(options, &runtime, &ours, &theirs));
    figures
}

fn rates(options: &Options, runtime: &Runtime, ours: &Side, theirs: &Side) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (kind, name) in Kind::ALL {
        for connections in CONNECTIONS {
            let mut rates = [Vec::new(), Vec::new()];
            for _ in 0..options.repeats {
                for (side, rates) in [ours, theirs].into_iter().zip(&mut rates) {
                    rates.push(runtime.block_on(side.rate(kind, connections)));
                }
            }
            let [ours, theirs] = rates.map(median);
            let name = format!("data: {name}, {connections} connections (buildbox-casd)");
            figures.push(Figure::new(name, ours, "1/s").at_least(theirs).beside(theirs));
        }
    }
    figures
}

fn executions(options: &Options, runtime: &Runtime, ours: &Side, theirs: &Side) -> Figure {
    let mut times = [Vec::new(), Vec::new()];
    for repeat in 0..options.repeats {
        for (side, times) in [ours, theirs].into_iter().zip(&mut times) {
            times.push(runtime.block_on(side.execute(repeat)));
        }
    }
    let [ours, theirs] = times.map(median);
    let name = format!("data: Execute of {ACTIONS} trivial actions, {SLOTS} at a time (buildbox-casd)");
    Figure::new(name, ours, "s").at_most(theirs).beside(theirs)
}
