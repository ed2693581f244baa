//! Removes the folders of runs that are over, and old blobs, without holding anyone up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thresh_cas::BlobStore;
use thresh_core::digest::Digest;

use super::trees::{SharedTree, Trees};
use crate::sandbox::View;

/// How often it is looked whether there are too many blobs, while runs end.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// Gives the janitor work. The thread ends when the last of these is gone.
#[derive(Clone, Debug)]
pub(super) struct Janitor {
    chores: Sender<Chore>,
    in_use: InUse,
}

#[derive(Debug)]
struct Chore {
    view: Option<View>,
    /// Of which the view is made.
    trees: Vec<Arc<SharedTree>>,
    folder: PathBuf,
}

/// The blobs that runs need now, by the folder of the run.
type InUse = Arc<Mutex<BTreeMap<PathBuf, BTreeSet<Digest>>>>;

impl Janitor {
    /// Starts the thread. It keeps at most `bytes_max` bytes of blobs that no run uses.
    pub(super) fn start(
        store: BlobStore,
        trees: Trees,
        bytes_max: u64,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (chores, received) = channel();
        let in_use = InUse::default();
        let shared = in_use.clone();
        let thread = std::thread::Builder::new()
            .name("thresh-janitor".to_owned())
            .spawn(move || {
                let keeper = Keeper {
                    store,
                    trees,
                    bytes_max,
                    in_use: shared,
                };
                keeper.work(&received);
            })?;
        Ok((Self { chores, in_use }, thread))
    }

    /// Keeps blobs until the run with this folder is removed.
    pub(super) fn keep(&self, folder: &Path, digests: impl IntoIterator<Item = Digest>) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.entry(folder.to_owned()).or_default().extend(digests);
    }

    /// Removes the folder of a run that is over.
    pub(super) fn remove(&self, view: Option<View>, trees: Vec<Arc<SharedTree>>, folder: PathBuf) {
        // Fails only when the thread is gone; the next worker in the data folder removes it then.
        let _ = self.chores.send(Chore { view, trees, folder });
    }
}

/// What the thread looks after.
struct Keeper {
    store: BlobStore,
    trees: Trees,
    bytes_max: u64,
    in_use: InUse,
}

impl Keeper {
    fn work(&self, chores: &Receiver<Chore>) {
        self.trim();
        let (mut is_due, mut trimmed) = (false, Instant::now());
        loop {
            // To look at all blobs takes its time: seldom enough that short runs are not held up by it.
            let patience = match is_due {
                true => TRIM_EVERY.saturating_sub(trimmed.elapsed()),
                false => Duration::MAX,
            };
            match chores.recv_timeout(patience) {
                Ok(chore) => {
                    self.remove(chore);
                    is_due = trimmed.elapsed() < TRIM_EVERY;
                    if !is_due {
                        self.trim();
                        trimmed = Instant::now();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.trim();
                    (is_due, trimmed) = (false, Instant::now());
                }
                Err(RecvTimeoutError::Disconnected) => return self.trim(),
            }
        }
    }

    fn remove(&self, Chore { view, trees, folder }: Chore) {
        drop(view);
        drop(trees);
        if let Err(cause) = crate::removal::remove(&folder) {
            tracing::warn!(folder = %folder.display(), %cause, "the folder of a run could not be removed");
        }
        self.in_use
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&folder);
        self.trees.trim(false);
    }

    fn trim(&self) {
        let used = |digest: &Digest| {
            let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            in_use.values().any(|digests| digests.contains(digest))
        };
        match self.store.trim(self.bytes_max, &used) {
            Ok(trimmed) if trimmed.blobs_removed > 0 => {
                // What they link to stays on the disk for as long as they do.
                self.trees.trim(true);
                tracing::info!(?trimmed, "old blobs were removed");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("failed to {error}"),
        }
    }
}
