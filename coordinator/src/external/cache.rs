//! Asking the cache, and telling it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2::action_cache_client::ActionCacheClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_client::ContentAddressableStorageClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    BatchUpdateBlobsRequest, GetActionResultRequest, UpdateActionResultRequest, batch_update_blobs_request,
};
use thresh_cas::BlobName;
use thresh_core::id::RunId;
use thresh_core::reuse::CaseKey;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Status};

use super::entry::{Entry, is_pass, result};
use crate::remote::{Patience, Remote, RemoteAddress, Takes, all_stored};

/// Passes that are stored at once.
const AT_ONCE: usize = 16;
/// What it does not answer costs reuse, no verdict.
const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(10),
    busy: Duration::from_secs(3),
    waits_for_connection: false,
};
/// A cache that did not say what it can do is asked again after this time.
const ASKED_EVERY: Duration = Duration::from_secs(60);
/// How long all lookups of a run together may take.
const LOOKUP_TIME: Duration = Duration::from_secs(60);
/// How long passes that are not yet stored hold up the end of the coordinator.
const CLOSING_TIME: Duration = Duration::from_secs(30);
/// Passes that wait to be stored. Beyond, they are not.
const WAITING_MAX: usize = 200_000;

/// A cache that others share. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct ExternalCache {
    inner: Arc<Inner>,
    passes: mpsc::Sender<Stored>,
}

#[derive(Debug)]
struct Inner {
    remote: Remote,
    abilities: Mutex<Abilities>,
    /// Whether it was said that the cache cannot be used.
    has_complained: AtomicBool,
}

/// What is known of a cache.
#[derive(Clone, Copy, Debug, Default)]
enum Abilities {
    #[default]
    Unasked,
    /// It did not say.
    Unknown {
        asked: Instant,
    },
    Known(Takes),
}

#[derive(Debug)]
enum Stored {
    Pass(CaseKey, RunId),
    /// Answered when all before it is stored.
    Flush(oneshot::Sender<()>),
}

impl ExternalCache {
    /// Begins to use a cache. It is connected to when it is first needed. Must be called within a tokio runtime.
    pub(crate) fn new(address: RemoteAddress) -> Result<Self, tonic::transport::Error> {
        let inner = Arc::new(Inner {
            remote: Remote::new(address, PATIENCE)?,
            abilities: Mutex::default(),
            has_complained: AtomicBool::new(false),
        });
        let (passes, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(store_all(inner.clone(), waiting));
        Ok(Self { inner, passes })
    }

    /// Returns for each key whether the cache has its pass.
    pub(crate) async fn find(&self, keys: &[CaseKey]) -> Vec<bool> {
        let mut found = vec![false; keys.len()];
        let Some(abilities) = self.inner.abilities(Instant::now()).await else {
            return found;
        };
        let (mut lookups, deadline) = (JoinSet::new(), Instant::now() + LOOKUP_TIME);
        for (position, key) in keys.iter().copied().enumerate() {
            let inner = self.inner.clone();
            lookups.spawn(async move { (position, inner.has(abilities, key).await) });
        }
        while let Ok(Some(looked)) = timeout_at(deadline, lookups.join_next()).await {
            match looked {
                Ok((position, Ok(has))) => found[position] = has,
                Ok((_, Err(status))) => {
                    self.inner.complain(&status);
                    return found;
                }
                Err(ended) => tracing::error!("a lookup ended early: {ended}"),
            }
        }
        if !lookups.is_empty() {
            let late = format!("it did not answer within {} s", LOOKUP_TIME.as_secs());
            self.inner.complain(&Status::deadline_exceeded(late));
        } else if !keys.is_empty() {
            self.inner.recovered();
        }
        found
    }

    /// Has a pass stored, sooner or later.
    pub(crate) fn store(&self, key: CaseKey, run: RunId) {
        // What is not stored is executed again.
        let _ = self.passes.try_send(Stored::Pass(key, run));
    }

    /// Waits until all passes are stored, for a while.
    pub(crate) async fn flush(&self) {
        let (done, stored) = oneshot::channel();
        let flushed = async {
            if self.passes.send(Stored::Flush(done)).await.is_ok() {
                let _ = stored.await;
            }
        };
        if timeout(CLOSING_TIME, flushed).await.is_err() {
            self.inner
                .complain(&Status::deadline_exceeded("passes are not stored in time"));
        }
    }
}

async fn store_all(inner: Arc<Inner>, mut waiting: mpsc::Receiver<Stored>) {
    let mut storing = JoinSet::new();
    while let Some(stored) = waiting.recv().await {
        match stored {
            Stored::Pass(key, run) => {
                if storing.len() >= AT_ONCE {
                    storing.join_next().await;
                }
                let inner = inner.clone();
                storing.spawn(async move {
                    let abilities = inner.abilities(Instant::now()).await;
                    if let Some(abilities) = abilities.filter(|abilities| abilities.results)
                        && let Err(status) = inner.put(abilities, key, run).await
                    {
                        inner.complain(&status);
                    }
                });
            }
            Stored::Flush(done) => {
                while storing.join_next().await.is_some() {}
                // Whoever waited may be gone.
                let _ = done.send(());
            }
        }
    }
}

impl Inner {
    /// What the cache can do; `None` while it cannot be used.
    async fn abilities(&self, now: Instant) -> Option<Takes> {
        // Who comes while it is asked waits for the answer.
        let mut abilities = self.abilities.lock().await;
        match *abilities {
            Abilities::Known(takes) => return Some(takes),
            Abilities::Unknown { asked } if now.saturating_duration_since(asked) < ASKED_EVERY => {
                return None;
            }
            Abilities::Unknown { .. } | Abilities::Unasked => {}
        }
        match self.ask_abilities().await {
            Ok(takes) => {
                *abilities = Abilities::Known(takes);
                self.recovered();
                Some(takes)
            }
            Err(status) => {
                *abilities = Abilities::Unknown { asked: now };
                self.complain(&status);
                None
            }
        }
    }

