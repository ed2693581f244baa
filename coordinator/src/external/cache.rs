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
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Status};

use super::entry::{Entry, is_pass, result};
use crate::remote::{Patience, Remote, RemoteAddress, Takes};

/// Passes that are stored at once.
const AT_ONCE: usize = 16;
/// What it does not answer costs reuse, no verdict.
const PATIENCE: Patience = Patience {
    answer: Duration::from_secs(10),
    busy: Duration::from_secs(3),
    waits_for_connection: false,
};
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
    abilities: OnceCell<Option<Takes>>,
    /// Whether it was said that the cache cannot be used.
    has_complained: AtomicBool,
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
            abilities: OnceCell::new(),
            has_complained: AtomicBool::new(false),
        });
        let (passes, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(store_all(inner.clone(), waiting));
        Ok(Self { inner, passes })
    }

    /// Returns for each key whether the cache has its pass.
    pub(crate) async fn find(&self, keys: &[CaseKey]) -> Vec<bool> {
        let mut found = vec![false; keys.len()];
        let Some(abilities) = self.inner.abilities().await else {
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
                    if let Some(abilities) = inner.abilities().await.filter(|abilities| abilities.results)
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
    /// What the cache can do; `None` when it cannot be used.
    async fn abilities(&self) -> Option<Takes> {
        let ask = || async {
            match self.ask_abilities().await {
                Ok(abilities) => Some(abilities),
                Err(status) => {
                    self.complain(&status);
                    None
                }
            }
        };
        *self.abilities.get_or_init(ask).await
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
            async move { client.batch_update_blobs(request).await }
        });
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

    /// Says that the cache cannot be used, once.
    fn complain(&self, status: &Status) {
        if !self.has_complained.swap(true, Ordering::Relaxed) {
            let (address, code, message) = (self.remote.address(), status.code(), status.message());
            tracing::warn!("passes of others are not reused as they could be: {address}: {message} ({code})");
        }
    }
}
