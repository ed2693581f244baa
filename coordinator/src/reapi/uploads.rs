//! Blobs that come as streams. One that is cut off is kept for a while, so that its client can go on where it was.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thresh_cas::{PackError, PackStore};
use tokio::sync::mpsc;
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

/// Uploads that were cut off, by resource name. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Uploads {
    parked: Arc<Mutex<HashMap<String, Parked>>>,
}

#[derive(Debug)]
struct Parked {
    upload: Upload,
    since: Instant,
}

impl Uploads {
    /// Keeps an upload that was cut off.
    pub(super) fn park(&self, name: String, upload: Upload) {
        let mut parked = self.parked();
        parked.retain(|_, parked| parked.since.elapsed() < KEPT);
        if parked.len() < UPLOADS_MAX {
            let since = Instant::now();
            parked.insert(name, Parked { upload, since });
            let uploads = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(KEPT).await;
                uploads.parked().retain(|_, parked| parked.since.elapsed() < KEPT);
            });
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

/// A blob that comes.
#[derive(Debug)]
pub(super) struct Upload {
    /// Bytes of the stream that have come.
    pub(super) received: u64,
    pieces: mpsc::Sender<Vec<u8>>,
    storing: JoinHandle<Result<(), PackError>>,
}

impl Upload {
    /// Starts a thread that stores what comes.
    pub(super) fn start(blobs: PackStore, resource: Resource) -> Self {
        let (pieces, coming) = mpsc::channel(MESSAGES_AHEAD);
        let storing = tokio::task::spawn_blocking(move || {
            let name = resource.blob;
            let stream = Coming {
                pieces: coming,
                piece: Vec::new(),
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
            pieces,
            storing,
        }
    }

    /// Takes the next bytes. When nobody wants them any more, [`end`](Self::end) says why.
    pub(super) async fn push(&mut self, piece: Vec<u8>) -> Result<(), Unwanted> {
        let length = piece.len() as u64;
        if length > 0 {
            self.pieces.send(piece).await.map_err(|_| Unwanted)?;
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
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => (self.piece, self.at) = (piece, 0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
