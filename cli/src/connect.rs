//! A channel to the farm that is asked for: one on the network, or one within the process.

use std::time::Duration;

use thresh_client::project::StateFolder;
use thresh_coordinator::{Engine, RemoteAddress};
use thresh_worker::WorkerHandle;
use tonic::transport::Channel;

use crate::embedded::Embedded;
use crate::failure::Failure;
use crate::farm_address::FarmAddress;

/// How often it is tried.
const TRIES: u32 = 3;

/// A connection, and what stands behind it in this process.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    embedded: Option<Embedded>,
    worker: Option<WorkerHandle>,
}

/// What executes cases for an embedded coordinator.
pub(crate) enum Muscle<'a> {
    /// A worker in this process, where the client's files are.
    Here {
        slots: u32,
        platform: &'a str,
        /// What cases read is observed.
        observe: bool,
    },
    /// An engine of the Remote Execution API.
    Engine(Engine),
}

impl Connection {
    /// Connects to `farm`, or to a coordinator within the process, which gets `muscle` and a cache of passes if they are given.
    ///
    /// # Errors
    /// The farm cannot be reached, or the state folder cannot be used.
    pub(crate) async fn open(
        farm: Option<&str>,
        state: &StateFolder,
        reuse_from: Option<RemoteAddress>,
        muscle: Option<Muscle<'_>>,
    ) -> Result<Self, Failure> {
        match farm {
            Some(farm) => Ok(Self {
                channel: connect(farm).await?,
                embedded: None,
                worker: None,
            }),
            None => Self::embed(state, reuse_from, muscle).await,
        }
    }

    async fn embed(
        state: &StateFolder,
        reuse_from: Option<RemoteAddress>,
        muscle: Option<Muscle<'_>>,
    ) -> Result<Self, Failure> {
        let (worker, engine) = match muscle {
            Some(Muscle::Here {
                slots,
                platform,
                observe,
            }) => (Some((slots, platform, observe)), None),
            Some(Muscle::Engine(engine)) => (None, Some(engine)),
            None => (None, None),
        };
        let embedded = Embedded::start(&state.coordinator(), reuse_from, engine).await;
        let embedded = embedded.map_err(|error| Failure::of(error.fault(), &error))?;
        let channel = embedded.connect().await;
        let channel =
            channel.map_err(|cause| Failure::internal(format!("reach the embedded coordinator: {cause}")))?;
        let worker = worker.map(|(slots, platform, observe)| embedded.start_worker(slots, platform, observe));
        Ok(Self {
            channel,
            embedded: Some(embedded),
            worker,
        })
    }

    /// Ends what stands behind the connection; every process of a case is dead afterwards.
    pub(crate) async fn close(self) {
        drop(self.channel);
        if let Some(mut worker) = self.worker {
            worker.stop();
            // It is ended either way; what it could complain of now concerns no run.
            let _ = worker.ended().await;
        }
        if let Some(embedded) = self.embedded {
            embedded.shutdown().await;
        }
    }
}

async fn connect(text: &str) -> Result<Channel, Failure> {
    let farm: FarmAddress = text
        .parse()
        .map_err(|cause| Failure::input(format!("reach the farm: {cause}")))?;
    let mut wait = Duration::from_millis(100);
    let mut tries = 0;
    loop {
        tries += 1;
        match farm.connect().await {
            Ok(channel) => return Ok(channel),
            Err(cause) if tries == TRIES => {
                return Err(Failure::environment(format!(
                    "reach the farm at {farm}: {} (tried {TRIES} times); check the address, and that `thresh \
                     coordinator` runs there",
                    thresh_proto::causes(&cause)
                )));
            }
            Err(_) => tokio::time::sleep(wait).await,
        }
        wait *= 4;
    }
}
