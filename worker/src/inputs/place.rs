//! Where the cases of a run find its files.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tempfile::TempDir;
use thresh_core::id::RunId;

use super::janitor::Janitor;
use super::on_demand::DemandedFile;
use super::remap::Remap;
use super::trees::SharedTree;
use crate::sandbox::{CaseView, View};

/// Where the cases of a run find its files.
#[derive(Debug)]
pub(super) enum Place {
    /// Where the client has them.
    Client,
    /// At the client's paths, in a view of the run's folder.
    View(Arc<RunFolder>),
    /// In the run's folder, at other paths.
    Remapped { folder: Arc<RunFolder>, remap: Remap },
}

impl Place {
    /// Returns a text that may hold paths of the client with the paths that processes are to use.
    pub(super) fn map(&self, text: &OsStr) -> OsString {
        match self {
            Self::Client | Self::View(_) => text.to_owned(),
            Self::Remapped { remap, .. } => remap.apply(text),
        }
    }

    /// Whether a case finds at the client's paths what the client has there.
    pub(super) fn shows_clients_files(&self) -> bool {
        match self {
            Self::Client => true,
            Self::View(folder) => folder.view.get().is_some_and(View::isolates),
            Self::Remapped { .. } => false,
        }
    }

    /// Makes what one case has for itself.
    pub(super) fn case(&self) -> io::Result<CasePlace> {
        self.of_process(View::isolated_case)
    }

    /// Makes what a setup script has for itself. What it writes to the run's folders is for the cases.
    pub(super) fn setup_script(&self) -> io::Result<CasePlace> {
        self.of_process(View::case)
    }

    fn of_process(&self, view: impl FnOnce(&View) -> io::Result<CaseView>) -> io::Result<CasePlace> {
        match self {
            Self::Client => Ok(CasePlace::Client),
            Self::View(folder) => {
                let of_run = folder.view.get();
                let of_run = of_run.ok_or_else(|| io::Error::other("the run has no view"))?;
                view(of_run).map(CasePlace::View)
            }
            Self::Remapped { folder, .. } => tempfile::Builder::new()
                .prefix("tmp-")
                .tempdir_in(&folder.path)
                .map(CasePlace::Temp),
        }
    }
}

/// What one case has for itself; gone when dropped.
#[derive(Debug)]
pub(crate) enum CasePlace {
    /// Nothing.
    Client,
    /// Temp folders at their usual paths.
    View(CaseView),
    /// A temp folder for `TMPDIR`.
    Temp(TempDir),
}

impl CasePlace {
    pub(super) fn view(&self) -> Option<&CaseView> {
        match self {
            Self::View(view) => Some(view),
            Self::Client | Self::Temp(_) => None,
        }
    }

    /// The value of `TMPDIR`, where it is not left as it is.
    pub(super) fn temp_dir(&self) -> Option<&Path> {
        match self {
            Self::Temp(folder) => Some(folder.path()),
            Self::Client | Self::View(_) => None,
        }
    }

    /// A temp folder's path on this machine, and as the process sees it.
    pub(super) fn shared_temp(&self) -> (PathBuf, PathBuf) {
        match self {
            Self::Client => (std::env::temp_dir(), std::env::temp_dir()),
            Self::View(view) => (view.tmp(), PathBuf::from("/tmp")),
            Self::Temp(folder) => (folder.path().to_owned(), folder.path().to_owned()),
        }
    }
}

/// The folder of a run on the worker's disk. When the last holder drops it, it is removed in the background.
#[derive(Debug)]
pub(super) struct RunFolder {
    run: RunId,
    path: PathBuf,
    view: OnceLock<View>,
    /// Files that are fetched when they are opened.
    demanded: Mutex<Vec<Arc<DemandedFile>>>,
    /// What its view is made of.
    trees: Mutex<Vec<Arc<SharedTree>>>,
    janitor: Janitor,
}

impl RunFolder {
    pub(super) fn new(run: RunId, path: PathBuf, janitor: Janitor) -> Self {
        Self {
            run,
            path,
            view: OnceLock::new(),
            demanded: Mutex::default(),
            trees: Mutex::default(),
            janitor,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn run(&self) -> RunId {
        self.run
    }

    /// Has these files fetched when they are opened, as long as the run goes on.
    pub(super) fn add_demanded(&self, files: Vec<Arc<DemandedFile>>) {
        let mut demanded = self.demanded.lock().unwrap_or_else(PoisonError::into_inner);
        demanded.extend(files);
    }

    /// Keeps a tree until the folder is removed.
    pub(super) fn hold(&self, tree: Arc<SharedTree>) {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.push(tree);
    }

    /// A folder of its view that all of its processes share, as they see it.
    pub(super) fn shared_folder(&self, at: &Path) -> io::Result<OwnedFd> {
        let view = self
            .view
            .get()
            .ok_or_else(|| io::Error::other("the run has no view"))?;
        view.shared_folder(at)
    }

    /// Sets the view that its cases get. It is removed with the folder.
    pub(super) fn set_view(&self, view: View) {
        self.view.set(view).expect("a run's view is made once");
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        let trees = std::mem::take(self.trees.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.janitor
            .remove(self.view.take(), trees, std::mem::take(&mut self.path));
    }
}
