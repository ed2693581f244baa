//! Files that are fetched when someone opens them: programs with their debug sections, beside those without.
//!
//! Such a file begins empty and under a lease (`fcntl(2)`, `F_SETLEASE`): whoever opens it is held up by the kernel,
//! which tells this process by `SIGIO`. The content is fetched and written, then the lease is let go, and the other
//! goes on as if it had always been there. The kernel waits no longer than `/proc/sys/fs/lease-break-time` (45 s):
//! after that the other finds an empty file, which costs a backtrace its lines. Where leases are not to be had, the
//! files are fetched beforehand.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use thresh_cas::{BlobStore, EntryKind, Manifest};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::error::PrepareError;
use super::fetch::{Fetcher, blocking};
use super::fill::make_folders;

/// Places files, and fetches those that are opened. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct OnDemand {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    store: BlobStore,
    /// All that were placed and whose run goes on.
    files: Mutex<Vec<Weak<DemandedFile>>>,
    /// Listens for the kernel; none until the first file is placed. Ends when this is dropped.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// A file that was placed; fetched at most once, and no longer when this is dropped.
#[derive(Debug)]
pub(super) struct DemandedFile {
    file: File,
    path: PathBuf,
    run: RunId,
    digest: Digest,
    size: u64,
    taken: Mutex<bool>,
}

impl OnDemand {
    pub(super) fn new(fetcher: Fetcher, store: BlobStore) -> Self {
        let inner = Inner {
            fetcher,
            store,
            files: Mutex::default(),
            tasks: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Places the files on demand of a manifest in `folder`; files that are there already are left alone. They can be
    /// fetched as long as what is returned lives.
    pub(super) async fn place(
        &self,
        run: RunId,
        manifest: &Manifest,
        folder: &Path,
    ) -> Result<Vec<Arc<DemandedFile>>, PrepareError> {
        let mut placed = Vec::new();
        for entry in manifest.entries() {
            let EntryKind::OnDemand { digest, size } = entry.kind else {
                continue;
            };
            let path = folder.join(&entry.path);
            let failed = |cause| PrepareError::io("make", &path, &cause);
            let Some(file) = create(folder, &path).map_err(failed)? else {
                continue;
            };
            let file = Arc::new(DemandedFile {
                file,
                path,
                run,
                digest,
                size,
                taken: Mutex::new(false),
            });
            match self.listen().and_then(|()| lease(&file.file, libc::F_WRLCK)) {
                Ok(()) => placed.push(file),
                Err(cause) => {
                    tracing::debug!(path = %file.path.display(), %cause, "fetched at once, as there are no leases");
                    self.fill(&file).await;
                }
            }
        }
        let mut files = self.inner.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| file.strong_count() > 0);
        files.extend(placed.iter().map(Arc::downgrade));
        drop(files);
        // The kernel may have told of one before it was among them.
        self.serve();
        Ok(placed)
    }

    /// Listens for those who open files, from the first call on.
    fn listen(&self) -> io::Result<()> {
        let mut tasks = self.tasks();
        if tasks.is_none() {
            let opened = signal(SignalKind::io())?;
            let mut listening = JoinSet::new();
            listening.spawn(listen(Arc::downgrade(&self.inner), opened));
            *tasks = Some(listening);
        }
        Ok(())
    }

    /// Fetches what someone is opening.
    fn serve(&self) {
        let mut files = self.inner.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files.iter_mut().filter_map(|file| file.upgrade());
        for file in files.filter(|file| file.is_opened() && file.take()) {
            let demand = self.clone();
            if let Some(tasks) = &mut *self.tasks() {
                while tasks.try_join_next().is_some() {}
                tasks.spawn(async move { demand.fill(&file).await });
            }
        }
    }

    /// Fetches the content of a file and lets whoever opens it go on.
    async fn fill(&self, file: &Arc<DemandedFile>) {
        if let Err(error) = self.try_fill(file).await {
            tracing::warn!("backtraces of run {} may lack lines: failed to {error}", file.run);
        }
        // The file may have no lease; then there is none to let go.
        let _ = lease(&file.file, libc::F_UNLCK);
    }

    async fn try_fill(&self, file: &Arc<DemandedFile>) -> Result<(), PrepareError> {
        let Inner { fetcher, store, .. } = &*self.inner;
        fetcher.demand(file.run, file.digest, file.size).await?;
        let (store, file) = (store.clone(), file.clone());
        blocking(move || {
            let blob = store.path_verified(&file.digest)?;
            let copied = File::open(blob).and_then(|mut blob| io::copy(&mut blob, &mut &file.file));
            copied.map_err(|cause| PrepareError::io("write", &file.path, &cause))?;
            Ok(())
        })
        .await?
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Option<JoinSet<()>>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until the worker is gone.
async fn listen(inner: Weak<Inner>, mut opened: Signal) {
    while opened.recv().await.is_some() {
        let Some(inner) = inner.upgrade() else { return };
        OnDemand { inner }.serve();
    }
}

impl DemandedFile {
    /// Whether someone waits for it.
    fn is_opened(&self) -> bool {
        lease_kind(&self.file) != libc::F_WRLCK
    }

    /// Whether this is the first call.
    fn take(&self) -> bool {
        !std::mem::replace(
            &mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner),
            true,
        )
    }
}

/// Makes an empty file; `None` when there is something already.
fn create(folder: &Path, path: &Path) -> io::Result<Option<File>> {
    if let Some(parent) = path.parent() {
        make_folders(folder, parent)?;
    }
    match OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
    {
        Ok(file) => Ok(Some(file)),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(cause) => Err(cause),
    }
}

#[expect(unsafe_code, reason = "no library offers leases")]
fn lease(file: &File, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call takes a number.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What lease is held; while someone opens the file, what it has to become.
#[expect(unsafe_code, reason = "no library offers leases")]
fn lease_kind(file: &File) -> libc::c_int {
    // SAFETY: the descriptor is open, and the call takes nothing.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) }
}
