//! Starting, serving and ending a coordinator.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2::action_cache_server::ActionCacheServer;
use bazel_remote_apis::build::bazel::remote::execution::v2::capabilities_server::CapabilitiesServer;
use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_server::ContentAddressableStorageServer;
use bazel_remote_apis::build::bazel::remote::execution::v2::execution_server::ExecutionServer;
use bazel_remote_apis::google::bytestream::byte_stream_server::ByteStreamServer;
use bazel_remote_apis::google::longrunning::operations_server::OperationsServer;
use thresh_cas::PackStore;
use thresh_core::fault::Fault;
use thresh_core::schedule::Policy;
use thresh_core::spread::SpreadPolicy;
use thresh_proto::v1::blobs_server::BlobsServer;
use thresh_proto::v1::records_server::RecordsServer;
use thresh_proto::v1::runs_server::RunsServer;
use thresh_proto::v1::sites_server::SitesServer;
use thresh_proto::v1::work_server::WorkServer;
use thresh_proto::{Connections, MESSAGE_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router, TcpIncoming};

use crate::bucket::{Bucket, BucketAddress, BucketError};
use crate::clock::Clock;
use crate::committer;
use crate::demand::Demands;
use crate::driver::{self, JournalState, KEPT_AFTER_END, Outlet, Start};
use crate::engine::Engine;
use crate::external::ExternalCache;
use crate::peers::Peers;
use crate::reapi::{
    self, ActionCacheService, ByteStreamService, CapabilitiesService, CasService, ExecutionService,
    OperationsService, Reapi,
};
use crate::recorder::Recorder;
use crate::remote::RemoteAddress;
use crate::restore::restore;
use crate::services::{BlobsService, RecordsService, RunsService, Shared, SitesService, WorkService};
use crate::store::{Leadership, Location, SqlStore, Store, StoreError};
use crate::sweeper;

/// The database, within the data folder.
const DATABASE: &str = "thresh.db";

/// The folder of blobs, within the data folder.
pub const BLOBS: &str = "blobs";

/// A connection that is silent for this long is asked whether it lives,
const KEEPALIVE: Duration = Duration::from_secs(20);

/// and closed when there is no answer for this long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a peer may send ahead, per stream and per connection, in bytes.
const WINDOW_BYTES: u32 = 4 << 20;
/// Bytes that come in one piece: with HTTP/2's 16 KiB a blob costs its sender a call of the system for each of these.
const FRAME_BYTES: u32 = 256 << 10;

/// How long connections have to end by themselves on shutdown.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// What a coordinator is started with.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// The folder of its blobs, and of its database where `store` is absent; made if absent.
    pub data_dir: PathBuf,
    /// Where the database is, if not in the folder.
    pub store: Option<Location>,
    /// The scheduler's settings.
    pub policy: Policy,
    /// How many bytes its blobs may have. `None`: take only runs whose worker shares the client's files; no blobs are
    /// kept.
    pub blobs: Option<u64>,
    /// An S3-compatible store in which the blobs are kept besides, and read by workers.
    pub bucket: Option<BucketAddress>,
    /// A cache of the Remote Execution API in which passes are looked up and stored besides.
    pub reuse_from: Option<RemoteAddress>,
    /// An engine whose slots take runs beside workers.
    pub engine: Option<Engine>,
    /// The program's version, for messages.
    pub version: String,
}

/// Why a coordinator cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be made.
    #[error("create folder {path}: {cause}; set THRESH_HOME to a folder that can be written", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blobs cannot be used.
    #[error(transparent)]
    Blobs(#[from] thresh_cas::PackError),
    /// The object store cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The address of the cache is none.
    #[error("use the cache that passes are reused from: {0}")]
    Cache(#[from] tonic::transport::Error),
}

impl StartError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Folder { .. } => Fault::Environment,
            Self::Store(error) => error.fault(),
            Self::Blobs(error) => error.fault(),
            Self::Bucket(error) => error.fault(),
            Self::Cache(_) => Fault::Input,
        }
    }

    /// Whether it may pass by itself within minutes, so that trying again makes sense.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Bucket(error) => error.fault() == Fault::Environment,
            _ => false,
        }
    }
}

/// Why connections are no longer served.
#[derive(Debug, thiserror::Error)]
#[error("serve connections: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

impl ServeError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::Environment
    }
}

/// A running coordinator. Clones are the same one. [`shutdown`](Self::shutdown) ends it; one that is merely
/// dropped may lose the last moments of history.
#[derive(Clone)]
pub struct Coordinator {
    shared: Shared,
    stopping: Arc<watch::Sender<bool>>,
    stale_reports: Arc<AtomicU64>,
    /// Those of an engine.
    slots: Arc<Mutex<JoinSet<()>>>,
    standing: Arc<Standing>,
}

