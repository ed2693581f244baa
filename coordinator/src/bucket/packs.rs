//! The packs of a bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{Method, Signer};
use object_store::{ObjectStore, RetryConfig};
use thresh_cas::PackStore;
use thresh_core::digest::Digest;
use thresh_core::time::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use super::reader::Reader;
use super::{BucketAddress, BucketError};
use crate::clock::Clock;

/// How long a signed address may be used.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);
/// How long one is handed out.
const SIGNED_ANEW_AFTER: Duration = Duration::from_secs(5 * 60);
/// How long a request is tried again, and how often. Whatever waits has another way.
const RETRY_TIME: Duration = Duration::from_secs(20);
const RETRIES: usize = 3;
/// How many packs are looked at at once at the start.
const ATTACHED_AT_ONCE: usize = 16;

/// A bucket with packs of blobs. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<AmazonS3>,
    pub(super) address: BucketAddress,
    pub(super) packs: PackStore,
    pub(super) clock: Clock,
    state: Mutex<State>,
    /// One copies at a time: who comes meanwhile finds it done.
    pub(super) copying: tokio::sync::Mutex<()>,
    pub(super) news: Notify,
}

#[derive(Debug, Default)]
struct State {
    there: BTreeSet<Digest>,
    signed: BTreeMap<Digest, (String, Timestamp)>,
}

impl Bucket {
    /// Connects, and takes in what is there and not in the folder of `packs`.
    ///
    /// # Errors
    /// The settings make no store, it refuses, or does not answer.
    pub(crate) async fn open(
        address: BucketAddress,
        packs: PackStore,
        clock: Clock,
    ) -> Result<Self, BucketError> {
        // Another part of the process may have been first: it chose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&address.bucket)
            .with_retry(RetryConfig {
                max_retries: RETRIES,
                retry_timeout: RETRY_TIME,
                ..RetryConfig::default()
            });
        let endpoint = builder.get_config_value(&object_store::aws::AmazonS3ConfigKey::Endpoint);
        // Whoever names such an endpoint wants it so: there is no other switch to forget.
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        let built = builder.build();
        let store = built.map_err(|cause| BucketError::Settings {
            address: address.clone(),
            cause: Box::new(cause),
        })?;
        let inner = Inner {
            store: Arc::new(store),
            address,
            packs,
            clock,
            state: Mutex::default(),
            copying: tokio::sync::Mutex::default(),
            news: Notify::new(),
        };
        let bucket = Self {
            inner: Arc::new(inner),
        };
        bucket.attach_all().await?;
        Ok(bucket)
    }

    /// Whether a pack is there.
    pub(crate) fn has(&self, pack: &Digest) -> bool {
        self.state().there.contains(pack)
    }

    /// An address by which whoever has it can read a pack for some minutes.
    pub(crate) async fn signed(&self, pack: &Digest) -> Result<String, BucketError> {
        let now = self.inner.clock.now();
        if let Some((url, since)) = self.state().signed.get(pack)
            && now.since(*since) < SIGNED_ANEW_AFTER
        {
            return Ok(url.clone());
        }
        let path = self.path(pack);
        let signed = self.inner.store.signed_url(Method::GET, &path, SIGNED_FOR).await;
        let url = signed.map_err(self.failed("sign an address of"))?.to_string();
        let mut state = self.state();
        state.signed.insert(*pack, (url.clone(), now));
        state
            .signed
            .retain(|_, (_, since)| now.since(*since) < SIGNED_ANEW_AFTER);
        Ok(url)
    }

    async fn attach_all(&self) -> Result<(), BucketError> {
        let folder = self.folder();
        let mut listed = self.inner.store.list(Some(&folder));
        let known: BTreeSet<Digest> = self.inner.packs.names().into_iter().collect();
        let reader = Arc::new(Reader::start(self.inner.store.clone(), self.folder()));
        let mut attached: JoinSet<Result<(), std::io::Error>> = JoinSet::new();
        while let Some(object) = listed.next().await {
            let object = object.map_err(self.failed("list the blobs in"))?;
            // What else lies there is not ours.
            let Some(name) = object
                .location
                .filename()
                .and_then(|name| name.parse::<Digest>().ok())
            else {
                continue;
            };
            if known.contains(&name) {
                self.note(name);
                continue;
            }
            if attached.len() == ATTACHED_AT_ONCE {
                self.attached(attached.join_next().await)?;
            }
            let (bucket, reader) = (self.clone(), reader.clone());
            attached.spawn_blocking(move || {
                if bucket.inner.packs.attach(name, object.size, reader)? {
                    bucket.note(name);
                }
                Ok(())
            });
        }
        while let Some(done) = attached.join_next().await {
            self.attached(Some(done))?;
        }
        Ok(())
    }

    fn attached(
        &self,
        done: Option<Result<Result<(), std::io::Error>, tokio::task::JoinError>>,
    ) -> Result<(), BucketError> {
        let done = done.unwrap_or(Ok(Ok(())));
        let blobs = |cause: String| BucketError::Blobs {
            address: self.inner.address.clone(),
            cause,
        };
        done.map_err(|ended| blobs(ended.to_string()))?
            .map_err(|cause| blobs(format!("read a pack: {cause}")))
    }

    pub(super) fn note(&self, pack: Digest) {
        self.state().there.insert(pack);
    }

    pub(super) fn forget(&self, pack: &Digest) {
        let mut state = self.state();
        state.there.remove(pack);
        state.signed.remove(pack);
    }

    /// The packs that are there.
    pub(super) fn there(&self) -> BTreeSet<Digest> {
        self.state().there.clone()
    }

    pub(super) fn path(&self, pack: &Digest) -> Path {
        self.folder().join(pack.to_string())
    }

    fn folder(&self) -> Path {
        Path::from(self.inner.address.prefix.as_str()).join("packs")
    }

    pub(super) fn failed(
        &self,
        action: &'static str,
    ) -> impl FnOnce(object_store::Error) -> BucketError + use<> {
        let address = self.inner.address.clone();
        move |cause| BucketError::Store {
            action,
            address,
            cause: Box::new(cause),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single step.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
