//! The packs of a bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::signer::{Method, Signer};
use object_store::{ObjectStore, RetryConfig};
use thresh_cas::PackStore;
use thresh_core::digest::Digest;
use thresh_core::time::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use super::connector::Connector;
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
/// How long nobody waits for a store that was found away.
const AWAY_FOR: Duration = Duration::from_secs(15);
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
    /// Reads by connections of its own.
    reader: Arc<Reader>,
    /// Where packs are.
    folder: Path,
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
    is_attached: bool,
    /// When it was last found away, unless it was used since.
    failed: Option<Timestamp>,
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
        let [store, own] = [connect(&address)?, connect(&address)?];
        let folder = Path::from(address.prefix.as_str()).join("packs");
        let reader = Reader::start(own, folder.clone()).map_err(|cause| BucketError::Blobs {
            address: address.clone(),
            cause: format!("start a thread: {cause}"),
        })?;
        let inner = Inner {
            store: Arc::new(store),
            reader: Arc::new(reader),
            folder,
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
        match bucket.attach_all().await {
            // What the folder has is enough to begin with.
            Err(error) if !bucket.inner.packs.names().is_empty() => {
                tracing::warn!("failed to {error}; it is tried again");
            }
            attached => attached?,
        }
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

    /// Takes in what is there and not in the folder.
    pub(super) async fn attach_all(&self) -> Result<(), BucketError> {
        let mut listed = self.inner.store.list(Some(&self.inner.folder));
        let known: BTreeSet<Digest> = self.inner.packs.names().into_iter().collect();
        let mut attached = JoinSet::new();
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
            let bucket = self.clone();
            attached.spawn_blocking(move || bucket.attach(name, object.size));
        }
        while let Some(done) = attached.join_next().await {
            self.attached(Some(done))?;
        }
        self.state().is_attached = true;
        Ok(())
    }

    /// Whether all that was there has been taken in.
    pub(super) fn is_attached(&self) -> bool {
        self.state().is_attached
    }

    fn attach(&self, name: Digest, bytes: u64) -> io::Result<()> {
        match self.inner.packs.attach(name, bytes, self.inner.reader.clone()) {
            Ok(true) => self.note(name),
            // It is none of ours, or has been removed since.
            Ok(false) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        Ok(())
    }

    fn attached(
        &self,
        done: Option<Result<io::Result<()>, tokio::task::JoinError>>,
    ) -> Result<(), BucketError> {
        let done = done.unwrap_or(Ok(Ok(())));
        let blobs = |cause: String| BucketError::Blobs {
            address: self.inner.address.clone(),
            cause,
        };
        done.map_err(|ended| blobs(ended.to_string()))?
            .map_err(|cause| blobs(format!("read a pack: {cause}")))
    }

    /// Whether the store has lately been found away, so that nobody waits for it.
    pub(super) fn is_away(&self) -> bool {
        let now = self.inner.clock.now();
        let failed = self.state().failed;
        failed.is_some_and(|since| now.since(since) < AWAY_FOR)
    }

    /// When a store that was found away is tried again.
    pub(super) fn tried_again_at(&self) -> Option<tokio::time::Instant> {
        let failed = self.state().failed?;
        self.inner.clock.instant_of(failed.after(AWAY_FOR))
    }

    /// Notes whether the store could be used.
    pub(super) fn note_use<T>(&self, used: &Result<T, BucketError>) {
        let failed = used.is_err().then(|| self.inner.clock.now());
        self.state().failed = failed;
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
        self.inner.folder.clone().join(pack.to_string())
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

fn connect(address: &BucketAddress) -> Result<AmazonS3, BucketError> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&address.bucket)
        .with_http_connector(Connector)
        .with_retry(RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIME,
            ..RetryConfig::default()
        });
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    // Whoever names such an endpoint wants it so: there is no other switch to forget.
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        builder = builder.with_allow_http(true);
    }
    builder.build().map_err(|cause| BucketError::Settings {
        address: address.clone(),
        cause: Box::new(cause),
    })
}
