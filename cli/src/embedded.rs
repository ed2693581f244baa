//! A farm inside the process: a coordinator and a worker, reached over in-memory streams.

use std::path::Path;
use std::time::Duration;

use thresh_coordinator::{Coordinator, CoordinatorConfig, Engine, RemoteAddress, StartError};
use thresh_core::schedule::Policy;
use thresh_proto::{Dialer, in_process};
use thresh_worker::{Worker, WorkerConfig, WorkerHandle};
use tonic::transport::Channel;

/// Client and worker live and die with the coordinator, so silence between them only means that the whole
/// process stood still: it was stopped by Ctrl-Z, or the machine slept.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An action costs more than a case on a worker's slot, so shards are longer; nothing joins later, so a run that all slots
/// have given up ends soon. A second copy of a case that takes long would be a second action behind the same queue.
fn for_an_engine(policy: Policy) -> Policy {
    Policy {
        lookahead: Duration::from_secs(2),
        lookahead_max: Duration::from_secs(30),
        stranded_grace: Duration::from_secs(1),
        hedge: None,
        ..policy
    }
}

/// A coordinator that can be connected to within the process.
pub(crate) struct Embedded {
    coordinator: Coordinator,
    dialer: Dialer,
}

impl Embedded {
    /// Starts the coordinator with its state in `home`, and a cache of passes and an engine besides.
    ///
    /// # Errors
    /// The state cannot be used.
    pub(crate) async fn start(
        home: &Path,
        reuse_from: Option<RemoteAddress>,
        engine: Option<Engine>,
    ) -> Result<Self, StartError> {
        let policy = Policy {
            lease_ttl: NEVER,
            client_grace: NEVER,
            restored_grace: NEVER,
            ..Policy::default()
        };
        let policy = match &engine {
            Some(_) => for_an_engine(policy),
            None => policy,
        };
        let config = CoordinatorConfig {
            data_dir: home.to_owned(),
            store: None,
            policy,
            blobs: None,
            bucket: None,
            reuse_from,
            engine,
            version: crate::version::LONG.to_owned(),
        };
        let coordinator = Coordinator::start(config).await?;
        let (dialer, connections) = in_process();
        tokio::spawn(coordinator.serve_in_process(connections));
        Ok(Self { coordinator, dialer })
    }

    /// Connects a client.
    ///
    /// # Errors
    /// The coordinator has stopped.
    pub(crate) async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        self.dialer.dial().await
    }

    /// Starts a worker that executes where the client's files are.
    /// `observe`: it watches what they read.
    pub(crate) fn start_worker(&self, slots: u32, platform: &str, observe: bool) -> WorkerHandle {
        let dialer = self.dialer.clone();
        let coordinator = thresh_worker::Coordinator::by("this process", move || {
            let dialer = dialer.clone();
            async move { dialer.dial().await.map_err(Into::into) }
        });
        let config = WorkerConfig {
            observe,
            ..WorkerConfig::in_place("local", slots, platform)
        };
        Worker::start(coordinator, config)
    }

    /// Ends the coordinator; everything that it was told is on disk afterwards.
    pub(crate) async fn shutdown(self) {
        self.coordinator.shutdown().await;
    }
}
