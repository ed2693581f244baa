//! Blobs as streams.

use std::io::Read;
use std::time::Duration;

use bazel_remote_apis::google::bytestream::byte_stream_server::ByteStream;
use bazel_remote_apis::google::bytestream::{
    QueryWriteStatusRequest, QueryWriteStatusResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use thresh_cas::{BlobPieces, BlobReading};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::BLOB_BYTES_MAX;
use super::cas::ZSTD_LEVEL;
use super::outgoing::{Outgoing, Unsent};
use super::resource::{Encoding, Resource};
use super::state::{Reapi, blocking};
use super::status;

/// How long a client may say nothing in the middle of a blob.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes in one message that goes out.
const MESSAGE_BYTES: usize = 256 << 10;

/// See [`ByteStream`].
pub(crate) struct ByteStreamService {
    reapi: Reapi,
}

impl ByteStreamService {
    pub(crate) fn new(reapi: Reapi) -> Self {
        Self { reapi }
    }

    /// Takes a stream to its end, or to where it is cut off.
    async fn receive(
        &self,
        name: &str,
        resource: Resource,
        first: WriteRequest,
        messages: &mut Streaming<WriteRequest>,
    ) -> Result<u64, Status> {
        let offset = u64::try_from(first.write_offset).unwrap_or(u64::MAX);
        let parked = self.reapi.uploads.take(name);
        let resumed = parked.filter(|upload| upload.received == offset && offset > 0);
        let upload = match resumed {
            Some(upload) => upload,
            None if offset == 0 => self.reapi.uploads.start(self.reapi.blobs.clone(), resource),
            None => {
                let problem =
                    format!("nothing is known of the first {offset} bytes; write from the beginning");
                return Err(Status::out_of_range(problem));
            }
        };
        let mut message = first;
        let mut held = self.reapi.uploads.hold(name.to_owned(), upload);
        loop {
            let expected = held.upload().received;
            if u64::try_from(message.write_offset).ok() != Some(expected) {
                let problem = format!(
                    "the bytes from {} come, those from {expected} are next",
                    message.write_offset
                );
                drop(held.release());
                return Err(Status::invalid_argument(problem));
            }
            let finish = message.finish_write;
            if held.upload().push(message.data).await.is_err() || finish {
                let upload = held.release();
                let received = upload.received;
                upload.end().await?;
                return Ok(received);
            }
            let next = timeout(PATIENCE, messages.message()).await;
            let silent = |_| {
                Err(Status::deadline_exceeded(format!(
                    "nothing came for {} s",
                    PATIENCE.as_secs()
                )))
            };
            message = match next.unwrap_or_else(silent) {
                Ok(Some(next)) if next.resource_name.is_empty() || next.resource_name == name => next,
                Ok(Some(_)) => {
                    drop(held.release());
                    return Err(Status::invalid_argument("a stream writes one resource"));
                }
                // Its client may go on later.
                cut_off => {
                    let ended = "the stream ended before the blob was complete";
                    return Err(cut_off.err().unwrap_or_else(|| Status::invalid_argument(ended)));
                }
            };
        }
    }
}

#[tonic::async_trait]
impl ByteStream for ByteStreamService {
    type ReadStream = ReceiverStream<Result<ReadResponse, Status>>;

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let ReadRequest {
            resource_name,
            read_offset,
            read_limit,
        } = request.into_inner();
        let Resource { blob, encoding } = Resource::of_read(&resource_name)?;
        let (Ok(offset), Ok(limit)) = (u64::try_from(read_offset), u64::try_from(read_limit)) else {
            return Err(Status::out_of_range("offset and limit are not negative"));
        };
        if offset > blob.size {
            return Err(Status::out_of_range(format!(
                "{offset} lies behind the end of blob {blob}"
            )));
        }
        if encoding == Encoding::Zstd && limit > 0 {
            return Err(Status::invalid_argument("what is compressed is read to its end"));
        }
        let permit = self.reapi.stream()?;
        let blobs = self.reapi.blobs.clone();
        let pieces = blocking(move || {
            let digest = blobs.locate(&blob);
            let digest =
                digest.ok_or_else(|| Status::not_found(format!("blob {blob} is not in the store")))?;
            blobs
                .read_from(&digest, offset)
                .map_err(|error| status::of_blob(&error))
        });
        let pieces = pieces.await?;
        Ok(Response::new(Outgoing::start(move |replies| {
            let _permit = permit;
            match encoding {
                Encoding::Identity => send_plain(pieces, limit, replies),
                Encoding::Zstd => send_compressed(pieces, replies),
            }
        })))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteRequest>>,
    ) -> Result<Response<WriteResponse>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the stream has no message"))?;
        let name = first.resource_name.clone();
        let resource = Resource::of_write(&name)?;
        if resource.blob.size > BLOB_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "a blob has {BLOB_BYTES_MAX} bytes at most"
            )));
        }
        let blobs = self.reapi.blobs.clone();
        let is_there = blocking(move || Ok(blobs.locate(&resource.blob).is_some())).await?;
        let _permit = self.reapi.stream()?;
        let committed = if is_there {
            // Its client need not send the rest. Of what is compressed it is not known how long it would be.
            match resource.encoding {
                Encoding::Identity => resource.blob.size.cast_signed(),
                Encoding::Zstd => -1,
            }
        } else {
            let received = self.receive(&name, resource, first, &mut messages).await?;
            self.reapi.note_stored();
            received.cast_signed()
        };
        Ok(Response::new(WriteResponse {
            committed_size: committed,
        }))
    }

    async fn query_write_status(
        &self,
        request: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        let name = request.into_inner().resource_name;
        let blob = Resource::of_write(&name)?.blob;
        let blobs = self.reapi.blobs.clone();
        let complete = blocking(move || Ok(blobs.locate(&blob).is_some())).await?;
        let committed = match (complete, self.reapi.uploads.received(&name)) {
            (true, _) => blob.size,
            (false, Some(received)) => received,
            (false, None) => return Err(Status::not_found(format!("no write of {name} is known"))),
        };
        Ok(Response::new(QueryWriteStatusResponse {
            committed_size: committed.cast_signed(),
            complete,
        }))
    }
}

type Replies = Outgoing<ReadResponse>;

/// Sends what there is, up to a limit (0: none).
fn send_plain(pieces: BlobPieces, limit: u64, replies: &Replies) -> Result<(), Unsent> {
    let mut left = if limit == 0 { u64::MAX } else { limit };
    for piece in pieces {
        let mut data = piece.map_err(|error| status::of_blob(&error))?;
        data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= data.len() as u64;
        replies.send(ReadResponse { data })?;
        if left == 0 {
            break;
        }
    }
    Ok(())
}

fn send_compressed(pieces: BlobPieces, replies: &Replies) -> Result<(), Unsent> {
    let failed = |cause: std::io::Error| Status::data_loss(cause.to_string());
    let mut encoder =
        zstd::stream::read::Encoder::new(BlobReading::from(pieces), ZSTD_LEVEL).map_err(failed)?;
    loop {
        let mut data = Vec::with_capacity(MESSAGE_BYTES);
        (&mut encoder)
            .take(MESSAGE_BYTES as u64)
            .read_to_end(&mut data)
            .map_err(failed)?;
        if data.is_empty() {
            return Ok(());
        }
        replies.send(ReadResponse { data })?;
    }
}
