//! A coordinator for tests: it says what it was told to say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use thresh_cas::PackStore;
use thresh_core::digest::Digest;
use thresh_proto::convert::{
    digest_from_wire, digest_to_wire, digests_from_wire, frame_from_wire, recipe_from_wire,
};
use thresh_proto::v1::blobs_server::{Blobs, BlobsServer};
use thresh_proto::v1::runs_server::{Runs, RunsServer};
use thresh_proto::{PROTOCOL, v1};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// One answer to `Watch`: events, then an error or the end of the stream, or silence until the run is cancelled.
#[derive(Clone, Debug)]
pub(super) enum Script {
    Events(Vec<v1::RunEvent>, Option<Status>),
    UntilCancelled(Vec<v1::RunEvent>, Vec<v1::RunEvent>),
    Refused(Status),
    /// Every submitted case passes.
    AllPass,
}

/// What the coordinator was asked, and what it answers.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) protocol: Option<u32>,
    pub(super) watches: VecDeque<Script>,
    pub(super) watched_after: Vec<u64>,
    pub(super) submissions: Vec<Vec<v1::SubmitRequest>>,
    pub(super) cancels: u32,
    pub(super) confirms: u32,
    /// By kind and key.
    pub(super) kept: BTreeMap<(i32, Vec<u8>), Vec<u8>>,
    pub(super) lists_put: usize,
    pub(super) nothing_reusable: bool,
    pub(super) last_pass: Option<v1::KeyParts>,
    /// Bytes of chunks that came.
    pub(super) put_bytes: u64,
    /// Blobs that workers ask for.
    pub(super) demanded: Vec<Digest>,
    /// Blobs that the client cannot bring.
    pub(super) refused: Vec<Digest>,
}

#[derive(Clone, Debug)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    pub(super) blobs: PackStore,
    _folder: Arc<tempfile::TempDir>,
    cancelled: Arc<tokio::sync::Notify>,
}

