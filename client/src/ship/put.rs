//! Chunks on their way to the farm.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use thresh_core::chunk::Frame;
use thresh_proto::FRAMES_BYTES_MAX;
use thresh_proto::convert::frame_to_wire;
use thresh_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::upload::UploadError;

/// Chunks that are packed at once, on all cores.
pub(super) const PACKED_TOGETHER: usize = 32;
/// Messages that wait in memory, at most 1 MiB each.
const WAITING_MAX: usize = 2;

/// Takes chunks and sends them in messages of a good length.
#[derive(Debug)]
pub(super) struct Sender {
    messages: mpsc::Sender<Vec<v1::Frame>>,
    frames: Vec<v1::Frame>,
    bytes: usize,
    shipped: Arc<AtomicU64>,
}

/// Nobody takes the chunks any more; the reply of the farm says why.
#[derive(Debug)]
pub(super) struct Closed;

/// What a producer comes to: an error of its own, or that nobody takes the chunks any more.
pub(super) type Produced = Result<Result<(), Closed>, UploadError>;

impl Sender {
    /// Packs chunks, several at once on all cores, and sends them in order.
    pub(super) fn send_packed<T: Sync>(
        &mut self,
        chunks: &[T],
        pack: impl Fn(&T) -> Result<Frame, UploadError> + Sync,
    ) -> Produced {
        for together in chunks.chunks(PACKED_TOGETHER) {
            let frames = together.par_iter().map(&pack);
            for frame in frames.collect::<Result<Vec<_>, _>>()? {
                if let Err(Closed) = self.send(frame) {
                    return Ok(Err(Closed));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Sends a chunk, sooner or later. Blocks while the farm takes none.
    fn send(&mut self, frame: Frame) -> Result<(), Closed> {
        let bytes = frame.data.len();
        if self.bytes + bytes > FRAMES_BYTES_MAX {
            self.flush()?;
        }
        self.bytes += bytes;
        self.frames.push(frame_to_wire(frame));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Closed> {
        let frames = std::mem::take(&mut self.frames);
        self.shipped.fetch_add(self.bytes as u64, Ordering::Relaxed);
        self.bytes = 0;
        if frames.is_empty() {
            return Ok(());
        }
        self.messages.blocking_send(frames).map_err(|_| Closed)
    }
}

/// A thread that makes chunks.
#[derive(Debug)]
pub(super) struct Producer(JoinHandle<Produced>);

impl Producer {
    /// Starts a thread, which may block, and returns what it sends. The bytes are added to `shipped`.
    pub(super) fn start(
        shipped: Arc<AtomicU64>,
        produce: impl FnOnce(&mut Sender) -> Produced + Send + 'static,
    ) -> (Self, ReceiverStream<Vec<v1::Frame>>) {
        let (messages, receiver) = mpsc::channel(WAITING_MAX);
        let mut sender = Sender {
            messages,
            frames: Vec::new(),
            bytes: 0,
            shipped,
        };
        let producing = move || {
            let produced = produce(&mut sender)?;
            Ok(produced.and_then(|()| sender.flush()))
        };
        let producer = Self(tokio::task::spawn_blocking(producing));
        (producer, ReceiverStream::new(receiver))
    }

    /// The farm's reply to what was sent, or why it came to none.
    pub(super) async fn reply<T>(self, reply: Result<Response<T>, Status>) -> Result<T, UploadError> {
        // A producer that failed ended the stream early, so its error is the cause.
        let produced = self.0.await.map_err(|ended| UploadError::ended_early(&ended))??;
        match (reply, produced) {
            (Ok(reply), Ok(())) => Ok(reply.into_inner()),
            (Ok(_), Err(Closed)) => Err(Status::internal("the farm stopped taking chunks").into()),
            (Err(status), _) => Err(status.into()),
        }
    }
}
