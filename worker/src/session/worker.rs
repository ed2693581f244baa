//! The worker's task, from its start to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use thresh_proto::PROTOCOL;
use thresh_proto::v1::WorkerHello;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::backoff::Backoff;
use super::config::{InputsMode, WorkerConfig};
use super::connection::{Connection, NoConnection, connect};
use super::coordinator::Coordinator;
use super::error::WorkerError;
use super::serve::{End, serve};
use crate::exec;
use crate::inputs::Inputs;
use crate::slots::Pool;

/// After a session that lasted this long the next connection is tried without a long wait.
const STABLE: Duration = Duration::from_secs(5);
/// How often orphans are reaped.
const REAP_EVERY: Duration = Duration::from_secs(5);

/// A worker.
#[derive(Debug)]
pub struct Worker;

/// What the worker has been told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Work,
    Drain,
    Stop,
}

/// A started worker. Dropping it stops the worker.
#[derive(Debug)]
pub struct WorkerHandle {
    order: watch::Sender<Order>,
    task: JoinHandle<Result<(), WorkerError>>,
}

/// What all sessions of a worker share.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: WorkerConfig,
    pub(super) coordinator: Coordinator,
    pub(super) inputs: Inputs,
    pub(super) pool: Pool,
    /// Names this process to coordinators.
    pub(super) process: u64,
    /// How often it has greeted one.
    pub(super) greetings: AtomicU64,
}

impl Worker {
    /// Starts a worker in a task of its own. To be called within a tokio runtime. What goes wrong is said by
    /// [`WorkerHandle::ended`].
    pub fn start(coordinator: Coordinator, config: WorkerConfig) -> WorkerHandle {
        let (order, told) = watch::channel(Order::Work);
        WorkerHandle {
            order,
            task: tokio::spawn(work(coordinator, config, told)),
        }
    }
}

impl WorkerHandle {
    /// Lets the worker finish what runs, give back the rest, and leave.
    pub fn drain(&self) {
        self.tell(Order::Drain);
    }

    /// Kills everything that runs and leaves.
    pub fn stop(&self) {
        self.tell(Order::Stop);
    }

    /// Waits until the worker has ended: nothing of it runs any more.
    ///
    /// # Errors
    ///
    /// When it ended although it was not told to.
    pub async fn ended(&mut self) -> Result<(), WorkerError> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(ended) => Err(WorkerError::Internal(ended.to_string())),
        }
    }

    fn tell(&self, order: Order) {
        self.order.send_if_modified(|now| {
            let further = order > *now;
            *now = (*now).max(order);
            further
        });
    }
}

async fn work(
    coordinator: Coordinator,
    config: WorkerConfig,
    mut told: watch::Receiver<Order>,
) -> Result<(), WorkerError> {
    if config.slots == 0 {
        return Err(WorkerError::NoSlots);
    }
    let reaping = if config.dedicated {
        Some(adopt_orphans()?)
    } else {
        None
    };
    let parts = Arc::new(open(coordinator, config).await?);
    let result = sessions(&parts, &mut told).await;
    if let Some(reaping) = reaping {
        reaping.abort();
    }
    close(parts).await;
    result
}

/// Opens what may block on a thread for that.
async fn open(coordinator: Coordinator, config: WorkerConfig) -> Result<Parts, WorkerError> {
    let opening = tokio::task::spawn_blocking(move || {
        let inputs = Inputs::open(&config.inputs, &coordinator, config.output_limit)?;
        let pool = Pool::start(config.slots, config.observe).map_err(|cause| WorkerError::System {
            action: "start the threads of the slots",
            cause,
        })?;
        Ok(Parts {
            config,
            coordinator,
            inputs,
            pool,
            process: uuid::Uuid::new_v4().as_u64_pair().0,
            greetings: AtomicU64::new(0),
        })
    });
    opening
        .await
        .unwrap_or_else(|ended| Err(WorkerError::Internal(ended.to_string())))
}