/// By what right it acts.
enum Standing {
    /// It serves its own process only.
    Private,
    /// It leads a farm, as long as nobody else does.
    Leading(Leadership, watch::Receiver<JournalState>),
}

impl Coordinator {
    /// Opens the store and starts the driver. One that serves a farm first waits until no other coordinator
    /// leads on the store, and then carries on the runs that it finds there. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the data folder, the database or the blobs cannot be used.
    pub fn start(config: CoordinatorConfig) -> impl Future<Output = Result<Self, StartError>> + Send {
        here(Self::begin(config))
    }

    async fn begin(config: CoordinatorConfig) -> Result<Self, StartError> {
        let CoordinatorConfig {
            data_dir,
            store,
            policy,
            blobs: blobs_bytes_max,
            bucket,
            reuse_from,
            engine,
            version,
        } = config;
        let in_place_only = blobs_bytes_max.is_none();
        let folder = |cause| StartError::Folder {
            path: data_dir.clone(),
            cause,
        };
        std::fs::create_dir_all(&data_dir).map_err(folder)?;
        let at = store.unwrap_or_else(|| data_dir.join(DATABASE).into());
        let store: Arc<dyn Store> = Arc::new(SqlStore::open(at).await?);
        let leadership = if in_place_only {
            None
        } else {
            Some(store.lead().await?)
        };
        let blobs = if in_place_only {
            None
        } else {
            Some(open_blobs(&data_dir).await?)
        };
        let clock = Clock::start();
        let bucket = match (bucket, &blobs) {
            (Some(address), Some(blobs)) => Some(Bucket::open(address, blobs.clone(), clock).await?),
            _ => None,
        };
        let external = reuse_from.map(ExternalCache::new).transpose()?;
        let recorder = Recorder::start(store.clone(), clock, external.clone());
        let (standing, outlet, restored) = match leadership {
            // A process that serves only itself has no successor.
            None => (Standing::Private, Outlet::Open(recorder.clone()), Vec::new()),
            Some(leadership) => {
                let ended_since = clock.now().before(KEPT_AFTER_END);
                let restored = restore(&*store, &recorder, ended_since).await?;
                let (outlet, state) = committer::start(store.clone(), recorder.clone(), leadership.epoch());
                (Standing::Leading(leadership, state), outlet, restored)
            }
        };
        let (driver, stale_reports) = driver::start(Start {
            policy,
            version: version.clone(),
            // Only the jitter of retry delays hangs on it.
            seed: RandomState::new().hash_one(clock.now()),
            epoch: standing.epoch(),
            clock,
            recorder: recorder.clone(),
            outlet,
            restored,
        });
        if let (Some(blobs), Some(bytes_max)) = (&blobs, blobs_bytes_max) {
            sweeper::start(blobs.clone(), bytes_max, driver.clone(), clock);
        }
        if let Some(bucket) = &bucket {
            bucket.start_upkeep(driver.clone());
        }
        let slots = match &engine {
            // It refuses nobody before it has begun.
            Some(engine) => engine.start(&driver, clock).await.unwrap_or_default(),
            None => JoinSet::new(),
        };
        Ok(Self {
            slots: Arc::new(Mutex::new(slots)),
            shared: Shared {
                driver,
                recorder,
                store,
                blobs,
                bucket,
                engine,
                demands: Demands::default(),
                peers: Peers::new(SpreadPolicy::default(), clock),
                external,
                clock,
                version,
            },
            stopping: Arc::new(watch::Sender::new(false)),
            stale_reports,
            standing: Arc::new(standing),
        })
    }

    /// Waits until another coordinator leads in this one's place, or may: then nothing leaves this one any more,
    /// and [`give_up`](Self::give_up) is all that is left to do.
    pub async fn superseded(&self) {
        match &*self.standing {
            Standing::Private => std::future::pending().await,
            Standing::Leading(leadership, state) => {
                let mut state = state.clone();
                let is_superseded = |state: &JournalState| matches!(state, JournalState::Superseded(_));
                tokio::select! {
                    // It panicked, or is shutting down: whatever it was, another one can carry on.
                    () = self.shared.driver.ended() => {}
                    () = leadership.lost() => {}
                    // An error means that the committer has ended, which it does only then.
                    _ = state.wait_for(is_superseded) => {}
                }
            }
        }
    }

    /// Serves connections that a listener accepts, until [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// When serving fails as a whole; a broken connection is no error.
    pub fn serve(
        &self,
        listener: TcpListener,
    ) -> impl Future<Output = Result<(), ServeError>> + Send + use<> {
        here(self.serve_connections(TcpIncoming::from(listener).with_nodelay(Some(true))))
    }

