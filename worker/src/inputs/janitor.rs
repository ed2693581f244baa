//! Removes the folders of runs that are over, and old blobs, without holding anyone up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use thresh_cas::BlobStore;
use thresh_core::digest::Digest;

use super::data_dir::remove_folder;
use crate::sandbox::View;

/// Gives the janitor work. The thread ends when the last of these is gone.
#[derive(Clone, Debug)]
pub(super) struct Janitor {
    chores: Sender<Chore>,
    in_use: InUse,
}

#[derive(Debug)]
struct Chore {
    view: Option<View>,
    folder: PathBuf,
}

/// The blobs that runs need now, by the folder of the run.
type InUse = Arc<Mutex<BTreeMap<PathBuf, BTreeSet<Digest>>>>;

impl Janitor {
    /// Starts the thread. It keeps at most `bytes_max` bytes of blobs that no run uses.
    pub(super) fn start(store: BlobStore, bytes_max: u64) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (chores, received) = channel();
        let in_use = InUse::default();
        let shared = in_use.clone();
        let thread = std::thread::Builder::new()
            .name("thresh-janitor".to_owned())
            .spawn(move || work(&received, &store, bytes_max, &shared))?;
        Ok((Self { chores, in_use }, thread))
    }

    /// Keeps blobs until the run with this folder is removed.
    pub(super) fn keep(&self, folder: &Path, digests: impl IntoIterator<Item = Digest>) {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.entry(folder.to_owned()).or_default().extend(digests);
    }

    /// Removes the folder of a run that is over.
    pub(super) fn remove(&self, view: Option<View>, folder: PathBuf) {
        // Fails only when the thread is gone; the next worker in the data folder removes it then.
        let _ = self.chores.send(Chore { view, folder });
    }
}

fn work(chores: &Receiver<Chore>, store: &BlobStore, bytes_max: u64, in_use: &InUse) {
    trim(store, bytes_max, in_use);
    while let Ok(Chore { view, folder }) = chores.recv() {
        drop(view);
        if let Err(cause) = remove_folder(&folder) {
            tracing::warn!(folder = %folder.display(), %cause, "the folder of a run could not be removed");
        }
        in_use
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&folder);
        trim(store, bytes_max, in_use);
    }
}

fn trim(store: &BlobStore, bytes_max: u64, in_use: &InUse) {
    let used = |digest: &Digest| {
        let in_use = in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.values().any(|digests| digests.contains(digest))
    };
    match store.trim(bytes_max, &used) {
        Ok(trimmed) if trimmed.blobs_removed > 0 => {
            tracing::info!(?trimmed, "old blobs were removed");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!("failed to {error}"),
    }
}
