//! Chunks on their way to the farm.

use std::sync::atomic::Ordering;

use thresh_core::chunk::Frame;
use thresh_proto::FRAMES_BYTES_MAX;
use thresh_proto::convert::frame_to_wire;
use thresh_proto::v1::PutRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::upload::{Link, UploadError};

/// Messages that wait in memory, at most 1 MiB each.
const WAITING_MAX: usize = 2;

/// Takes chunks and sends them in messages of a good length.
pub(super) struct Sender {
    messages: mpsc::Sender<PutRequest>,
    message: PutRequest,
    bytes: usize,
    link: Link,
}

/// Nobody takes the chunks any more; the reply of the farm says why.
pub(super) struct Closed;

impl Sender {
    /// Sends a chunk, sooner or later. Blocks while the farm takes none.
    pub(super) fn send(&mut self, frame: Frame) -> Result<(), Closed> {
        let bytes = frame.data.len();
        if self.bytes + bytes > FRAMES_BYTES_MAX {
            self.flush()?;
        }
        self.bytes += bytes;
        self.message.frames.push(frame_to_wire(frame));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Closed> {
        let message = std::mem::take(&mut self.message);
        self.link.shipped.fetch_add(self.bytes as u64, Ordering::Relaxed);
        self.bytes = 0;
        if message.frames.is_empty() {
            return Ok(());
        }
        self.messages.blocking_send(message).map_err(|_| Closed)
    }
}

/// Sends what `produce` makes, on a thread that may block, and returns what it returns when the farm has all of
/// it. A farm that refuses a chunk with `INVALID_ARGUMENT` says that it is not what its digest says.
///
/// # Errors
/// `produce` failed, or the farm refused.
pub(super) async fn put<T: Send + 'static>(
    link: &Link,
    produce: impl FnOnce(&mut Sender) -> Result<Result<T, Closed>, UploadError> + Send + 'static,
) -> Result<T, UploadError> {
    let (messages, receiver) = mpsc::channel(WAITING_MAX);
    let mut sender = Sender {
        messages,
        message: PutRequest::default(),
        bytes: 0,
        link: link.clone(),
    };
    let producing = tokio::task::spawn_blocking(move || {
        let produced = produce(&mut sender)?;
        Ok::<_, UploadError>(produced.and_then(|produced| sender.flush().map(|()| produced)))
    });
    let reply = link.client.clone().put(ReceiverStream::new(receiver)).await;
    // A producer that failed ended the stream early, so its error is the cause.
    let produced = producing
        .await
        .map_err(|ended| UploadError::ended_early(&ended))??;
    reply?;
    produced
        .map_err(|Closed| tonic::Status::internal("the farm stopped taking chunks without a reason").into())
}
