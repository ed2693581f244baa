//! A coordinator that does what a test says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thresh_core::chunk::Recipe;
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_proto::convert::{
    digest_from_wire, digests_from_wire, duration_to_wire, frame_to_wire, outcome_from_wire, recipe_to_wire,
    run_id_to_wire,
};
use thresh_proto::v1::blobs_server::{Blobs, BlobsServer};
use thresh_proto::v1::coordinator_message::Message as Order;
use thresh_proto::v1::sites_server::{Sites, SitesServer};
use thresh_proto::v1::work_server::{Work, WorkServer};
use thresh_proto::v1::worker_message::Message;
use thresh_proto::v1::worker_report::Report;
use thresh_proto::v1::{self, CoordinatorMessage, WorkerMessage};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::session::Coordinator;

/// Longer than anything in these tests takes, shorter than anyone waits.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Fake {
    address: String,
    sessions: mpsc::UnboundedReceiver<FakeSession>,
    pub(super) service: Service,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
pub(super) struct Service {
    joined: mpsc::UnboundedSender<FakeSession>,
    answers: Arc<AtomicBool>,
    pub(super) refusal: Arc<Mutex<Option<Status>>>,
    pub(super) blobs: Arc<Mutex<BTreeMap<Digest, Vec<u8>>>>,
    /// Blobs asked for, in order.
    pub(super) asked: Arc<Mutex<Vec<Digest>>>,
    pub(super) recipes: Arc<Mutex<BTreeMap<Digest, Recipe>>>,
    /// Bytes of chunks that were sent.
    pub(super) sent_bytes: Arc<AtomicUsize>,
    /// Who is named to give blobs, in turn; then it is the coordinator.
    pub(super) givers: Arc<Mutex<VecDeque<String>>>,
    /// Blobs that were offered.
    pub(super) offered: Arc<Mutex<Vec<Digest>>>,
    terms: (Duration, Duration),
}

/// A worker's connection. Dropping it closes the stream.
pub(super) struct FakeSession {
    pub(super) hello: v1::WorkerHello,
    inbound: mpsc::UnboundedReceiver<Message>,
    outbound: mpsc::UnboundedSender<Result<CoordinatorMessage, Status>>,
    reports: VecDeque<Report>,
    /// Urgent messages received so far.
    pub(super) cordons: Vec<v1::Cordon>,
    generation: u64,
}

impl Fake {
    pub(super) async fn start() -> Self {
        Self::with_terms(Duration::from_millis(200), Duration::from_secs(20)).await
    }

