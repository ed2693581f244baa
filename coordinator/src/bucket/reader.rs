//! Reads packs of a bucket for the store of packs, which knows nothing of async.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use thresh_cas::PackReader;
use thresh_core::digest::Digest;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Hands reads to a task of the runtime. The task ends with the last of its readers.
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
    /// Must be called within a runtime.
    pub(super) fn start(store: Arc<AmazonS3>, folder: Path) -> Self {
        let (wanted, mut asked) = unbounded_channel::<Wanted>();
        tokio::spawn(async move {
            while let Some(wanted) = asked.recv().await {
                let (store, path) = (store.clone(), folder.clone().join(wanted.pack.to_string()));
                tokio::spawn(async move {
                    let read = store.get_range(&path, wanted.range).await;
                    let read = read.map(Vec::from).map_err(|error| match error {
                        object_store::Error::NotFound { .. } => {
                            io::Error::new(io::ErrorKind::NotFound, error)
                        }
                        error => io::Error::other(error),
                    });
                    // Whoever asked may be gone.
                    let _ = wanted.answer.send(read);
                });
            }
        });
        Self { wanted }
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
        let read = answered.recv().map_err(|_| gone())??;
        if read.len() != into.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.copy_from_slice(&read);
        Ok(())
    }
}
