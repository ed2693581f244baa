//! Brings blobs from the coordinator into the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use thresh_cas::{BlobStore, Manifest, StoreError};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;
use thresh_proto::convert::digest_to_wire;
use thresh_proto::v1::GetRequest;
use thresh_proto::v1::blobs_client::BlobsClient;
use thresh_proto::{BLOB_CHUNK_BYTES_MAX, MESSAGE_BYTES_MAX};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

use super::error::PrepareError;
use crate::session::{Coordinator, causes};

/// Blobs fetched at once.
const FETCHES_MAX: usize = 16;
/// Chunks of one blob that wait for the disk: with [`FETCHES_MAX`] blobs, 48 MiB at most.
const CHUNKS_WAITING_MAX: usize = 3;
/// How often a blob is asked for before it is given up.
const TRIES: u32 = 3;
/// No manifest is longer.
const MANIFEST_BYTES_MAX: usize = 512 << 20;

/// Brings blobs into the store. Each is verified before it becomes visible there.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    store: BlobStore,
    coordinator: Coordinator,
    /// A connection of its own, so that large blobs do not hold up heartbeats.
    client: Arc<Mutex<Option<BlobsClient<Channel>>>>,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Connect(String),
    #[error("{}", .0.message())]
    Status(tonic::Status),
    #[error("{0}")]
    Store(StoreError),
    #[error("it is longer than {MANIFEST_BYTES_MAX} bytes")]
    TooLong,
}

impl FetchError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Status(status) => !matches!(status.code(), Code::NotFound | Code::InvalidArgument),
            Self::Store(error) => {
                matches!(
                    error,
                    StoreError::WrongDigest { .. } | StoreError::WrongSize { .. }
                )
            }
            Self::TooLong => false,
        }
    }

    fn about(self, digest: &Digest) -> PrepareError {
        match self {
            Self::Store(StoreError::DiskFull { path }) => StoreError::DiskFull { path }.into(),
            error => {
                // What the coordinator does not have is missing for every worker.
                let fault = match &error {
                    Self::Status(status) if status.code() == Code::NotFound => Fault::Input,
                    _ => Fault::Environment,
                };
                PrepareError::other(fault, format!("fetch blob {digest}: {error}"))
            }
        }
    }
}

impl Fetcher {
    pub(super) fn new(store: BlobStore, coordinator: Coordinator) -> Self {
        Self {
            store,
            coordinator,
            client: Arc::default(),
        }
    }

    /// Fetches those of `wanted` (digests and lengths in bytes) that the store does not have.
    pub(super) async fn fetch(
        &self,
        wanted: impl IntoIterator<Item = (Digest, u64)>,
    ) -> Result<(), PrepareError> {
        let sizes: BTreeMap<Digest, u64> = wanted.into_iter().collect();
        let (store, digests) = (self.store.clone(), sizes.keys().copied().collect::<Vec<_>>());
        let missing = blocking(move || store.find_missing(&digests)).await?;
        let mut fetches = JoinSet::new();
        for digest in missing {
            if fetches.len() == FETCHES_MAX {
                joined(fetches.join_next().await)?;
            }
            let (fetcher, size) = (self.clone(), sizes[&digest]);
            fetches.spawn(async move { fetcher.fetch_one(digest, size).await });
        }
        while let Some(fetch) = fetches.join_next().await {
            joined(Some(fetch))?;
        }
        Ok(())
    }

    /// Reads a manifest; fetches it when the store does not have it, or not sound.
    pub(super) async fn manifest(&self, digest: Digest) -> Result<Manifest, PrepareError> {
        let store = self.store.clone();
        let held = blocking(move || store.reader(&digest).and_then(|reader| reader.read_all())).await?;
        let encoded = match held {
            Ok(encoded) => encoded,
            Err(_) => self.fetch_manifest(digest).await?,
        };
        blocking(move || Manifest::parse(&encoded))
            .await?
            .map_err(|error| PrepareError::unreadable_manifest(&digest, &error))
    }

