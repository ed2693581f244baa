//! The folder on disk that a view lives from.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder that is removed, with all in it, when dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new folder in `parent`, with places for `folders` folders and `temps` temp folders.
    pub(super) fn new(parent: &Path, folders: usize, temps: usize) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        let path = fs::canonicalize(parent)?.join(format!("view-{}", uuid::Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let scratch = Self { path };
        fs::create_dir(scratch.root())?;
        for index in 0..folders {
            for layer in ["lower", "upper", "work"] {
                fs::create_dir(scratch.path.join(format!("{layer}-{index}")))?;
            }
        }
        for index in 0..temps {
            create_temp(&scratch.temps(index))?;
        }
        Ok(scratch)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the new root is mounted while it is made.
    pub(super) fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    /// Where the folder with this index is bound, for an overlay.
    pub(super) fn lower(&self, index: usize) -> PathBuf {
        self.path.join(format!("lower-{index}"))
    }

    /// Where the folder with this index is copied, when there are no overlays.
    pub(super) fn copy(&self, index: usize) -> PathBuf {
        self.path.join(format!("copy-{index}"))
    }

    /// The folder that holds every case's private folder for the temp folder with this index.
    pub(super) fn temps(&self, index: usize) -> PathBuf {
        self.path.join(format!("temps-{index}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(cause) = crate::removal::remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %cause, "a view's scratch folder could not be removed");
        }
    }
}

/// Makes a folder that anybody may write to, as `/tmp` is.
pub(super) fn create_temp(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    // Not by the mode of the call, from which the umask is taken off.
    fs::set_permissions(path, Permissions::from_mode(0o1777))
}

/// Copies a folder with its files, links, modes and file times. Sockets, devices and pipes are left out.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, from, to) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&from, &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
            let modified = entry.metadata()?.modified()?;
            set_modified(&to, modified)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}

fn set_modified(path: &Path, modified: std::time::SystemTime) -> io::Result<()> {
    // Opened for reading: the file may be read-only, and its owner may set times all the same.
    fs::File::open(path)?.set_modified(modified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::removal::remove;

    #[test]
    fn copies_links_modes_and_times_and_removes_locked_folders() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("locked/inner")).unwrap();
        fs::write(from.join("locked/inner/file"), "x").unwrap();
        fs::set_permissions(from.join("locked/inner/file"), Permissions::from_mode(0o444)).unwrap();
        std::os::unix::fs::symlink("locked", from.join("link")).unwrap();
        fs::set_permissions(from.join("locked"), Permissions::from_mode(0o555)).unwrap();
        copy(&from, &to).unwrap();
        let metadata = |root: &Path| fs::metadata(root.join("link/inner/file")).unwrap();
        assert_eq!(
            metadata(&from).modified().unwrap(),
            metadata(&to).modified().unwrap()
        );
        assert_eq!(metadata(&to).permissions().mode() & 0o777, 0o444);
        fs::set_permissions(to.join("locked/inner"), Permissions::from_mode(0o000)).unwrap();
        for folder in [from, to] {
            remove(&folder).unwrap();
            assert!(!folder.exists());
        }
    }
}
