//! Sending blobs to the farm.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thresh_core::digest::Digest;
use thresh_core::fault::Fault;
use thresh_proto::convert::{InvalidMessage, digest_from_wire, digest_to_wire};
use thresh_proto::v1::blobs_client::BlobsClient;
use thresh_proto::v1::{FindMissingRequest, PutRequest};
use thresh_proto::{BLOB_CHUNK_BYTES_MAX, MESSAGE_BYTES_MAX};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::shipment::{BlobSource, Shipment};

/// Digests in one question for missing blobs.
const ASKED_MAX: usize = 16 << 10;
/// Blobs under way at a time.
const STREAMS_MAX: usize = 16;
/// Messages of one blob that wait in memory, at most 1 MiB each.
const WAITING_MAX: usize = 2;

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
    /// The farm's answer cannot be understood.
    #[error("ship the run's inputs: {0}")]
    Answer(#[from] InvalidMessage),
}

impl UploadError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Answer(_) => Fault::Internal,
            _ => Fault::Environment,
        }
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
}

/// Sends what the farm does not have, several blobs at a time, and tells `progress` after each.
///
/// # Errors
/// The farm refuses or goes away, or a file changed since it was hashed.
pub async fn upload(
    channel: Channel,
    shipment: &Shipment,
    mut progress: impl FnMut(UploadProgress),
) -> Result<UploadProgress, UploadError> {
    let mut client = BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let missing = find_missing(&mut client, shipment).await?;
    let mut state = UploadProgress {
        blobs: missing.len(),
        ..UploadProgress::default()
    };
    state.bytes = missing.iter().map(|(_, source)| source.size()).sum();
    progress(state);
    let mut under_way: JoinSet<Result<u64, UploadError>> = JoinSet::new();
    let mut waiting = missing.into_iter();
    loop {
        while under_way.len() < STREAMS_MAX
            && let Some((digest, source)) = waiting.next()
        {
            under_way.spawn(put(client.clone(), digest, source.clone()));
        }
        let Some(ended) = under_way.join_next().await else {
            return Ok(state);
        };
        state.sent_bytes += ended.map_err(|error| Status::internal(error.to_string()))??;
        state.sent_blobs += 1;
        progress(state);
    }
}

async fn find_missing<'s>(
    client: &mut BlobsClient<Channel>,
    shipment: &'s Shipment,
) -> Result<Vec<(Digest, &'s BlobSource)>, UploadError> {
    let digests: Vec<Digest> = shipment.blobs.keys().copied().collect();
    let mut missing = Vec::new();
    for asked in digests.chunks(ASKED_MAX) {
        let request = FindMissingRequest {
            digests: asked.iter().map(|digest| digest_to_wire(*digest)).collect(),
        };
        for digest in client.find_missing(request).await?.into_inner().digests {
            let digest = digest_from_wire("digests", &digest)?;
            let source = shipment.blobs.get(&digest);
            missing.extend(source.map(|source| (digest, source)));
        }
    }
    Ok(missing)
}

async fn put(
    mut client: BlobsClient<Channel>,
    digest: Digest,
    source: BlobSource,
) -> Result<u64, UploadError> {
    let size = source.size();
    let path = match &source {
        BlobSource::File { path, .. } => Some(path.clone()),
        BlobSource::Bytes(_) => None,
    };
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let reader = tokio::task::spawn_blocking(move || send(digest, source, &sender));
    let reply = client.put(ReceiverStream::new(receiver)).await;
    // A reader that failed ended the stream early, so its error is the cause.
    reader
        .await
        .map_err(|error| Status::internal(error.to_string()))??;
    match (reply, path) {
        (Ok(_), _) => Ok(size),
        (Err(status), Some(path)) if status.code() == Code::InvalidArgument => {
            Err(UploadError::Changed(path))
        }
        (Err(status), _) => Err(status.into()),
    }
}

/// Sends the messages of one blob. Stops without an error when nobody takes them any more: the reply says why.
fn send(digest: Digest, source: BlobSource, sender: &mpsc::Sender<PutRequest>) -> Result<(), UploadError> {
    let size = source.size();
    let mut first = Some(PutRequest {
        digest: digest_to_wire(digest),
        size_bytes: size,
        ..PutRequest::default()
    });
    let mut put = |content: Vec<u8>| {
        let message = PutRequest {
            content: content.into(),
            ..first.take().unwrap_or_default()
        };
        sender.blocking_send(message).is_ok()
    };
    match source {
        BlobSource::Bytes(bytes) if bytes.is_empty() => {
            put(Vec::new());
        }
        BlobSource::Bytes(bytes) => {
            let _ = bytes
                .chunks(BLOB_CHUNK_BYTES_MAX)
                .all(|chunk| put(chunk.to_vec()));
        }
        BlobSource::File { path, size } => send_file(&path, size, &mut put)?,
    }
    Ok(())
}

fn send_file(path: &Path, size: u64, put: &mut impl FnMut(Vec<u8>) -> bool) -> Result<(), UploadError> {
    let unreadable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => UploadError::Changed(path.to_owned()),
        _ => UploadError::Unreadable {
            path: path.to_owned(),
            cause,
        },
    };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.len() != size {
        return Err(UploadError::Changed(path.to_owned()));
    }
    let mut left = size;
    loop {
        let length = left.min(BLOB_CHUNK_BYTES_MAX as u64);
        let mut chunk = Vec::with_capacity(usize::try_from(length).expect("a chunk fits into memory"));
        Read::by_ref(&mut file)
            .take(length)
            .read_to_end(&mut chunk)
            .map_err(unreadable)?;
        if chunk.len() as u64 != length {
            return Err(UploadError::Changed(path.to_owned()));
        }
        left -= length;
        if !put(chunk) || left == 0 {
            return Ok(());
        }
    }
}
