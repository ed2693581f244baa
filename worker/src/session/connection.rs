//! The stream to the coordinator, from its first word to the welcome.

use std::time::{Duration, Instant};

use thresh_core::session::Terms;
use thresh_proto::causes;
use thresh_proto::convert::duration_from_wire;
use thresh_proto::v1::work_client::WorkClient;
use thresh_proto::v1::{CoordinatorMessage, WorkerHello, WorkerMessage};
use thresh_proto::v1::{coordinator_message, worker_message};
use thresh_proto::{MESSAGE_BYTES_MAX, PROTOCOL};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::coordinator::Coordinator;
use super::error::WorkerError;

/// The coordinator must welcome the worker within this time.
const WELCOME_MAX: Duration = Duration::from_secs(10);
/// Messages that wait for the network. Further ones wait in the outbox, where reports are gathered.
const OUTBOUND_MAX: usize = 4;

/// A stream on which the worker was welcomed.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) inbound: Streaming<CoordinatorMessage>,
    pub(super) outbound: mpsc::Sender<WorkerMessage>,
    pub(super) terms: Terms,
    /// When it said hello.
    pub(super) greeted: Instant,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    /// It may work later.
    Yet(String),
    /// It never will.
    Ever(WorkerError),
}

/// Connects and says hello.
pub(super) async fn connect(
    coordinator: &Coordinator,
    hello: WorkerHello,
) -> Result<Connection, NoConnection> {
    let channel = coordinator
        .connect()
        .await
        .map_err(|error| NoConnection::Yet(causes(&*error)))?;
    let mut client = WorkClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
    let hello = WorkerMessage {
        message: Some(worker_message::Message::Hello(hello)),
    };
    outbound
        .try_send(hello)
        .expect("a new channel has room for one message");
    let greeted = Instant::now();
    let welcomed = tokio::time::timeout(WELCOME_MAX, async {
        let mut inbound = client.session(ReceiverStream::new(messages)).await?.into_inner();
        let first = inbound.message().await?;
        Ok((inbound, first))
    });
    match welcomed.await {
        Err(_) => Err(NoConnection::Yet(format!(
            "no welcome within {} s",
            WELCOME_MAX.as_secs()
        ))),
        Ok(Err(status)) => Err(refused(coordinator, &status)),
        Ok(Ok((inbound, first))) => {
            let terms = terms(first).map_err(|cause| {
                NoConnection::Ever(WorkerError::NoCoordinator {
                    address: coordinator.address().into(),
                    cause,
                })
            })?;
            Ok(Connection {
                inbound,
                outbound,
                terms,
                greeted,
            })
        }
    }
}

fn terms(first: Option<CoordinatorMessage>) -> Result<Terms, String> {
    let Some(coordinator_message::Message::Welcome(welcome)) = first.and_then(|first| first.message) else {
        return Err("its first message is no welcome".to_owned());
    };
    let read = |field, duration| duration_from_wire(field, duration).map_err(|error| error.to_string());
    let terms = Terms {
        heartbeat: read("welcome.heartbeat", welcome.heartbeat)?,
        lease_ttl: read("welcome.lease_ttl", welcome.lease_ttl)?,
    };
    if terms.heartbeat.is_zero() || terms.lease_ttl <= terms.heartbeat {
        return Err(format!(
            "it asks for a heartbeat every {:?} within {:?}",
            terms.heartbeat, terms.lease_ttl
        ));
    }
    Ok(terms)
}

fn refused(coordinator: &Coordinator, status: &Status) -> NoConnection {
    let address = coordinator.address().to_owned();
    let cause = said(status);
    NoConnection::Ever(match status.code() {
        Code::FailedPrecondition => WorkerError::VersionMismatch {
            address,
            version: env!("CARGO_PKG_VERSION"),
            protocol: PROTOCOL,
            cause,
        },
        Code::InvalidArgument | Code::Unauthenticated | Code::PermissionDenied => {
            WorkerError::Refused { address, cause }
        }
        Code::Unimplemented => WorkerError::NoCoordinator { address, cause },
        _ => return NoConnection::Yet(cause),
    })
}

/// What a status says, with its causes where the connection made it.
pub(super) fn said(status: &Status) -> String {
    let cause = std::error::Error::source(status).map(causes);
    match (status.message(), cause) {
        ("", None) => status.code().to_string(),
        ("", Some(cause)) => cause,
        (message, Some(cause)) if !message.contains(&cause) => format!("{message}: {cause}"),
        (message, _) => message.to_owned(),
    }
}
