//! Steps that tests of runs and tests of faults share.

use thresh_core::schedule::Policy;
use thresh_proto::v1;
use thresh_proto::v1::coordinator_message::Message as ToWorker;
use thresh_proto::v1::runs_client::RunsClient;
use tonic::transport::Channel;

use crate::farm::*;

/// The run that [`submitted`] submits.
pub(crate) const RUN: u128 = 0x11;

/// A farm whose one worker, `here`, is connected, and a client that has submitted [`RUN`] with so many cases.
pub(crate) async fn submitted(policy: Policy, cases: u32) -> (Farm, Worker, RunsClient<Channel>) {
    let farm = Farm::start(policy).await;
    let worker = farm.worker("here").await;
    let mut client = farm.client().await;
    submit(&mut client, run(RUN, cases)).await.unwrap();
    (farm, worker, client)
}

/// What a worker tells of a case that it gave up.
pub(crate) fn cancelled() -> v1::Outcome {
    v1::Outcome {
        kind: v1::outcome::Kind::Cancelled.into(),
        ..Default::default()
    }
}

/// The next message to a worker that `which` picks, past anything else.
pub(crate) async fn told<T>(worker: &mut Worker, which: impl Fn(ToWorker) -> Option<T>) -> T {
    loop {
        let message = worker.next().await.unwrap();
        if let Some(found) = which(message.expect("it comes before the stream ends")) {
            return found;
        }
    }
}

/// All that history holds, with a few outcomes of each case.
pub(crate) async fn history(client: &mut RunsClient<Channel>) -> Vec<v1::CaseHistory> {
    let request = v1::HistoryRequest {
        project: "demo".into(),
        patterns: vec![],
        outcomes_max: 9,
    };
    client.history(request).await.unwrap().into_inner().cases
}