    async fn fetch_manifest(&self, digest: Digest) -> Result<Vec<u8>, PrepareError> {
        let encoded = retrying(|| self.read_to_memory(digest))
            .await
            .map_err(|error| error.about(&digest))?;
        let store = self.store.clone();
        blocking(move || store.put_bytes(&encoded).map(|_| encoded))
            .await?
            .map_err(PrepareError::from)
    }

    async fn fetch_one(&self, digest: Digest, size: u64) -> Result<(), PrepareError> {
        retrying(|| self.write_to_store(digest, size))
            .await
            .map_err(|error| error.about(&digest))
    }

    async fn read_to_memory(&self, digest: Digest) -> Result<Vec<u8>, FetchError> {
        let mut stream = self.get(digest).await?;
        let mut content = Vec::new();
        while let Some(reply) = stream.message().await.map_err(FetchError::Status)? {
            if content.len() + reply.content.len() > MANIFEST_BYTES_MAX {
                return Err(FetchError::TooLong);
            }
            content.extend_from_slice(&reply.content);
        }
        match Digest::of(&content) {
            actual if actual == digest => Ok(content),
            actual => Err(FetchError::Store(StoreError::WrongDigest {
                expected: digest,
                actual,
            })),
        }
    }

    async fn write_to_store(&self, digest: Digest, size: u64) -> Result<(), FetchError> {
        let mut stream = self.get(digest).await?;
        let (chunks, mut received) = mpsc::channel::<tonic::codegen::Bytes>(CHUNKS_WAITING_MAX);
        let store = self.store.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut writer = store.writer(digest, size)?;
            while let Some(chunk) = received.blocking_recv() {
                writer.write(&chunk)?;
            }
            writer.commit()
        });
        while let Some(reply) = stream.message().await.map_err(FetchError::Status)? {
            if chunks.send(reply.content).await.is_err() {
                // The writer gave up; it says why.
                break;
            }
        }
        drop(chunks);
        match writing.await {
            Ok(written) => written.map_err(FetchError::Store),
            Err(ended) => Err(FetchError::Connect(ended.to_string())),
        }
    }

    async fn get(&self, digest: Digest) -> Result<tonic::Streaming<thresh_proto::v1::GetReply>, FetchError> {
        let request = GetRequest {
            digest: digest_to_wire(digest),
        };
        let mut client = self.client().await?;
        match client.get(request).await {
            Ok(reply) => Ok(reply.into_inner()),
            Err(status) => {
                if status.code() == Code::Unavailable {
                    // The next try connects anew.
                    *self.client.lock().await = None;
                }
                Err(FetchError::Status(status))
            }
        }
    }

    async fn client(&self) -> Result<BlobsClient<Channel>, FetchError> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let channel = self
            .coordinator
            .connect()
            .await
            .map_err(|error| FetchError::Connect(causes(&*error)))?;
        // Twice the longest content leaves room for whatever is around it.
        let limit = (2 * BLOB_CHUNK_BYTES_MAX).min(MESSAGE_BYTES_MAX);
        Ok(client
            .insert(BlobsClient::new(channel).max_decoding_message_size(limit))
            .clone())
    }
}

async fn retrying<T, F>(mut action: impl FnMut() -> F) -> Result<T, FetchError>
where
    F: Future<Output = Result<T, FetchError>>,
{
    let mut tries = 1;
    loop {
        match action().await {
            Err(error) if error.may_pass() && tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

/// Runs what blocks on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    action: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PrepareError> {
    tokio::task::spawn_blocking(action)
        .await
        .map_err(|ended| ended_early(&ended))
}

fn joined(
    fetch: Option<Result<Result<(), PrepareError>, tokio::task::JoinError>>,
) -> Result<(), PrepareError> {
    fetch.unwrap_or(Ok(Ok(()))).map_err(|ended| ended_early(&ended))?
}

fn ended_early(ended: &tokio::task::JoinError) -> PrepareError {
    PrepareError::other(
        Fault::Internal,
        format!("a part of the worker ended early: {ended}"),
    )
}