    pub(super) async fn with_terms(heartbeat: Duration, lease_ttl: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (joined, sessions) = mpsc::unbounded_channel();
        let service = Service {
            joined,
            answers: Arc::new(AtomicBool::new(true)),
            refusal: Arc::default(),
            blobs: Arc::default(),
            asked: Arc::default(),
            recipes: Arc::default(),
            sent_bytes: Arc::default(),
            givers: Arc::default(),
            offered: Arc::default(),
            terms: (heartbeat, lease_ttl),
        };
        let router = Server::builder()
            .add_service(WorkServer::new(service.clone()))
            .add_service(BlobsServer::new(service.clone()))
            .add_service(SitesServer::new(service.clone()));
        let server = tokio::spawn(async move {
            router
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            sessions,
            service,
            server,
        }
    }

    pub(super) fn coordinator(&self) -> Coordinator {
        Coordinator::at(Endpoint::from_shared(self.address.clone()).unwrap())
    }

    /// Waits for a worker's next connection.
    pub(super) async fn session(&mut self) -> FakeSession {
        let session = tokio::time::timeout(PATIENCE, self.sessions.recv());
        session.await.expect("no worker connected").unwrap()
    }

    /// Leaves all further heartbeats without an answer.
    pub(super) fn fall_silent(&self) {
        self.service.answers.store(false, Ordering::SeqCst);
    }

    pub(super) fn speak_again(&self) {
        self.service.answers.store(true, Ordering::SeqCst);
    }

    /// Puts a blob of several chunks there, a newer version of `base`.
    pub(super) fn put_large(&self, content: &[u8], base: Option<Digest>) -> Digest {
        let pieces = thresh_cas::Cutter::new(content).map(|piece| {
            let piece = piece.unwrap();
            self.put(&piece.content);
            piece.part
        });
        let recipe = Recipe::new(pieces.collect()).unwrap().with_base(base);
        let digest = Digest::of(content);
        self.service.recipes.lock().unwrap().insert(digest, recipe);
        digest
    }

    pub(super) fn put(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        self.service
            .blobs
            .lock()
            .unwrap()
            .insert(digest, content.to_vec());
        digest
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeSession {
    pub(super) fn tell(&self, order: Order) {
        // Fails only when the worker has gone; the test finds out.
        let _ = self
            .outbound
            .send(Ok(CoordinatorMessage { message: Some(order) }));
    }

    /// Briefs the worker about a run and leases it these cases.
    pub(super) fn lease(&self, header: v1::RunHeader, cases: Vec<v1::LeasedCase>) {
        let run_id = header.run_id.clone();
        self.tell(Order::Run(v1::RunBrief {
            header: Some(header),
            test_threads: 4,
        }));
        self.tell(Order::Lease(v1::Lease {
            lease_id: 1,
            run_id,
            cases,
        }));
    }

    /// Leases further cases, or the same again: under a new generation.
    pub(super) fn lease_more(&mut self, run: RunId, mut cases: Vec<v1::LeasedCase>) {
        self.generation += 1;
        for case in &mut cases {
            case.generation = self.generation;
        }
        self.tell(Order::Lease(v1::Lease {
            lease_id: 2,
            run_id: run_id_to_wire(run),
            cases,
        }));
    }

    /// Waits for the next report. `None` when the worker closed the stream.
    pub(super) async fn next(&mut self) -> Option<Report> {
        while self.reports.is_empty() {
            let message = tokio::time::timeout(PATIENCE, self.inbound.recv());
            match message.await.expect("the worker says nothing")? {
                Message::Batch(batch) => {
                    self.reports
                        .extend(batch.reports.into_iter().filter_map(|report| report.report));
                }
                Message::Cordon(cordon) => self.cordons.push(cordon),
                Message::Heartbeat(_) | Message::Hello(_) => {}
            }
        }
        self.reports.pop_front()
    }

    /// Waits until a case is reported as started.
    pub(super) async fn started(&mut self, case: u32) {
        loop {
            match self.next().await {
                Some(Report::Started(started)) if started.case == case => return,
                Some(_) => {}
                None => panic!("case {case} was never started"),
            }
        }
    }

    /// Waits for the next attempt.
    pub(super) async fn attempt(&mut self) -> (u32, Outcome, v1::Output) {
        loop {
            match self.next().await.expect("the worker has gone") {
                Report::Attempt(attempt) => {
                    let outcome = outcome_from_wire(attempt.outcome.as_ref()).unwrap();
                    return (attempt.case, outcome, attempt.output.unwrap_or_default());
                }
                Report::Returned(returned) => panic!("returned: {}", returned.message),
                _ => {}
            }
        }
    }

    /// Waits for cases to come back; returns their numbers and why.
    pub(super) async fn returned(&mut self) -> (Vec<u32>, String) {
        loop {
            if let Report::Returned(returned) = self.next().await.expect("the worker has gone") {
                return (
                    returned.cases.iter().map(|grant| grant.case).collect(),
                    returned.message,
                );
            }
        }
    }

    /// Waits until the worker closes the stream; returns what it still reported.
    pub(super) async fn rest(mut self) -> Vec<Report> {
        let mut rest = Vec::new();
        while let Some(report) = self.next().await {
            rest.push(report);
        }
        rest
    }
}

#[tonic::async_trait]
impl Work for Service {
    type SessionStream = UnboundedReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        let mut stream = request.into_inner();
        let Some(WorkerMessage {
            message: Some(Message::Hello(hello)),
        }) = stream.message().await?
        else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (outbound, orders) = mpsc::unbounded_channel();
        let (to_test, inbound) = mpsc::unbounded_channel();
        let session = FakeSession {
            hello,
            inbound,
            outbound: outbound.clone(),
            reports: VecDeque::new(),
            cordons: vec![],
            generation: 1,
        };
        session.tell(Order::Welcome(v1::Welcome {
            heartbeat: Some(duration_to_wire(self.terms.0)),
            lease_ttl: Some(duration_to_wire(self.terms.1)),
            worker_id: 1,
            coordinator_version: "0".into(),
        }));
        // Held weakly, so that the stream ends when the test drops the session.
        let (answers, answer) = (self.answers.clone(), outbound.downgrade());
        tokio::spawn(async move {
            while let Ok(Some(WorkerMessage {
                message: Some(message),
            })) = stream.message().await
            {
                let heartbeat = match &message {
                    Message::Heartbeat(heartbeat) => Some(heartbeat.sent_micros),
                    _ => None,
                };
                if let (Some(sent_micros), true, Some(answer)) =
                    (heartbeat, answers.load(Ordering::SeqCst), answer.upgrade())
                {
                    let reply = Order::Heartbeat(v1::HeartbeatReply { sent_micros });
                    let _ = answer.send(Ok(CoordinatorMessage { message: Some(reply) }));
                }
                let _ = to_test.send(message);
            }
        });
        let _ = self.joined.send(session);
        Ok(Response::new(UnboundedReceiverStream::new(orders)))
    }
}

#[tonic::async_trait]
impl Blobs for Service {
    type GetStream = ReceiverStream<Result<v1::GetReply, Status>>;

    async fn find_missing(
        &self,
        _: Request<v1::FindMissingRequest>,
    ) -> Result<Response<v1::FindMissingReply>, Status> {
        Err(Status::unimplemented("not for workers"))
    }

    async fn put(&self, _: Request<Streaming<v1::PutRequest>>) -> Result<Response<v1::PutReply>, Status> {
        Err(Status::unimplemented("not for workers"))
    }

    async fn put_blob(
        &self,
        _: Request<Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<v1::PutBlobReply>, Status> {
        Err(Status::unimplemented("not for workers"))
    }

    async fn recipes(
        &self,
        request: Request<v1::RecipesRequest>,
    ) -> Result<Response<v1::RecipesReply>, Status> {
        let digest = digest_from_wire("digests", &request.into_inner().digests[0])?;
        let recipes = self.recipes.lock().unwrap();
        let recipe = recipes.get(&digest);
        let recipe = recipe.ok_or_else(|| Status::not_found(format!("blob {digest} is not here")))?;
        Ok(Response::new(v1::RecipesReply {
            recipes: vec![recipe_to_wire(recipe)],
        }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let wanted = request.into_inner().chunks;
        let (replies, stream) = mpsc::channel(wanted.len());
        for wanted in wanted {
            let digest = digest_from_wire("digest", &wanted.digest)?;
            let bases = digests_from_wire("bases", &wanted.bases)?;
            self.asked.lock().unwrap().push(digest);
            let blobs = self.blobs.lock().unwrap();
            let content = blobs.get(&digest);
            let content = content.ok_or_else(|| Status::not_found(format!("blob {digest} is not here")))?;
            let base: Vec<u8> = bases.iter().flat_map(|base| blobs[base].clone()).collect();
            let frame = thresh_cas::pack_against(digest, content, bases, &base);
            self.sent_bytes.fetch_add(frame.data.len(), Ordering::SeqCst);
            let frames = vec![frame_to_wire(frame)];
            let reply = v1::GetReply {
                frames,
                elsewhere: None,
            };
            replies.try_send(Ok(reply)).unwrap();
        }
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn wait_for(
        &self,
        request: Request<v1::WaitForRequest>,
    ) -> Result<Response<v1::WaitForReply>, Status> {
        let digest = digest_from_wire("digest", &request.into_inner().digest)?;
        let (blobs, recipes) = (self.blobs.lock().unwrap(), self.recipes.lock().unwrap());
        if blobs.contains_key(&digest) || recipes.contains_key(&digest) {
            return Ok(Response::new(v1::WaitForReply {}));
        }
        Err(Status::not_found("the run's client cannot bring it"))
    }

    async fn cannot_bring(
        &self,
        _: Request<v1::CannotBringRequest>,
    ) -> Result<Response<v1::CannotBringReply>, Status> {
        Err(Status::unimplemented("not for workers"))
    }

    type DemandsStream = ReceiverStream<Result<v1::DemandsReply, Status>>;

    async fn demands(&self, _: Request<v1::DemandsRequest>) -> Result<Response<Self::DemandsStream>, Status> {
        Err(Status::unimplemented("not for workers"))
    }
}

#[tonic::async_trait]
impl Sites for Service {
    type SourceStream = ReceiverStream<Result<v1::SourceReply, Status>>;

    async fn source(&self, _: Request<v1::SourceRequest>) -> Result<Response<Self::SourceStream>, Status> {
        let address = self.givers.lock().unwrap().pop_front().unwrap_or_default();
        let (replies, stream) = mpsc::channel(1);
        replies.try_send(Ok(v1::SourceReply { address })).unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn hold(&self, request: Request<v1::HoldRequest>) -> Result<Response<v1::HoldReply>, Status> {
        let digests = digests_from_wire("digests", &request.into_inner().digests)?;
        self.offered.lock().unwrap().extend(digests);
        Ok(Response::new(v1::HoldReply {}))
    }
}
