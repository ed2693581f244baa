//! Blobs that come as streams. One that is cut off is kept for a while, so that its client can go on where it was.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thresh_cas::{PackError, PackStore};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tonic::Status;

use super::resource::{Encoding, Resource};
use super::status;

/// How long an upload that was cut off is kept.
const KEPT: Duration = Duration::from_secs(120);
/// So many are kept. Each holds a thread and some megabytes.
const UPLOADS_MAX: usize = 64;
/// Zstandard's window: 8 MiB, which every level but those for long distances keeps to.
const WINDOW_LOG_MAX: u32 = 23;
/// Messages between a stream and the thread that stores what it brings.
const MESSAGES_AHEAD: usize = 4;

/// Bytes of all streams together that wait to be stored.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// Uploads that were cut off, by resource name, and the memory of those that come. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Uploads {
    parked: Arc<Mutex<HashMap<String, Parked>>>,
    /// Bytes that may come yet before some are stored.
    room: Arc<Semaphore>,
}

/// An upload whose client is there. If it goes away in the middle, the upload is kept for a while.
#[derive(Debug)]
pub(super) struct Held {
    uploads: Uploads,
    name: String,
    upload: Option<Upload>,
}

impl Held {
    /// The upload.
    pub(super) fn upload(&mut self) -> &mut Upload {
        self.upload.as_mut().expect("it is released at the end only")
    }

    /// It is not to be kept.
    pub(super) fn release(mut self) -> Upload {
        self.upload.take().expect("it is released once")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            self.uploads.park(std::mem::take(&mut self.name), upload);
        }
    }
}

#[derive(Debug)]
struct Parked {
    upload: Upload,
    since: Instant,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            parked: Arc::default(),
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
        }
    }
}

impl Uploads {
    /// Begins an upload.
    pub(super) fn start(&self, blobs: PackStore, resource: Resource) -> Upload {
        Upload::start(self.room.clone(), blobs, resource)
    }

    /// Keeps an upload if its client goes away.
    pub(super) fn hold(&self, name: String, upload: Upload) -> Held {
        Held {
            uploads: self.clone(),
            name,
            upload: Some(upload),
        }
    }

    /// Keeps an upload that was cut off.
    fn park(&self, name: String, upload: Upload) {
        let mut parked = self.parked();
        parked.retain(|_, parked| parked.since.elapsed() < KEPT);
        if parked.len() < UPLOADS_MAX {
            let since = Instant::now();
            parked.insert(name, Parked { upload, since });
            let uploads = self.clone();
            // There is none where everything ends.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(async move {
                    tokio::time::sleep(KEPT).await;
                    uploads.parked().retain(|_, parked| parked.since.elapsed() < KEPT);
                });
            }
        }
    }

    /// Takes up an upload again.
    pub(super) fn take(&self, name: &str) -> Option<Upload> {
        self.parked().remove(name).map(|parked| parked.upload)
    }

    /// How many bytes of a stream that was cut off have come.
    pub(super) fn received(&self, name: &str) -> Option<u64> {
        self.parked().get(name).map(|parked| parked.upload.received)
    }

    fn parked(&self) -> MutexGuard<'_, HashMap<String, Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes, and their part of the memory that all share.
type Piece = (Vec<u8>, OwnedSemaphorePermit);

/// A blob that comes.
#[derive(Debug)]
pub(super) struct Upload {
    /// Bytes of the stream that have come.
    pub(super) received: u64,
    room: Arc<Semaphore>,
    pieces: mpsc::Sender<Piece>,
    storing: JoinHandle<Result<(), PackError>>,
}

impl Upload {
    /// Starts a thread that stores what comes.
    fn start(room: Arc<Semaphore>, blobs: PackStore, resource: Resource) -> Self {
        let (pieces, coming) = mpsc::channel(MESSAGES_AHEAD);
        let storing = tokio::task::spawn_blocking(move || {
            let name = resource.blob;
            let stream = Coming {
                pieces: coming,
                piece: None,
                at: 0,
            };
            match resource.encoding {
                Encoding::Identity => blobs.ingest(&name, stream),
                // No more of it is unpacked than the name says.
                Encoding::Zstd => match decoder(stream) {
                    Ok(decoder) => blobs.ingest(&name, decoder),
                    Err(cause) => Err(PackError::Source { name, cause }),
                },
            }
            .map(drop)
        });
        Self {
            received: 0,
            room,
            pieces,
            storing,
        }
    }

    /// Takes the next bytes. When nobody wants them any more, [`end`](Self::end) says why.
    pub(super) async fn push(&mut self, piece: Vec<u8>) -> Result<(), Unwanted> {
        let length = piece.len() as u64;
        if length > 0 {
            let wanted = u32::try_from(piece.len().min(WAITING_BYTES_MAX)).map_err(|_| Unwanted)?;
            let room = self.room.clone().acquire_many_owned(wanted).await;
            let room = room.map_err(|_| Unwanted)?;
            self.pieces.send((piece, room)).await.map_err(|_| Unwanted)?;
        }
        self.received += length;
        Ok(())
    }

