//! A played worker's connection.

use super::session::{Pace, Played};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use thresh_proto::v1::coordinator_message::Message as Told;
use thresh_proto::v1::work_client::WorkClient;
use thresh_proto::v1::worker_message::Message;
use thresh_proto::{MESSAGE_BYTES_MAX, PROTOCOL, v1};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Messages that wait for the network, as a real worker has it.
const OUTBOUND_MAX: usize = 4;

/// While every slot is busy, reports wait until the last message is this old, as a real worker has it.
const PACE: Duration = Duration::from_millis(3);

/// What a worker saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When its first lease came.
    pub(super) first_lease: Option<Instant>,
    /// How long it took from sending an outcome to the case that came for it.
    ///
    /// Counted only where the outcome left its slot idle, since the worker held no further case, and everything
    /// that the worker had to say was sent. What the next lease brings is then the answer to it: as many cases as
    /// slots were idle, in the order in which they became so.
    pub(super) waits: Vec<Duration>,
}

/// A worker that was welcomed.
pub(super) struct Worker {
    played: Played,
    inbound: Streaming<v1::CoordinatorMessage>,
    outbound: mpsc::Sender<v1::WorkerMessage>,
    seen: Seen,
    /// When the coordinator was told, by what was sent last, of each slot that is idle.
    idle: VecDeque<Instant>,
}

impl Worker {
    /// Connects and says hello.
    ///
    /// # Panics
    /// When it is not welcomed.
    pub(super) async fn connect(channel: Channel, hello: v1::WorkerHello, pace: Pace) -> Self {
        let slots = hello.slots;
        let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
        let hello = v1::WorkerMessage {
            message: Some(Message::Hello(hello)),
        };
        let began = Instant::now();
        (outbound.try_send(hello)).expect("a new channel has room for one message");
        let mut client = WorkClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let session = client.session(ReceiverStream::new(messages)).await;
        let mut inbound = session.expect("the coordinator takes the worker").into_inner();
        let first = inbound.message().await.expect("the coordinator answers");
        let Some(Told::Welcome(welcome)) = first.and_then(|first| first.message) else {
            panic!("the first message is no welcome");
        };
        Self {
            played: Played::new(&welcome, began, slots, pace),
            inbound,
            outbound,
            seen: Seen::default(),
            idle: VecDeque::new(),
        }
    }

    /// Serves until it is told to stop, by a change.
    ///
    /// # Panics
    /// When the connection breaks before.
    pub(super) async fn serve(mut self, mut stop: watch::Receiver<()>) -> Seen {
        let mut sent = Instant::now();
        loop {
            self.played.advance();
            let held_until = sent + PACE;
            let held = self.played.may_wait() && Instant::now() < held_until;
            if !held && self.send() {
                sent = Instant::now();
            }
            let due = self.played.due();
            let due = if held { due.min(held_until) } else { due };
            let heard = tokio::select! {
                biased;
                _ = stop.changed() => return self.seen,
                message = self.inbound.message() => Some(message),
                _ = self.outbound.reserve(), if !held && !self.played.is_empty() => None,
                () = tokio::time::sleep_until(due.into()) => None,
            };
            if let Some(message) = heard {
                self.receive(
                    message
                        .expect("the connection holds")
                        .expect("the stream goes on"),
                );
            }
        }
    }

    fn receive(&mut self, message: v1::CoordinatorMessage) {
        let now = Instant::now();
        let told = message.message.expect("a message says something");
        if let Told::Lease(_) = &told {
            self.seen.first_lease.get_or_insert(now);
        }
        let leased = self.played.receive(told);
        let answered = self.idle.drain(..leased.min(self.idle.len()));
        self.seen.waits.extend(answered.map(|since| now - since));
    }

    /// Hands over what can be sent now. Returns whether that was anything.
    fn send(&mut self) -> bool {
        let mut any = false;
        while !self.played.is_empty()
            && let Ok(permit) = self.outbound.try_reserve()
            && let Some(message) = self.played.take()
        {
            permit.send(message);
            any = true;
        }
        if self.played.is_empty() && self.seen.first_lease.is_some() {
            let more = self.played.idle().saturating_sub(self.idle.len());
            self.idle.extend(std::iter::repeat_n(Instant::now(), more));
        }
        any
    }
}

/// What a worker says of itself.
pub(super) fn hello(number: usize, slots: u32, platform: &str) -> v1::WorkerHello {
    v1::WorkerHello {
        protocol: PROTOCOL,
        version: "0.0.0-bench".into(),
        name: format!("worker-{number}"),
        slots,
        cpus: slots,
        platform: platform.to_owned(),
        in_place: false,
        remap_cause: None,
        isolation_shortfalls: Vec::new(),
        process: 0,
        connection: 0,
    }
}
