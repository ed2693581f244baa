//! Reads packs of a bucket for the store of packs, which knows nothing of async.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use thresh_cas::PackReader;
use thresh_core::digest::Digest;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// No answer takes longer: requests are given up before.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Hands reads to a thread with a runtime of its own: who asks may block all threads of the coordinator's.
#[derive(Debug)]
pub(super) struct Reader {
    /// Unbounded, as whoever asks waits for the answer: there are no more questions than threads.
    wanted: UnboundedSender<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    pack: Digest,
    range: Range<u64>,
    answer: SyncSender<io::Result<Vec<u8>>>,
}

impl Reader {
    /// Reads below `folder`, by connections of its own. The thread ends with the last of its readers.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(store: AmazonS3, folder: Path) -> io::Result<Self> {
        let (wanted, asked) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("thresh-bucket".to_owned())
            .spawn(move || runtime.block_on(answer_all(Arc::new(store), folder, asked)))?;
        Ok(Self { wanted })
    }
}

async fn answer_all(store: Arc<AmazonS3>, folder: Path, mut asked: UnboundedReceiver<Wanted>) {
    while let Some(wanted) = asked.recv().await {
        let (store, path) = (store.clone(), folder.clone().join(wanted.pack.to_string()));
        tokio::spawn(async move {
            let read = store.get_range(&path, wanted.range).await;
            let read = read.map(Vec::from).map_err(|error| match error {
                object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
                error => io::Error::other(error),
            });
            // Whoever asked may be gone.
            let _ = wanted.answer.send(read);
        });
    }
}

impl PackReader for Reader {
    fn read_exact_at(&self, pack: &Digest, into: &mut [u8], offset: u64) -> io::Result<()> {
        let (answer, answered) = sync_channel(1);
        let wanted = Wanted {
            pack: *pack,
            range: offset..offset + into.len() as u64,
            answer,
        };
        let gone = || io::Error::other("the coordinator is shutting down");
        self.wanted.send(wanted).map_err(|_| gone())?;
        let read = answered.recv_timeout(ANSWER_TIME).map_err(|end| match end {
            RecvTimeoutError::Timeout => io::Error::from(io::ErrorKind::TimedOut),
            RecvTimeoutError::Disconnected => gone(),
        })??;
        if read.len() != into.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.copy_from_slice(&read);
        Ok(())
    }
}
