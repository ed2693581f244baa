//! A farm inside the process: a coordinator and a worker, reached over in-memory streams.

use std::io;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use thresh_coordinator::{Coordinator, CoordinatorConfig, StartError};
use thresh_core::schedule::Policy;
use thresh_worker::{Worker, WorkerConfig, WorkerHandle};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// What one in-memory stream holds on its way, in bytes.
const STREAM_BYTES: usize = 1 << 20;

/// Client and worker live and die with the coordinator, so silence between them only means that the whole
/// process stood still: it was stopped by Ctrl-Z, or the machine slept.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A coordinator that can be connected to within the process.
pub(crate) struct Embedded {
    coordinator: Coordinator,
    dialer: Dialer,
}

/// Makes connections to the embedded coordinator.
#[derive(Clone)]
struct Dialer(mpsc::UnboundedSender<io::Result<DuplexStream>>);

impl Embedded {
    /// Starts the coordinator with its state in `home`.
    ///
    /// # Errors
    /// The state cannot be used.
    pub(crate) async fn start(home: &Path) -> Result<Self, StartError> {
        let config = CoordinatorConfig {
            data_dir: home.to_owned(),
            store: None,
            policy: Policy {
                lease_ttl: NEVER,
                client_grace: NEVER,
                restored_grace: NEVER,
                ..Policy::default()
            },
            blobs: None,
            version: crate::version::LONG.to_owned(),
        };
        let coordinator = Coordinator::start(config).await?;
        // Unbounded: one connection for the client and one for each session of the worker.
        let (sender, connections) = mpsc::unbounded_channel();
        tokio::spawn(coordinator.serve_connections(UnboundedReceiverStream::new(connections)));
        Ok(Self {
            coordinator,
            dialer: Dialer(sender),
        })
    }

    /// Connects a client.
    ///
    /// # Errors
    /// The coordinator has stopped.
    pub(crate) async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        self.dialer.dial().await
    }

    /// Starts a worker that executes where the client's files are.
    pub(crate) fn start_worker(&self, slots: u32, platform: &str) -> WorkerHandle {
        let dialer = self.dialer.clone();
        let coordinator = thresh_worker::Coordinator::by("this process", move || {
            let dialer = dialer.clone();
            async move { dialer.dial().await.map_err(Into::into) }
        });
        Worker::start(coordinator, WorkerConfig::in_place("local", slots, platform))
    }

    /// Ends the coordinator; everything that it was told is on disk afterwards.
    pub(crate) async fn shutdown(self) {
        self.coordinator.shutdown().await;
    }
}

impl Dialer {
    async fn dial(&self) -> Result<Channel, tonic::transport::Error> {
        let connections = self.0.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (ours, theirs) = tokio::io::duplex(STREAM_BYTES);
            let sent = connections.send(Ok(theirs));
            async move {
                sent.map(|()| TokioIo::new(ours))
                    .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))
            }
        });
        Endpoint::from_static("http://embedded")
            .connect_with_connector(connector)
            .await
    }
}
