//! Sending blobs to an engine.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_client::ContentAddressableStorageClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    BatchUpdateBlobsRequest, CacheCapabilities, batch_update_blobs_request, compressor,
};
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use bazel_remote_apis::google::bytestream::{WriteRequest, WriteResponse};
use thresh_cas::{BlobName, DigestFunction, NameHasher};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::blobs::{Sent, Source};
use super::error::EngineError;
use crate::remote::{Remote, all_stored};

/// Blobs that are sent in one message together have at most so many bytes, unless the engine takes less.
const TOGETHER_BYTES_MAX: u64 = 1 << 20;
/// What stands around a blob in a message, roughly, in bytes.
const ENTRY_BYTES: u64 = 128;
/// Transfers under way at a time.
const TRANSFERS_MAX: usize = 4;
/// Bytes of a blob in one message.
const PIECE_BYTES: usize = 1 << 20;
/// Messages that wait in memory.
const PIECES_AHEAD: usize = 2;
/// On the way; beyond it costs more time than the bytes that it spares.
const ZSTD_LEVEL: i32 = 1;

/// What an engine takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    together_bytes_max: u64,
    zstd: bool,
}

impl Limits {
    pub(super) fn of(cache: &CacheCapabilities) -> Self {
        let most = u64::try_from(cache.max_batch_total_size_bytes).unwrap_or(0);
        // 0: it has none.
        let most = if most == 0 { TOGETHER_BYTES_MAX } else { most };
        Self {
            together_bytes_max: most.min(TOGETHER_BYTES_MAX),
            zstd: cache
                .supported_compressors
                .contains(&compressor::Value::Zstd.into()),
        }
    }
}

/// A blob and its bytes.
type Blob = (BlobName, Source);

/// Sends blobs, several at a time.
pub(super) async fn upload(
    remote: &Arc<Remote>,
    limits: Limits,
    blobs: Vec<Blob>,
    progress: &mut impl FnMut(Sent, Sent),
) -> Result<(), EngineError> {
    let all = Sent {
        blobs: blobs.len(),
        bytes: blobs.iter().map(|(name, _)| name.size).sum(),
    };
    let mut sent = Sent::default();
    progress(all, sent);
    let mut parts = parts(blobs, limits).into_iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < TRANSFERS_MAX {
            let Some(part) = parts.next() else { break };
            under_way.spawn(send(remote.clone(), limits, part));
        }
        let Some(ended) = under_way.join_next().await else {
            return Ok(());
        };
        let part = ended.map_err(|ended| EngineError::Unreadable(ended.to_string()))??;
        sent.blobs += part.blobs;
        sent.bytes += part.bytes;
        progress(all, sent);
    }
}

/// What is sent at once: one long blob, or several short ones.
enum Part {
    Long(Blob),
    Short(Vec<Blob>),
}

fn parts(blobs: Vec<Blob>, limits: Limits) -> Vec<Part> {
    let (mut parts, mut together, mut bytes) = (Vec::new(), Vec::new(), 0);
    for blob in blobs {
        let size = blob.0.size + ENTRY_BYTES;
        if size > limits.together_bytes_max {
            parts.push(Part::Long(blob));
            continue;
        }
        if bytes + size > limits.together_bytes_max {
            parts.push(Part::Short(std::mem::take(&mut together)));
            bytes = 0;
        }
        bytes += size;
        together.push(blob);
    }
    if !together.is_empty() {
        parts.push(Part::Short(together));
    }
    parts
}

async fn send(remote: Arc<Remote>, limits: Limits, part: Part) -> Result<Sent, EngineError> {
    match part {
        Part::Long((name, source)) => {
            stream(&remote, limits, name, &source).await?;
            Ok(Sent {
                blobs: 1,
                bytes: name.size,
            })
        }
        Part::Short(blobs) => together(&remote, blobs).await,
    }
}

fn refused(remote: &Remote, status: Status) -> EngineError {
    EngineError::Refused {
        doing: "store blobs",
        address: remote.address().clone(),
        status: Box::new(status),
    }
}

