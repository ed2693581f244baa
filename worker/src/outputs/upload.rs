//! Brings outputs to the farm's blobs, by the Remote Execution API that it serves.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_client::ContentAddressableStorageClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    BatchUpdateBlobsRequest, FindMissingBlobsRequest, batch_update_blobs_request, digest_function,
};
use bazel_remote_apis::google::bytestream::WriteRequest;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use prost::bytes::Bytes;
use thresh_cas::BlobName;
use thresh_core::digest::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::OutputsError;
use super::collect::{Source, open_below};
use crate::session::Coordinator;

/// Blobs that are sent in one message together have at most so many bytes.
const TOGETHER_BYTES_MAX: u64 = 1 << 20;
/// What stands around a blob in a message, roughly, in bytes.
const ENTRY_BYTES: u64 = 128;
/// Blobs that are asked for in one message.
const ASKED_MAX: usize = 10_000;
/// Bytes of a blob in one message.
const PIECE_BYTES: usize = 1 << 20;
/// Messages that wait in memory.
const PIECES_AHEAD: usize = 2;

/// Brings outputs to the farm. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Uploader {
    coordinator: Coordinator,
}

impl Uploader {
    pub(crate) fn new(coordinator: Coordinator) -> Self {
        Self { coordinator }
    }

    /// Sends what the farm does not have.
    pub(super) async fn upload(&self, mut sources: BTreeMap<Digest, Source>) -> Result<(), OutputsError> {
        let channel = self.coordinator.connect().await;
        let channel = channel.map_err(|error| OutputsError::Upload(thresh_proto::causes(&*error)))?;
        let mut cas = ContentAddressableStorageClient::new(channel.clone());
        let names = sources.iter();
        let names = names.map(|(digest, source)| BlobName::blake3(*digest, source.size()).to_wire());
        let (names, mut missing): (Vec<_>, _) = (names.collect(), Vec::new());
        for names in names.chunks(ASKED_MAX) {
            let request = FindMissingBlobsRequest {
                blob_digests: names.to_vec(),
                digest_function: digest_function::Value::Blake3.into(),
                ..Default::default()
            };
            let reply = cas.find_missing_blobs(request).await.map_err(refused)?;
            missing.extend(reply.into_inner().missing_blob_digests);
        }
        let (mut together, mut bytes) = (Vec::new(), 0);
        for digest in missing {
            let Some((name, source)) = digest.hash.parse().ok().and_then(|digest| {
                let source = sources.remove(&digest)?;
                Some((BlobName::blake3(digest, source.size()), source))
            }) else {
                continue;
            };
            if name.size > TOGETHER_BYTES_MAX {
                write(channel.clone(), &name, source).await?;
                continue;
            }
            if bytes + name.size > TOGETHER_BYTES_MAX {
                update(&mut cas, std::mem::take(&mut together)).await?;
                bytes = 0;
            }
            bytes += name.size + ENTRY_BYTES;
            together.push((name, content(source).await?));
        }
        update(&mut cas, together).await
    }
}

async fn update(
    cas: &mut ContentAddressableStorageClient<Channel>,
    blobs: Vec<(BlobName, Bytes)>,
) -> Result<(), OutputsError> {
    if blobs.is_empty() {
        return Ok(());
    }
    let requests = blobs
        .into_iter()
        .map(|(name, data)| batch_update_blobs_request::Request {
            digest: Some(name.to_wire()),
            data: data.into(),
            compressor: 0,
        });
    let request = BatchUpdateBlobsRequest {
        requests: requests.collect(),
        digest_function: digest_function::Value::Blake3.into(),
        ..Default::default()
    };
    let replies = cas
        .batch_update_blobs(request)
        .await
        .map_err(refused)?
        .into_inner();
    let refused = replies.responses.into_iter().filter_map(|reply| reply.status);
    match refused.into_iter().find(|status| status.code != 0) {
        Some(status) => Err(OutputsError::Upload(status.message)),
        None => Ok(()),
    }
}

async fn write(channel: Channel, name: &BlobName, source: Source) -> Result<(), OutputsError> {
    let (pieces, stream) = mpsc::channel(PIECES_AHEAD);
    let resource = format!("uploads/{}/blobs/blake3/{name}", uuid::Uuid::new_v4());
    let size = name.size;
    let reading = tokio::task::spawn_blocking(move || {
        let mut position = 0;
        while position < size {
            let piece = piece(&source, position, PIECE_BYTES)?;
            let length = piece.len() as u64;
            let request = WriteRequest {
                resource_name: resource.clone(),
                write_offset: position.cast_signed(),
                finish_write: position + length >= size,
                data: piece.into(),
            };
            position += length;
            if length == 0 || pieces.blocking_send(request).is_err() {
                // The reply says why nobody takes it any more; a file that is shorter now is not what it was.
                break;
            }
        }
        Ok::<(), OutputsError>(())
    });
    let written = ByteStreamClient::new(channel)
        .write(ReceiverStream::new(stream))
        .await;
    reading
        .await
        .map_err(|ended| OutputsError::Upload(ended.to_string()))??;
    written.map(drop).map_err(refused)
}

async fn content(source: Source) -> Result<Bytes, OutputsError> {
    let size = usize::try_from(source.size()).unwrap_or(usize::MAX);
    let read = tokio::task::spawn_blocking(move || piece(&source, 0, size));
    read.await
        .map_err(|ended| OutputsError::Upload(ended.to_string()))?
}

/// The bytes from a position on, up to a length. Blocks.
fn piece(source: &Source, position: u64, length: usize) -> Result<Bytes, OutputsError> {
    match source {
        Source::Bytes(bytes) => {
            let from = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
            Ok(bytes.slice(from..bytes.len().min(from.saturating_add(length))))
        }
        Source::File { folder, path, .. } => open_below(folder, path)
            .and_then(|file| read(&file, position, length))
            .map_err(|cause| OutputsError::Unreadable {
                path: path.clone(),
                cause,
            }),
    }
}

fn read(file: &File, position: u64, length: usize) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], position + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what errors are mapped with")]
fn refused(status: tonic::Status) -> OutputsError {
    OutputsError::Upload(format!("{} ({})", status.message(), status.code()))
}
