//! Which outputs are wanted, and keeping them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;
use thresh_cas::Manifest;
use thresh_core::digest::Digest;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Uploader;
use super::collect::{Collected, Source, collect, open_folder};

/// How long it may take to bring outputs to the farm.
const UPLOAD_TIME: Duration = Duration::from_secs(600);

/// Why outputs are not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputsError {
    /// A file cannot be read, or is none.
    #[error("keep output {}: {cause}", path.display())]
    Unreadable {
        /// Below the working directory.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// They make no manifest.
    #[error("keep outputs: {0}")]
    Manifest(#[from] thresh_cas::ManifestError),
    /// The farm does not take them.
    #[error("keep outputs: {0}")]
    Upload(String),
}

/// Which outputs of an action are wanted.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// The action's input root, as the action sees it.
    pub(crate) root: Arc<OwnedFd>,
    /// The working directory, below the root.
    pub(crate) folder: PathBuf,
    /// Below the working directory. The empty path is all of it.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) uploader: Uploader,
    pub(crate) runtime: Handle,
}

impl Outputs {
    /// Makes the working directory, and the folders in which outputs are to appear.
    pub(crate) fn make_folders(&self) -> std::io::Result<()> {
        let above = self.paths.iter().filter_map(|path| path.parent());
        let folders = [Path::new("")].into_iter().chain(above);
        folders
            .map(|folder| self.folder.join(folder))
            .try_for_each(|folder| make_folder(&self.root, &folder))
    }

    /// Stores the outputs that there are, and their manifest, whose digest is returned. Blocks.
    /// It is given up when it `is_cancelled`, or takes too long.
    pub(crate) fn keep(&self, is_cancelled: &dyn Fn() -> bool) -> Result<Digest, OutputsError> {
        let Collected {
            entries, mut sources, ..
        } = collect(&self.root, &self.folder, &self.paths, is_cancelled)?;
        let manifest = Manifest::new(entries)?.encode();
        let digest = Digest::of(&manifest);
        sources.insert(digest, Source::Bytes(manifest.into()));
        let upload = async { timeout(UPLOAD_TIME, self.uploader.upload(sources)).await };
        let late = |_| OutputsError::Upload(format!("it took longer than {} s", UPLOAD_TIME.as_secs()));
        self.runtime.block_on(upload).map_err(late)??;
        Ok(digest)
    }
}

/// Makes a folder below another, with those above it.
fn make_folder(root: &OwnedFd, folder: &Path) -> std::io::Result<()> {
    let mut above = open_folder(root, Path::new(""))?;
    let mut path = PathBuf::new();
    for name in folder {
        match mkdirat(&above, Path::new(name), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        path.push(name);
        above = open_folder(root, &path)?;
    }
    Ok(())
}
