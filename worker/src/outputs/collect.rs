//! Finds outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::bytes::Bytes;
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;
use thresh_cas::{Entry, EntryKind, digest_reader};
use thresh_core::digest::Digest;

use super::OutputsError;

/// The deepest output, the longest path in bytes, the most outputs, and their bytes together. What is beyond is no
/// output that anybody wants, and would hold up the worker.
const DEPTH_MAX: usize = 128;
const PATH_BYTES_MAX: usize = 4_095;
const ENTRIES_MAX: usize = 1_000_000;
const BYTES_MAX: u64 = 32 << 30;

/// Where the content of an output is.
#[derive(Debug)]
pub(super) enum Source {
    /// In a file, which nobody writes to any more.
    File {
        folder: Arc<OwnedFd>,
        /// Below the folder.
        path: PathBuf,
        size: u64,
    },
    Bytes(Bytes),
}

impl Source {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// Opens a file below a folder, whatever links there may be on the way.
pub(super) fn open_below(folder: &OwnedFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(folder, path, flags, Mode::empty(), ResolveFlags::BENEATH)?;
    Ok(file.into())
}

/// Opens a folder below another, whatever links there may be on the way.
pub(super) fn open_folder(root: &OwnedFd, folder: &Path) -> Result<OwnedFd, Errno> {
    let path = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    openat2(root, path, FOLDER, Mode::empty(), ResolveFlags::BENEATH)
}

/// What was found.
pub(super) struct Collected<'a> {
    root: Arc<OwnedFd>,
    is_cancelled: &'a dyn Fn() -> bool,
    bytes: u64,
    pub(super) entries: Vec<Entry>,
    /// Each content once.
    pub(super) sources: BTreeMap<Digest, Source>,
    /// Where it failed, if it did.
    failing: Option<PathBuf>,
}

/// Looks for outputs below a folder. Those that are not there are left out.
pub(super) fn collect<'a>(
    root: &OwnedFd,
    folder: &Path,
    paths: &[PathBuf],
    is_cancelled: &'a dyn Fn() -> bool,
) -> Result<Collected<'a>, OutputsError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause: Errno| OutputsError::Unreadable {
            path,
            cause: cause.into(),
        }
    };
    let root = open_folder(root, folder).map_err(failed(Path::new("")))?;
    let mut collected = Collected {
        root: Arc::new(root),
        is_cancelled,
        bytes: 0,
        entries: Vec::new(),
        sources: BTreeMap::new(),
        failing: None,
    };
    let mut seen = BTreeSet::new();
    for path in paths {
        // A path may lie in another that is wanted, too.
        let is_within = path.ancestors().any(|above| seen.contains(above));
        if is_within || !seen.insert(path.as_path()) {
            continue;
        }
        match collected.look(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Ok(()) => {}
            Err(cause) => return Err(failed(collected.failing.as_deref().unwrap_or(path))(cause)),
        }
    }
    collected.entries.sort_by(|a, b| a.path.cmp(&b.path));
    collected.entries.dedup_by(|a, b| a.path == b.path);
    Ok(collected)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Collected<'_> {
    fn look(&mut self, path: &Path) -> Result<(), Errno> {
        let root = self.root.clone();
        if path.as_os_str().is_empty() {
            return self.folder(root.try_clone().map_err(errno)?, path);
        }
        // Links on the way may lead elsewhere in the folder, but not out of it.
        let above = match open_folder(&root, path.parent().unwrap_or(Path::new(""))) {
            Err(Errno::XDEV | Errno::LOOP) => return Err(Errno::NOENT),
            above => above?,
        };
        self.entry(&above, path.file_name().unwrap_or_default(), path)
    }

    /// Adds what is at a name, and remembers where that failed.
    fn entry(&mut self, folder: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), Errno> {
        let added = self.add_entry(folder, name, path);
        if matches!(added, Err(cause) if cause != Errno::NOENT) {
            self.failing.get_or_insert_with(|| path.to_owned());
        }
        added
    }

    fn add_entry(&mut self, folder: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), Errno> {
        if path.components().count() > DEPTH_MAX || path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if self.entries.len() == ENTRIES_MAX {
            return Err(Errno::DQUOT);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(folder, name, flags, Mode::empty()) {
            Err(Errno::LOOP) => {
                let target = readlinkat(folder, name, Vec::new())?.into_bytes();
                let target = PathBuf::from(std::ffi::OsString::from_vec(target));
                self.add(path, EntryKind::Symlink { target });
                return Ok(());
            }
            // A socket or the like has no content, and cannot even be opened.
            Err(Errno::NXIO | Errno::NODEV) => return Err(Errno::NOENT),
            file => File::from(file?),
        };
        let metadata = file.metadata().map_err(errno)?;
        if metadata.is_dir() {
            return self.folder(file.into(), path);
        }
        if !metadata.is_file() {
            return Err(Errno::NOENT);
        }
        self.file(file, &metadata, path).map_err(errno)
    }

    fn folder(&mut self, folder: OwnedFd, path: &Path) -> Result<(), Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(folder.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        let before = self.entries.len();
        for name in names {
            match self.entry(&folder, &name, &path.join(&name)) {
                Err(Errno::NOENT) => {}
                looked => looked?,
            }
        }
        // Sockets and the like are nothing.
        if self.entries.len() == before && !path.as_os_str().is_empty() {
            self.add(path, EntryKind::EmptyDir);
        }
        Ok(())
    }

    fn file(&mut self, mut file: File, metadata: &Metadata, path: &Path) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(metadata.len());
        if self.bytes > BYTES_MAX {
            return Err(Errno::FBIG.into());
        }
        if (self.is_cancelled)() {
            return Err(Errno::CANCELED.into());
        }
        let (digest, size) = digest_reader(&mut file, metadata.len())?;
        let executable = metadata.permissions().mode() & 0o111 != 0;
        let kind = EntryKind::File {
            digest,
            size,
            executable,
        };
        self.add(path, kind);
        let folder = self.root.clone();
        self.sources.entry(digest).or_insert_with(|| Source::File {
            folder,
            path: path.to_owned(),
            size,
        });
        Ok(())
    }

    fn add(&mut self, path: &Path, kind: EntryKind) {
        let path = path.to_owned();
        self.entries.push(Entry { path, kind });
    }
}

fn errno(cause: io::Error) -> Errno {
    Errno::from_io_error(&cause).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn sockets_are_no_outputs() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("out")).unwrap();
        std::fs::write(folder.path().join("out/file"), "x").unwrap();
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        let _sockets =
            ["out/socket", "empty/socket"].map(|name| UnixListener::bind(folder.path().join(name)).unwrap());
        let root: OwnedFd = File::open(folder.path()).unwrap().into();
        let collected = collect(&root, Path::new(""), &["out".into(), "empty".into()], &|| false).unwrap();
        let paths: Vec<_> = collected.entries.iter().map(|entry| entry.path.clone()).collect();
        assert_eq!(paths, ["empty", "out/file"].map(PathBuf::from));
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("out")).unwrap();
        std::fs::write(folder.path().join("out/file"), "x").unwrap();
        let root: OwnedFd = File::open(folder.path()).unwrap().into();
        let refused = collect(&root, Path::new(""), &["out".into()], &|| true).map(|_| ());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("out/file"), "{refused}");
    }
}