    async fn ask_abilities(&self) -> Result<Takes, Status> {
        let (_, takes) = self.remote.capabilities().await?;
        if !takes.results {
            let address = self.remote.address();
            tracing::info!("{address} is read only: passes are looked up there, none is stored");
        }
        Ok(takes)
    }

    async fn has(&self, abilities: Takes, key: CaseKey) -> Result<bool, Status> {
        let action = Entry::new(abilities.function, key).action;
        let request = GetActionResultRequest {
            instance_name: self.remote.instance(),
            action_digest: Some(action.to_wire()),
            inline_stdout: true,
            digest_function: abilities.function.to_wire().into(),
            ..GetActionResultRequest::default()
        };
        let found = self.remote.patiently(|| {
            let mut client = ActionCacheClient::new(self.remote.channel());
            let request = request.clone();
            async move { client.get_action_result(request).await }
        });
        match found.await {
            Ok(result) => Ok(is_pass(&result)),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status),
        }
    }

    async fn put(&self, abilities: Takes, key: CaseKey, run: RunId) -> Result<(), Status> {
        let entry = Entry::new(abilities.function, key);
        let blobs = entry
            .blobs
            .into_iter()
            .map(|(name, data)| batch_update_blobs_request::Request {
                digest: Some(BlobName::to_wire(&name)),
                data,
                compressor: 0,
            });
        let function = abilities.function.to_wire().into();
        let request = BatchUpdateBlobsRequest {
            instance_name: self.remote.instance(),
            requests: blobs.collect(),
            digest_function: function,
        };
        let put = self.remote.patiently(|| {
            let mut client = ContentAddressableStorageClient::new(self.remote.channel());
            let request = request.clone();
            async move { all_stored(client.batch_update_blobs(request).await?) }
        });
        // A result whose blobs are not there is none to others.
        put.await?;
        let request = UpdateActionResultRequest {
            instance_name: self.remote.instance(),
            action_digest: Some(entry.action.to_wire()),
            action_result: Some(result(&format!("run {run}"))),
            digest_function: function,
            ..UpdateActionResultRequest::default()
        };
        let updated = self.remote.patiently(|| {
            let mut client = ActionCacheClient::new(self.remote.channel());
            let request = request.clone();
            async move { client.update_action_result(request).await }
        });
        updated.await.map(drop)
    }

    /// The cache can be used: when it next cannot, that is said again.
    fn recovered(&self) {
        self.has_complained.store(false, Ordering::Relaxed);
    }

    /// Says that the cache cannot be used, once.
    fn complain(&self, status: &Status) {
        if !self.has_complained.swap(true, Ordering::Relaxed) {
            let (address, code, message) = (self.remote.address(), status.code(), status.message());
            tracing::warn!("passes of others are not reused as they could be: {address}: {message} ({code})");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use bazel_remote_apis::build::bazel::remote::execution::v2::capabilities_server::{
        Capabilities, CapabilitiesServer,
    };
    use bazel_remote_apis::build::bazel::remote::execution::v2::{
        CacheCapabilities, GetCapabilitiesRequest, ServerCapabilities,
    };
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::transport::Server;
    use tonic::{Request, Response};

    use super::*;

    /// A cache that does not say at first what it can do.
    #[derive(Clone, Default)]
    struct Fake {
        asked: Arc<AtomicU32>,
    }

    #[tonic::async_trait]
    impl Capabilities for Fake {
        async fn get_capabilities(
            &self,
            _: Request<GetCapabilitiesRequest>,
        ) -> Result<Response<ServerCapabilities>, Status> {
            if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(Status::internal("not yet"));
            }
            Ok(Response::new(ServerCapabilities {
                cache_capabilities: Some(CacheCapabilities::default()),
                ..ServerCapabilities::default()
            }))
        }
    }

    #[tokio::test]
    async fn a_cache_that_did_not_answer_is_asked_again_after_a_while() {
        let fake = Fake::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("reapi://{}", listener.local_addr().unwrap());
        let served = Server::builder()
            .add_service(CapabilitiesServer::new(fake.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(served);
        let cache = ExternalCache::new(address.parse().unwrap()).unwrap();
        let (inner, began) = (&cache.inner, Instant::now());
        let asked = || fake.asked.load(Ordering::Relaxed);
        assert!(inner.abilities(began).await.is_none());
        assert!(inner.has_complained.load(Ordering::Relaxed));
        // Not with every run.
        assert!(inner.abilities(began).await.is_none());
        assert_eq!(asked(), 1);
        let later = began + ASKED_EVERY;
        assert!(inner.abilities(later).await.is_some());
        assert!(!inner.has_complained.load(Ordering::Relaxed));
        // What it said holds.
        assert!(inner.abilities(later + ASKED_EVERY).await.is_some());
        assert_eq!(asked(), 2);
    }
}