async fn together(remote: &Remote, blobs: Vec<Blob>) -> Result<Sent, EngineError> {
    let function = blobs
        .first()
        .map_or(DigestFunction::Sha256, |(name, _)| name.function);
    let reading = tokio::task::spawn_blocking(move || {
        let read = |(name, source): Blob| {
            let mut data = Vec::new();
            let mut reader = source.open()?;
            reader
                .read_to_end(&mut data)
                .map_err(|cause| EngineError::Unreadable(cause.to_string()))?;
            if BlobName::of(name.function, &data) != name {
                return Err(EngineError::Changed(source.name()));
            }
            Ok(batch_update_blobs_request::Request {
                digest: Some(name.to_wire()),
                data,
                compressor: 0,
            })
        };
        blobs.into_iter().map(read).collect::<Result<Vec<_>, _>>()
    });
    let requests = reading
        .await
        .map_err(|ended| EngineError::Unreadable(ended.to_string()))??;
    let sent = Sent {
        blobs: requests.len(),
        bytes: requests.iter().map(|request| request.data.len() as u64).sum(),
    };
    let request = BatchUpdateBlobsRequest {
        instance_name: remote.instance(),
        requests,
        digest_function: function.to_wire().into(),
    };
    let reply = remote.patiently(|| {
        let mut client = ContentAddressableStorageClient::new(remote.channel());
        let request = request.clone();
        async move { all_stored(client.batch_update_blobs(request).await?) }
    });
    reply.await.map_err(|status| refused(remote, status))?;
    Ok(sent)
}

async fn stream(remote: &Remote, limits: Limits, name: BlobName, source: &Source) -> Result<(), EngineError> {
    let failure = Arc::new(std::sync::Mutex::new(None));
    // A long blob takes its time: the engine is late only when it takes no more of it.
    let taken = Arc::new(AtomicU64::new(0));
    let progress = || taken.load(Ordering::Relaxed);
    let written = remote.patiently_while(progress, || {
        let mut client = ByteStreamClient::new(remote.channel());
        let kind = if limits.zstd {
            "compressed-blobs/zstd"
        } else {
            "blobs"
        };
        let resource = remote.resource(&format!("uploads/{}/{kind}", uuid::Uuid::new_v4()), &name);
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let (source, failure, taken) = (source.clone(), failure.clone(), taken.clone());
        tokio::task::spawn_blocking(move || {
            let send = |request: WriteRequest| {
                let is_taken = sender.blocking_send(request).is_ok();
                taken.fetch_add(1, Ordering::Relaxed);
                is_taken
            };
            if let Err(error) = read(&source, name, limits, &resource, send) {
                *failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
            }
        });
        async move { client.write(ReceiverStream::new(pieces)).await }
    });
    let reply: Result<WriteResponse, Status> = written.await;
    // What was wrong with the file explains what the engine says of it.
    let failure = failure
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take();
    match (failure, reply) {
        (Some(error), _) => Err(error),
        (None, Ok(_)) => Ok(()),
        (None, Err(status)) => Err(refused(remote, status)),
    }
}

/// Reads a blob piece by piece, and ends the stream only if it was the blob. An engine that has it already may end the
/// stream before: then `send` returns false.
fn read(
    source: &Source,
    name: BlobName,
    limits: Limits,
    resource: &str,
    send: impl Fn(WriteRequest) -> bool,
) -> Result<(), EngineError> {
    let unreadable = |cause: std::io::Error| EngineError::Unreadable(cause.to_string());
    let mut hashing = Hashing {
        inner: source.open()?,
        hasher: NameHasher::new(name.function),
    };
    let mut offset = 0;
    let mut send_piece = |data: Vec<u8>| {
        let request = WriteRequest {
            resource_name: if offset == 0 {
                resource.to_owned()
            } else {
                String::new()
            },
            write_offset: offset,
            finish_write: false,
            data,
        };
        offset += request.data.len() as i64;
        send(request)
    };
    let mut cut = |reader: &mut dyn Read| loop {
        let mut data = Vec::with_capacity(PIECE_BYTES);
        reader
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut data)
            .map_err(unreadable)?;
        if data.is_empty() {
            return Ok(true);
        }
        if !send_piece(data) {
            return Ok(false);
        }
    };
    let is_whole = if limits.zstd {
        let mut packed = zstd::stream::read::Encoder::new(&mut hashing, ZSTD_LEVEL).map_err(unreadable)?;
        cut(&mut packed)?
    } else {
        cut(&mut hashing)?
    };
    if !is_whole {
        return Ok(());
    }
    if hashing.hasher.finish() != name {
        return Err(EngineError::Changed(source.name()));
    }
    let end = WriteRequest {
        write_offset: offset,
        finish_write: true,
        ..WriteRequest::default()
    };
    // Fails only when the engine has ended the stream.
    let _ = send(end);
    Ok(())
}

/// Names what is read through it.
struct Hashing<'a> {
    inner: Box<dyn Read + 'a>,
    hasher: NameHasher,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