    /// All has come: waits until it is stored.
    pub(super) async fn end(self) -> Result<(), Status> {
        drop(self.pieces);
        let stored = self.storing.await;
        let stored = stored.map_err(|ended| Status::internal(format!("storing ended early: {ended}")))?;
        stored.map_err(|error| status::of_received(&error))
    }
}

/// Unpacks a stream, with no more memory than the usual levels of compression need.
pub(super) fn decoder<R: Read>(stream: R) -> io::Result<zstd::Decoder<'static, BufReader<R>>> {
    let mut decoder = zstd::Decoder::new(stream)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// Storing has ended early.
#[derive(Debug)]
pub(super) struct Unwanted;

/// The bytes that come, as a stream.
struct Coming {
    pieces: mpsc::Receiver<Piece>,
    piece: Option<Piece>,
    at: usize,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = loop {
            match &self.piece {
                Some((piece, _)) if self.at < piece.len() => break &piece[self.at..],
                _ => {
                    // What is stored makes room before the next is waited for, or nothing may ever come.
                    self.piece = None;
                    (self.piece, self.at) = (self.pieces.blocking_recv(), 0);
                }
            }
            if self.piece.is_none() {
                return Ok(0);
            }
        };
        let count = buffer.len().min(left.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use thresh_cas::{BlobName, DigestFunction};
    use thresh_proto::testing::fuzz;

    use super::*;

    #[tokio::test]
    async fn an_upload_whose_client_goes_away_at_any_moment_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let uploads = Uploads::default();
        let resource = Resource {
            blob: BlobName::of(DigestFunction::Blake3, &[1; 10]),
            encoding: Encoding::Identity,
        };
        let mut held = uploads.hold("name".to_owned(), uploads.start(store.clone(), resource));
        held.upload().push(vec![1; 4]).await.unwrap();
        // As a handler is that waits for something.
        drop(held);
        assert_eq!(uploads.received("name"), Some(4));
        let mut held = uploads.hold("name".to_owned(), uploads.take("name").unwrap());
        held.upload().push(vec![1; 6]).await.unwrap();
        held.release().end().await.unwrap();
        assert_eq!(uploads.received("name"), None);
        assert!(store.locate(&resource.blob).is_some());
    }

    #[tokio::test]
    async fn what_waits_to_be_stored_has_a_bound() {
        let uploads = Uploads::default();
        let all = uploads.room.clone().acquire_many_owned(WAITING_BYTES_MAX as u32);
        let all = all.await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let resource = Resource {
            blob: BlobName::of(DigestFunction::Blake3, &[1; 10]),
            encoding: Encoding::Identity,
        };
        let mut upload = uploads.start(store, resource);
        let mut push = Box::pin(upload.push(vec![1; 10]));
        assert!(poll_once(&mut push).is_none(), "there is no room");
        drop(all);
        push.await.unwrap();
        upload.end().await.unwrap();
        assert_eq!(uploads.room.available_permits(), WAITING_BYTES_MAX);
    }

    #[tokio::test]
    async fn what_is_stored_makes_room_though_its_upload_is_not_at_its_end() {
        let uploads = Uploads::default();
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let start = |byte: u8, size: usize| {
            let resource = Resource {
                blob: BlobName::of(DigestFunction::Blake3, &vec![byte; size]),
                encoding: Encoding::Identity,
            };
            uploads.start(store.clone(), resource)
        };
        let mut slow = start(1, WAITING_BYTES_MAX + 1);
        slow.push(vec![1; WAITING_BYTES_MAX]).await.unwrap();
        let mut other = start(2, 10);
        other.push(vec![2; 10]).await.unwrap();
        other.end().await.unwrap();
        slow.push(vec![1]).await.unwrap();
        slow.end().await.unwrap();
    }

    #[test]
    fn a_compressed_stream_makes_its_blob_or_is_refused() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(5_000).collect();
        let resource = Resource {
            blob: BlobName::of(DigestFunction::Blake3, &content),
            encoding: Encoding::Zstd,
        };
        let uploads = Uploads::default();
        let upload = |bytes: &[u8], piece_bytes: usize| {
            runtime.block_on(async {
                let mut upload = uploads.start(store.clone(), resource);
                for piece in bytes.chunks(piece_bytes) {
                    // Why nobody wants it any more is said at the end.
                    if upload.push(piece.to_vec()).await.is_err() {
                        break;
                    }
                }
                upload.end().await
            })
        };
        let valid = zstd::encode_all(&content[..], 3).unwrap();
        upload(&valid[..valid.len() - 1], 100).unwrap_err();
        assert_eq!(store.locate(&resource.blob), None);
        upload(&valid, 100).unwrap();
        fuzz(1_000, &valid, |bytes| match upload(bytes, 1 + bytes.len() / 3) {
            Ok(()) => assert!(zstd::decode_all(bytes).unwrap() == content),
            Err(refused) => assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}"),
        });
        assert_eq!(uploads.room.available_permits(), WAITING_BYTES_MAX);
    }

    /// What a future says when it is asked once.
    fn poll_once<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        }
    }
}