/// Ends the slots' threads and waits until the folders of all runs are gone.
async fn close(parts: Arc<Parts>) {
    let closing = tokio::task::spawn_blocking(move || {
        if let Some(parts) = Arc::into_inner(parts) {
            drop(parts.pool);
            parts.inputs.close();
        }
    });
    if let Err(ended) = closing.await {
        tracing::error!("the worker's folders could not be cleaned: {ended}");
    }
}

fn adopt_orphans() -> Result<JoinHandle<()>, WorkerError> {
    exec::become_subreaper().map_err(|cause| WorkerError::System {
        action: "become the parent of orphaned processes",
        cause,
    })?;
    Ok(tokio::spawn(async {
        let mut every = tokio::time::interval(REAP_EVERY);
        loop {
            every.tick().await;
            if tokio::task::spawn_blocking(exec::reap_orphans).await.is_err() {
                return;
            }
        }
    }))
}

async fn sessions(parts: &Arc<Parts>, told: &mut watch::Receiver<Order>) -> Result<(), WorkerError> {
    let mut backoff = Backoff::default();
    loop {
        let Some(connection) = reach(parts, told, &mut backoff).await? else {
            return Ok(());
        };
        tracing::info!(coordinator = parts.coordinator.address(), "connected");
        let began = Instant::now();
        match serve(parts, connection, told).await {
            End::Left => return Ok(()),
            End::Over(cause) => {
                let address = parts.coordinator.address().to_owned();
                if !parts.config.reconnect {
                    return Err(WorkerError::Lost { address, cause });
                }
                tracing::warn!("the session with {address} is over: {cause}; everything was killed");
            }
        }
        if began.elapsed() >= STABLE {
            backoff.reset();
        }
        // Also after a short session: what ends each session at once must not be hammered.
        if pause(backoff.next(), told).await.is_err() {
            return Ok(());
        }
    }
}

/// Connects, as often as it takes. `None` when the worker is to leave.
async fn reach(
    parts: &Parts,
    told: &mut watch::Receiver<Order>,
    backoff: &mut Backoff,
) -> Result<Option<Connection>, WorkerError> {
    let (began, mut tries) = (Instant::now(), 0);
    loop {
        tries += 1;
        let connected = tokio::select! {
            biased;
            () = told_to_leave(told) => return Ok(None),
            connected = connect(&parts.coordinator, hello(parts)) => connected,
        };
        let cause = match connected {
            Ok(connection) => return Ok(Some(connection)),
            Err(NoConnection::Ever(error)) => return Err(error),
            Err(NoConnection::Yet(cause)) => cause,
        };
        let (address, tried_for) = (parts.coordinator.address().to_owned(), began.elapsed());
        if !parts.config.reconnect || tried_for >= parts.config.patience {
            return Err(WorkerError::Unreachable {
                address,
                tries,
                tried_for,
                cause,
            });
        }
        let delay = backoff.next();
        tracing::warn!(?delay, "the coordinator at {address} cannot be reached: {cause}");
        if pause(delay, told).await.is_err() {
            return Ok(None);
        }
    }
}

/// The worker was told to leave.
struct Leave;

async fn pause(delay: Duration, told: &mut watch::Receiver<Order>) -> Result<(), Leave> {
    tokio::select! {
        biased;
        () = told_to_leave(told) => Err(Leave),
        () = tokio::time::sleep(delay) => Ok(()),
    }
}

async fn told_to_leave(told: &mut watch::Receiver<Order>) {
    // An error means that the handle is gone, and with it the wish for a worker.
    let _ = told.wait_for(|order| *order > Order::Work).await;
}

fn hello(parts: &Parts) -> WorkerHello {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    WorkerHello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: parts.config.name.clone(),
        slots: parts.config.slots,
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        platform: parts.config.platform.clone(),
        in_place: matches!(parts.config.inputs, InputsMode::InPlace),
        remap_cause: parts.inputs.remap_cause().map(str::to_owned),
        isolation_shortfalls: parts.inputs.shortfalls().to_vec(),
        process: parts.process,
        connection: parts.greetings.fetch_add(1, Ordering::Relaxed) + 1,
    }
}
