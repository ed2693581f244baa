//! The coordinator's side of the session: it gives one lease and hears what becomes of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use thresh_proto::convert::duration_to_wire;
use thresh_proto::v1::coordinator_message::Message as Order;
use thresh_proto::v1::work_server::{Work, WorkServer};
use thresh_proto::v1::worker_message::Message;
use thresh_proto::v1::worker_report::Report;
use thresh_proto::v1::{self, CoordinatorMessage, ShardReports, WorkerMessage, WorkerReport};
use thresh_proto::{MESSAGE_BYTES_MAX, in_process};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::session::Coordinator;

/// Both sides live and die together: silence only means that the machine stood still.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

type Outgoing = Result<CoordinatorMessage, Status>;

/// With so many bytes to say, what has not started comes back: whoever reads the reports has them in memory.
const REPORTS_BYTES_MAX: usize = 128 << 20;

/// A coordinator that gives one lease.
#[derive(Clone, Debug)]
pub(super) struct Script {
    run: v1::RunBrief,
    lease: v1::Lease,
    heard: Arc<Mutex<Heard>>,
    done: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct Heard {
    reports: ShardReports,
    bytes: usize,
    /// Cases of which it is not known what became of them.
    open: BTreeSet<u32>,
}

impl Script {
    pub(super) fn new(run: v1::RunBrief, lease: v1::Lease) -> Self {
        let heard = Heard {
            open: lease.cases.iter().map(|case| case.case).collect(),
            ..Heard::default()
        };
        Self {
            run,
            lease,
            heard: Arc::new(Mutex::new(heard)),
            done: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Serves one worker, in tasks of their own, and tells how it is reached.
    pub(super) fn serve(&self) -> Coordinator {
        let (dialer, connections) = in_process();
        let work = WorkServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let served = Server::builder()
            .add_service(work)
            .serve_with_incoming(connections);
        tokio::spawn(served);
        Coordinator::by("the shard", move || {
            let dialer = dialer.clone();
            async move { dialer.dial().await.map_err(Into::into) }
        })
    }

    /// Waits until it is known what became of every case.
    pub(super) async fn done(&self) {
        let mut done = self.done.subscribe();
        // An error cannot be: the sender is here.
        let _ = done.wait_for(|done| *done).await;
    }

    /// What the worker reported.
    pub(super) fn reports(&self) -> ShardReports {
        std::mem::take(&mut self.heard().reports)
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes back what has not started.
    fn rest(&self) -> v1::Revoke {
        v1::Revoke {
            run_id: self.lease.run_id.clone(),
            cases: Vec::new(),
            kill_running: false,
        }
    }

    fn hear_hello(&self, hello: v1::WorkerHello) {
        let reports = &mut self.heard().reports;
        reports.remap_cause = hello.remap_cause.unwrap_or_default();
        reports.isolation_shortfalls = hello.isolation_shortfalls;
    }

    /// Returns whether there is room for what further cases may say.
    fn hear(&self, report: WorkerReport) -> bool {
        let mut heard = self.heard();
        match &report.report {
            Some(Report::Attempt(attempt)) => {
                heard.open.remove(&attempt.case);
            }
            Some(Report::Returned(returned)) => {
                for case in &returned.cases {
                    heard.open.remove(&case.case);
                }
            }
            Some(Report::SetupScript(_)) => {}
            // Nobody is there to be told while it lasts.
            Some(Report::Started(_) | Report::Slow(_)) | None => return true,
        }
        heard.bytes += report.encoded_len();
        heard.reports.reports.push(report);
        if heard.open.is_empty() {
            self.done.send_replace(true);
        }
        heard.bytes < REPORTS_BYTES_MAX
    }

    async fn listen(self, mut messages: Streaming<WorkerMessage>, outbound: mpsc::UnboundedSender<Outgoing>) {
        while let Ok(Some(message)) = messages.message().await {
            match message.message {
                Some(Message::Batch(batch)) => {
                    // Not lazily: all of them are to be heard.
                    let room: Vec<bool> = batch
                        .reports
                        .into_iter()
                        .map(|report| self.hear(report))
                        .collect();
                    if room.contains(&false) {
                        tell(&outbound, Order::Revoke(self.rest()));
                    }
                }
                Some(Message::Heartbeat(beat)) => {
                    let reply = v1::HeartbeatReply {
                        sent_micros: beat.sent_micros,
                    };
                    tell(&outbound, Order::Heartbeat(reply));
                }
                // What it gives up comes back in reports.
                Some(Message::Cordon(_) | Message::Hello(_)) | None => {}
            }
        }
    }
}

fn tell(outbound: &mpsc::UnboundedSender<Outgoing>, order: Order) {
    // Fails only when the worker has gone.
    let _ = outbound.send(Ok(CoordinatorMessage { message: Some(order) }));
}

#[tonic::async_trait]
impl Work for Script {
    type SessionStream = UnboundedReceiverStream<Outgoing>;

    async fn session(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|first| first.message);
        let Some(Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the worker did not say hello"));
        };
        self.hear_hello(hello);
        let (outbound, stream) = mpsc::unbounded_channel();
        let welcome = v1::Welcome {
            heartbeat: Some(duration_to_wire(NEVER / 2)),
            lease_ttl: Some(duration_to_wire(NEVER)),
            worker_id: 1,
            coordinator_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        tell(&outbound, Order::Welcome(welcome));
        tell(&outbound, Order::Run(self.run.clone()));
        tell(&outbound, Order::Lease(self.lease.clone()));
        tokio::spawn(self.clone().listen(messages, outbound));
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }
}
