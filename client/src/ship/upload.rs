//! Sending blobs to the farm.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thresh_core::chunk::CHUNK_BYTES_MAX;
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;
use thresh_proto::MESSAGE_BYTES_MAX;
use thresh_proto::convert::{InvalidMessage, digest_to_wire, digests_from_wire};
use thresh_proto::v1::FindMissingRequest;
use thresh_proto::v1::blobs_client::BlobsClient;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use super::large::LargeFile;
use super::memory::{Memory, Shipped};
use super::shipment::BlobSource;
use super::short::put_short;

/// Digests in one question for missing blobs.
const ASKED_MAX: usize = 16 << 10;
/// Transfers under way at a time.
const TRANSFERS_MAX: usize = 3;
/// Short blobs sent together.
const TOGETHER_MAX: usize = 512;

/// A run's inputs could not be brought to the farm.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A file is not what it was when it was hashed.
    #[error("ship {}: it changed after it was hashed; run again when nothing writes to it", .0.display())]
    Changed(PathBuf),
    /// A file cannot be read.
    #[error("ship {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The farm refused, or went away.
    #[error("ship the run's inputs: {} ({})", .0.message(), .0.code())]
    Refused(Box<Status>),
    /// The farm asks for what this run does not have.
    #[error("ship blob {0}: the run has none of that name")]
    Unknown(Digest),
    /// The farm's answer cannot be understood.
    #[error("ship the run's inputs: {0}")]
    Answer(#[from] InvalidMessage),
    /// An engine does not take it.
    #[error("{message}")]
    Depot {
        /// What it says.
        message: String,
        /// Whose fault it is.
        fault: Fault,
    },
    /// The farm drops what it has just taken.
    #[error("ship {}: the farm does not keep its chunks; its disk may be too small", .0.display())]
    Dropped(PathBuf),
}

impl UploadError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Answer(_) => Fault::Internal,
            Self::Depot { fault, .. } => *fault,
            _ => Fault::Environment,
        }
    }

    /// What went wrong with a file that was there when it was hashed.
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Self::Changed(path.to_owned()),
            _ => Self::Unreadable {
                path: path.to_owned(),
                cause,
            },
        }
    }

    pub(super) fn ended_early(ended: &tokio::task::JoinError) -> Self {
        Status::internal(format!("a part of the client ended early: {ended}")).into()
    }
}

impl From<Status> for UploadError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadProgress {
    /// Blobs that the farm did not have.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Of them, sent.
    pub sent_blobs: usize,
    /// Bytes of blobs sent.
    pub sent_bytes: u64,
    /// Bytes that they took on the way, compressed and without the chunks that the farm had.
    pub shipped_bytes: u64,
    /// Chunks of those blobs sent that have several.
    pub chunks: usize,
    /// Of them, those that the farm had.
    pub reused_chunks: usize,
}

/// What one transfer brought to the farm.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) blobs: usize,
    pub(super) bytes: u64,
    /// Where a blob has several.
    pub(super) chunks: usize,
    pub(super) reused_chunks: usize,
    /// The file, if it is one to be remembered.
    pub(super) shipped: Option<Shipped>,
}

/// What an upload came to.
#[derive(Debug, Default)]
pub struct Uploaded {
    /// How much it was.
    pub progress: UploadProgress,
    /// The large files that were sent, for [`Memory::keep`].
    pub shipped: Vec<Shipped>,
}

/// What all transfers share.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) client: BlobsClient<Channel>,
    /// Bytes of chunks that were sent.
    pub(super) shipped: Arc<AtomicU64>,
}

/// Sends those of `blobs` that the farm does not have, several blobs at a time, and tells `progress` as they arrive. What `memory`
/// has of earlier versions makes it less.
///
/// # Errors
/// The farm refuses or goes away, or a file changed since it was hashed.
pub async fn upload(
    channel: Channel,
    blobs: &BTreeMap<Digest, BlobSource>,
    memory: Option<&Memory>,
    mut progress: impl FnMut(UploadProgress),
) -> Result<Uploaded, UploadError> {
    let mut link = Link {
        client: BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        shipped: Arc::default(),
    };
    let missing = missing_blobs(&mut link, blobs).await?;
    let mut state = UploadProgress {
        blobs: missing.len(),
        bytes: missing.iter().map(|(_, source)| source.size()).sum(),
        ..UploadProgress::default()
    };
    progress(state);
    let mut shipped = Vec::new();
    let (large, short): (Vec<_>, Vec<_>) =
        (missing.into_iter()).partition(|(_, source)| source.size() > CHUNK_BYTES_MAX as u64);
    let mut under_way: JoinSet<Result<Sent, UploadError>> = JoinSet::new();
    let mut large = large.into_iter();
    let mut short = short.chunks(TOGETHER_MAX);
    loop {
        while under_way.len() < TRANSFERS_MAX {
            if let Some((digest, source)) = large.next() {
                let file = LargeFile::new(digest, source.clone(), memory.cloned());
                under_way.spawn(file.send(link.clone()));
            } else if let Some(together) = short.next() {
                let together = together
                    .iter()
                    .map(|(digest, source)| (*digest, (*source).clone()));
                under_way.spawn(put_short(link.clone(), together.collect()));
            } else {
                break;
            }
        }
        let Some(ended) = under_way.join_next().await else {
            return Ok(Uploaded {
                progress: state,
                shipped,
            });
        };
        let sent = ended.map_err(|ended| UploadError::ended_early(&ended))??;
        state.sent_blobs += sent.blobs;
        state.sent_bytes += sent.bytes;
        state.chunks += sent.chunks;
        state.reused_chunks += sent.reused_chunks;
        shipped.extend(sent.shipped);
        state.shipped_bytes = link.shipped.load(Ordering::Relaxed);
        progress(state);
    }
}

async fn missing_blobs<'s>(
    link: &mut Link,
    blobs: &'s BTreeMap<Digest, BlobSource>,
) -> Result<Vec<(Digest, &'s BlobSource)>, UploadError> {
    let digests: Vec<Digest> = blobs.keys().copied().collect();
    let missing = link.find_missing(&digests).await?;
    let sources = missing.into_iter().map(|digest| (digest, blobs.get(&digest)));
    Ok(sources
        .filter_map(|(digest, source)| Some((digest, source?)))
        .collect())
}

impl Link {
    /// Which of these blobs and chunks the farm does not have.
    pub(super) async fn find_missing(&mut self, digests: &[Digest]) -> Result<Vec<Digest>, UploadError> {
        let mut missing = Vec::new();
        for asked in digests.chunks(ASKED_MAX) {
            let request = FindMissingRequest {
                digests: asked.iter().map(|digest| digest_to_wire(*digest)).collect(),
            };
            let reply = self.client.find_missing(request).await?.into_inner();
            missing.extend(digests_from_wire("digests", &reply.digests)?);
        }
        Ok(missing)
    }
}