impl Fake {
    /// Starts it and connects to it.
    pub(super) async fn start(state: State) -> (Self, Channel) {
        let folder = tempfile::tempdir().unwrap();
        let fake = Self {
            state: Arc::new(Mutex::new(state)),
            blobs: PackStore::open(folder.path()).unwrap(),
            _folder: Arc::new(folder),
            cancelled: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Server::builder()
            .add_service(RunsServer::new(fake.clone()))
            .add_service(BlobsServer::new(fake.clone()));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        (fake, channel)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn all_pass(&self) -> Vec<v1::RunEvent> {
        let cases: u32 = self.state().submissions[0]
            .iter()
            .map(|message| message.cases.len() as u32)
            .sum();
        let event = |number: u64, event| v1::RunEvent {
            number,
            at_micros: number,
            event: Some(event),
        };
        let mut events: Vec<_> = (0..cases)
            .map(|case| {
                event(
                    u64::from(case) + 1,
                    v1::run_event::Event::Attempt(v1::AttemptEnded {
                        case,
                        attempt: 1,
                        attempts_max: 1,
                        outcome: Some(v1::Outcome {
                            kind: v1::outcome::Kind::Passed.into(),
                            ..Default::default()
                        }),
                        last: true,
                        ..Default::default()
                    }),
                )
            })
            .collect();
        let reason = v1::run_ended::Reason::Complete.into();
        events.push(event(
            u64::from(cases) + 1,
            v1::run_event::Event::Ended(v1::RunEnded {
                reason,
                ..Default::default()
            }),
        ));
        events
    }
}

async fn collect<T>(mut stream: Streaming<T>) -> Result<Vec<T>, Status> {
    let mut all = Vec::new();
    while let Some(message) = stream.message().await? {
        all.push(message);
    }
    Ok(all)
}

#[tonic::async_trait]
impl Runs for Fake {
    async fn hello(&self, _: Request<v1::HelloRequest>) -> Result<Response<v1::HelloReply>, Status> {
        let protocol = self.state().protocol.unwrap_or(PROTOCOL);
        Ok(Response::new(v1::HelloReply {
            protocol,
            version: "9.9.9".into(),
            slots: 2,
            workers: 1,
        }))
    }

    async fn plan(
        &self,
        request: Request<Streaming<v1::SubmitRequest>>,
    ) -> Result<Response<v1::PlanReply>, Status> {
        let messages = collect(request.into_inner()).await?;
        let cases = messages.iter().map(|message| message.cases.len() as u32).sum();
        let nothing_reusable = self.state().nothing_reusable;
        let case = |case| v1::PlannedCase {
            case,
            reused: case == 0 && !nothing_reusable,
            estimate: Some(v1::Duration {
                micros: 1_000_000 * u64::from(case),
            }),
            estimate_source: "case".into(),
            distrusted: false,
        };
        Ok(Response::new(v1::PlanReply {
            cases: (0..cases).map(case).collect(),
            slots: 2,
        }))
    }

    async fn submit(
        &self,
        request: Request<Streaming<v1::SubmitRequest>>,
    ) -> Result<Response<v1::SubmitReply>, Status> {
        let messages = collect(request.into_inner()).await?;
        self.state().submissions.push(messages);
        Ok(Response::new(v1::SubmitReply {}))
    }

    type WatchStream = ReceiverStream<Result<v1::RunEvent, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let script = {
            let mut state = self.state();
            state.watched_after.push(request.into_inner().after);
            state
                .watches
                .pop_front()
                .ok_or_else(|| Status::unavailable("nothing more to say"))?
        };
        let (sender, receiver) = mpsc::channel(1);
        let (events, then) = match script {
            Script::Refused(status) => return Err(status),
            Script::AllPass => (self.all_pass(), None),
            Script::Events(events, error) => (events, error),
            Script::UntilCancelled(before, after) => {
                let cancelled = Arc::clone(&self.cancelled);
                tokio::spawn(async move {
                    for event in before {
                        let _ = sender.send(Ok(event)).await;
                    }
                    cancelled.notified().await;
                    for event in after {
                        let _ = sender.send(Ok(event)).await;
                    }
                    // The stream stays open; only its follower ends it.
                    sender.closed().await;
                });
                return Ok(Response::new(ReceiverStream::new(receiver)));
            }
        };
        tokio::spawn(async move {
            for event in events {
                let _ = sender.send(Ok(event)).await;
            }
            if let Some(status) = then {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn cancel(&self, _: Request<v1::CancelRequest>) -> Result<Response<v1::CancelReply>, Status> {
        self.state().cancels += 1;
        self.cancelled.notify_one();
        Ok(Response::new(v1::CancelReply {}))
    }

    async fn confirm_inputs(
        &self,
        _: Request<v1::ConfirmInputsRequest>,
    ) -> Result<Response<v1::ConfirmInputsReply>, Status> {
        self.state().confirms += 1;
        Ok(Response::new(v1::ConfirmInputsReply { stored: 1 }))
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryReply>, Status> {
        let outcome = v1::Outcome {
            kind: v1::outcome::Kind::Crashed.into(),
            code: 6,
            ..Default::default()
        };
        let past = v1::PastOutcome {
            run_id: vec![7; 16].into(),
            at_micros: 1_700_000_000_000_000,
            worker: "w".into(),
            attempt: 1,
            outcome: Some(outcome),
            took: Some(v1::Duration { micros: 1_500_000 }),
        };
        let case = v1::CaseHistory {
            binary_id: request.into_inner().project,
            name: "a\nb".into(),
            estimate: Some(v1::Duration { micros: 2_000_000 }),
            runs: 3,
            failures: 1,
            outcomes: vec![past],
            flaky_runs: 1,
            flake_rate: 0.5,
        };
        Ok(Response::new(v1::HistoryReply { cases: vec![case] }))
    }

    async fn last_pass(
        &self,
        request: Request<v1::LastPassRequest>,
    ) -> Result<Response<v1::LastPassReply>, Status> {
        let parts = self.state().last_pass.clone();
        let pass = v1::LastPass {
            found: parts.is_some(),
            run_id: vec![1; 16].into(),
            at_micros: 1,
            parts,
        };
        let passes = request.into_inner().cases.iter().map(|_| pass.clone()).collect();
        Ok(Response::new(v1::LastPassReply { passes }))
    }

    async fn get_kept(
        &self,
        request: Request<v1::GetKeptRequest>,
    ) -> Result<Response<v1::GetKeptReply>, Status> {
        let state = self.state();
        let v1::GetKeptRequest { kept, keys } = request.into_inner();
        let contents = keys.iter().map(|key| {
            let content = state.kept.get(&(kept, key.to_vec()));
            content.cloned().unwrap_or_default().into()
        });
        let contents = contents.collect();
        Ok(Response::new(v1::GetKeptReply { contents }))
    }

    async fn put_kept(
        &self,
        request: Request<v1::PutKeptRequest>,
    ) -> Result<Response<v1::PutKeptReply>, Status> {
        let mut state = self.state();
        let v1::PutKeptRequest { kept, entries } = request.into_inner();
        for entry in entries {
            state.lists_put += usize::from(kept == i32::from(v1::Kept::TestLists));
            state
                .kept
                .insert((kept, entry.key.to_vec()), entry.content.to_vec());
        }
        Ok(Response::new(v1::PutKeptReply {}))
    }
}

#[tonic::async_trait]
impl Blobs for Fake {
    async fn find_missing(
        &self,
        request: Request<v1::FindMissingRequest>,
    ) -> Result<Response<v1::FindMissingReply>, Status> {
        let digests = digests_from_wire("digests", &request.into_inner().digests)?;
        let missing = self.blobs.find_missing(&digests).into_iter();
        Ok(Response::new(v1::FindMissingReply {
            digests: missing.map(digest_to_wire).collect(),
        }))
    }

    async fn put(
        &self,
        request: Request<Streaming<v1::PutRequest>>,
    ) -> Result<Response<v1::PutReply>, Status> {
        for message in collect(request.into_inner()).await? {
            for frame in message.frames {
                let frame = frame_from_wire(frame)?;
                self.state().put_bytes += frame.data.len() as u64;
                let stored = self.blobs.put(&frame);
                stored.map_err(|error| Status::invalid_argument(error.to_string()))?;
            }
        }
        Ok(Response::new(v1::PutReply {}))
    }

    async fn put_blob(
        &self,
        request: Request<Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<v1::PutBlobReply>, Status> {
        let messages = collect(request.into_inner()).await?;
        let digest = digest_from_wire("digest", &messages[0].digest)?;
        let recipe = recipe_from_wire(&messages[0].recipe.clone().unwrap())?;
        let mut frames = messages.into_iter().flat_map(|message| message.frames);
        let stored = self.blobs.put_blob(digest, &recipe, || {
            let frame = frame_from_wire(frames.next()?).unwrap();
            self.state().put_bytes += frame.data.len() as u64;
            Some(frame)
        });
        let missing = stored.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(v1::PutBlobReply {
            missing: missing.into_iter().map(digest_to_wire).collect(),
        }))
    }

    async fn recipes(&self, _: Request<v1::RecipesRequest>) -> Result<Response<v1::RecipesReply>, Status> {
        Err(Status::unimplemented("no test reads blobs"))
    }

    type GetStream = ReceiverStream<Result<v1::GetReply, Status>>;

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        Err(Status::unimplemented("no test reads blobs"))
    }

    async fn wait_for(&self, _: Request<v1::WaitForRequest>) -> Result<Response<v1::WaitForReply>, Status> {
        Err(Status::unimplemented("no test reads blobs"))
    }

    async fn cannot_bring(
        &self,
        request: Request<v1::CannotBringRequest>,
    ) -> Result<Response<v1::CannotBringReply>, Status> {
        let digest = digest_from_wire("digest", &request.into_inner().digest)?;
        self.state().refused.push(digest);
        Ok(Response::new(v1::CannotBringReply {}))
    }

    type DemandsStream = ReceiverStream<Result<v1::DemandsReply, Status>>;

    /// Asks for the digests of [`State::demanded`], and goes on asking until the client is gone.
    async fn demands(&self, _: Request<v1::DemandsRequest>) -> Result<Response<Self::DemandsStream>, Status> {
        let digests = self
            .state()
            .demanded
            .iter()
            .copied()
            .map(digest_to_wire)
            .collect();
        let (replies, stream) = mpsc::channel(1);
        replies.try_send(Ok(v1::DemandsReply { digests })).unwrap();
        tokio::spawn(async move { replies.closed().await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
