//! Blobs over the wire. The store blocks, so that each transfer has a blocking thread, with a few chunks
//! between it and the connection.

use thresh_cas::{BlobStore, BlobWriter};
use thresh_core::digest::Digest;
use thresh_proto::BLOB_CHUNK_BYTES_MAX;
use thresh_proto::convert::{InvalidMessage, digest_from_wire, digest_to_wire};
use thresh_proto::v1;
use thresh_proto::v1::blobs_server::Blobs;
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, status};

/// Chunks between a thread and its connection: with 1 MiB each, what one transfer keeps in memory.
const CHUNKS_AHEAD: usize = 4;

/// See [`Blobs`].
pub(crate) struct BlobsService {
    shared: Shared,
}

impl BlobsService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    fn store(&self) -> Result<BlobStore, Status> {
        let none =
            || Status::failed_precondition("this coordinator takes in-place runs only: it has no blobs");
        self.shared.blobs.clone().ok_or_else(none)
    }
}

#[tonic::async_trait]
impl Blobs for BlobsService {
    async fn find_missing(
        &self,
        request: Request<v1::FindMissingRequest>,
    ) -> Result<Response<v1::FindMissingReply>, Status> {
        let store = self.store()?;
        let digests = request.into_inner().digests;
        let digests = digests
            .iter()
            .map(|digest| digest_from_wire("digests", digest))
            .collect::<Result<Vec<_>, _>>()?;
        let missing = spawn_blocking(move || store.find_missing(&digests))
            .await
            .map_err(ended_early)?;
        let digests = missing.into_iter().map(digest_to_wire).collect();
        Ok(Response::new(v1::FindMissingReply { digests }))
    }

    async fn put(
        &self,
        request: Request<Streaming<v1::PutRequest>>,
    ) -> Result<Response<v1::PutReply>, Status> {
        let store = self.store()?;
        let mut messages = request.into_inner();
        let first = messages.message().await?.unwrap_or_default();
        let digest = digest_from_wire("digest", &first.digest)?;
        let (pieces, inbox) = mpsc::channel(CHUNKS_AHEAD);
        let size_bytes = first.size_bytes;
        let writing = spawn_blocking(move || write(&store, digest, size_bytes, inbox));
        let mut next = Some(first);
        while let Some(message) = next {
            if message.content.len() > BLOB_CHUNK_BYTES_MAX {
                let problem = format!("is longer than {BLOB_CHUNK_BYTES_MAX} bytes");
                return Err(InvalidMessage::new("content", problem).into());
            }
            // A closed channel means that writing failed; its result says how.
            if pieces.send(Piece::Content(message.content)).await.is_err() {
                break;
            }
            next = messages.message().await?;
        }
        let _ = pieces.send(Piece::End).await;
        writing
            .await
            .map_err(ended_early)?
            .map_err(|error| status::of_blob(&error))?;
        Ok(Response::new(v1::PutReply {}))
    }

    type GetStream = ReceiverStream<Result<v1::GetReply, Status>>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let store = self.store()?;
        let digest = digest_from_wire("digest", &request.into_inner().digest)?;
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD);
        spawn_blocking(move || read(&store, &digest, &chunks));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn ended_early(error: JoinError) -> Status {
    Status::internal(format!("a thread that handled blobs ended early: {error}"))
}

/// What comes in: without the end, the sender went away, and nothing is stored.
enum Piece {
    Content(prost::bytes::Bytes),
    End,
}

fn write(
    store: &BlobStore,
    digest: Digest,
    size_bytes: u64,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<(), thresh_cas::StoreError> {
    let mut writer: BlobWriter = store.writer(digest, size_bytes)?;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Content(content) => writer.write(&content)?,
            Piece::End => return writer.commit(),
        }
    }
    Ok(())
}

/// Sends a blob, or why it cannot be had, until the receiver goes away.
fn read(store: &BlobStore, digest: &Digest, chunks: &mpsc::Sender<Result<v1::GetReply, Status>>) {
    let result = store.reader(digest).and_then(|mut reader| {
        while let Some(content) = reader.next_chunk()? {
            if chunks
                .blocking_send(Ok(v1::GetReply {
                    content: content.into(),
                }))
                .is_err()
            {
                break;
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        let _ = chunks.blocking_send(Err(status::of_blob(&error)));
    }
}