    /// Serves connections within this process, until [`shutdown`](Self::shutdown) or until the stream and the
    /// connections have ended.
    ///
    /// # Errors
    /// When serving fails as a whole; a broken connection is no error.
    pub fn serve_in_process(
        &self,
        connections: Connections,
    ) -> impl Future<Output = Result<(), ServeError>> + Send + use<> {
        here(self.serve_connections(connections))
    }

    fn serve_connections<I, C>(
        &self,
        connections: I,
    ) -> impl Future<Output = Result<(), ServeError>> + Send + use<I, C>
    where
        I: Stream<Item = io::Result<C>> + Send + 'static,
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let router = self.router();
        let (signal, closing) = (self.stopping.subscribe(), self.stopping.subscribe());
        async move {
            tokio::select! {
                served = router.serve_with_incoming_shutdown(connections, stopped(signal)) => Ok(served?),
                () = async { stopped(closing).await; tokio::time::sleep(CLOSING_TIME).await } => Ok(()),
            }
        }
    }

    /// How many reports of workers were refused since the start because their lease had ended.
    pub fn stale_reports(&self) -> u64 {
        self.stale_reports.load(Ordering::Relaxed)
    }

    fn router(&self) -> Router {
        let runs = RunsServer::new(RunsService::new(self.shared.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let records = RecordsServer::new(RecordsService::new(self.shared.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let work = WorkServer::new(WorkService::new(self.shared.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let blobs = BlobsServer::new(BlobsService::new(self.shared.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let router = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .add_service(runs)
            .add_service(SitesServer::new(SitesService::new(self.shared.clone())))
            .add_service(records)
            .add_service(work)
            .add_service(blobs);
        match Reapi::new(&self.shared) {
            Some(reapi) => serve_reapi(router, &reapi),
            None => router,
        }
    }

    /// Ends the coordinator: workers are disconnected, what is not yet written is written. Runs that go on end
    /// without a verdict in one's own process; on a farm the next coordinator carries them on.
    pub fn shutdown(self) -> impl Future<Output = ()> + Send {
        here(self.end(true))
    }

    /// Ends a coordinator that was superseded: everyone is disconnected at once, and finds the other.
    pub fn give_up(self) -> impl Future<Output = ()> + Send {
        here(self.end(false))
    }

    async fn end(self, orderly: bool) {
        self.shared.driver.shutdown(orderly).await;
        self.stopping.send_replace(true);
        let mut slots = std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        // They cancel what goes on at the engine.
        let ended = async { while slots.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSING_TIME, ended).await.is_err() {
            tracing::warn!("the engine does not say that it cancels; actions may go on there");
        }
        if orderly {
            if let Some(external) = &self.shared.external {
                external.flush().await;
            }
            // The driver has had everything written by now; what requests that are still being handled add (the
            // use of passes) can be lost.
            self.shared.store.close().await;
        }
    }
}

impl Standing {
    fn epoch(&self) -> u32 {
        match self {
            Self::Private => 0,
            Self::Leading(leadership, _) => leadership.epoch(),
        }
    }
}

/// Work in a box is compiled in this crate, as it is to be; the rest of an `async fn` in each that waits for it.
fn here<'a, T>(work: impl Future<Output = T> + Send + 'a) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
    Box::pin(work)
}

/// Adds the Remote Execution API.
fn serve_reapi(router: Router, reapi: &Reapi) -> Router {
    let cas = ContentAddressableStorageServer::new(CasService::new(reapi.clone()))
        .max_decoding_message_size(reapi::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(reapi::MESSAGE_BYTES_MAX);
    let streams = ByteStreamServer::new(ByteStreamService::new(reapi.clone()))
        .max_decoding_message_size(reapi::STREAM_MESSAGE_BYTES_MAX);
    let results = ActionCacheServer::new(ActionCacheService::new(reapi.clone()))
        .max_decoding_message_size(reapi::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(reapi::MESSAGE_BYTES_MAX);
    router
        .add_service(CapabilitiesServer::new(CapabilitiesService))
        .add_service(cas)
        .add_service(streams)
        .add_service(results)
        .add_service(ExecutionServer::new(ExecutionService::new(reapi.clone())))
        .add_service(OperationsServer::new(OperationsService::new(reapi.clone())))
}

async fn stopped(mut signal: watch::Receiver<bool>) {
    // An error means that the coordinator is gone, too.
    let _ = signal.wait_for(|stopping| *stopping).await;
}

async fn open_blobs(data_dir: &Path) -> Result<PackStore, StartError> {
    let folder = data_dir.join(BLOBS);
    let opened = tokio::task::spawn_blocking(move || PackStore::open(&folder)).await;
    Ok(opened.expect("opening the blobs is not cancelled and does not panic")?)
}
