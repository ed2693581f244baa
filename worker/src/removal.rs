//! Removing what cases have left: folders of any depth, and of any mode.
//!
//! A case may make folders deeper than a thread's stack and more than a process may have open, and take away its own
//! rights to them. What lies too deep is moved up to the top and removed from there, so that neither counts.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::{fs, io};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// So many folders are open at a time.
const DEPTH_MAX: usize = 32;

/// Removes a folder with all in it, or a file. Links are not followed. What is not there is removed already.
///
/// # Errors
/// Something in it is mounted or belongs to others, or who still runs adds to it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return fs::remove_file(path),
        Err(cause) => return Err(cause.into()),
    };
    let mut removal = Removal {
        top: top.as_fd(),
        moved: 0,
    };
    loop {
        let before = removal.moved;
        removal.empty(top.try_clone()?, 1)?;
        if removal.moved == before {
            return fs::remove_dir(path);
        }
    }
}

struct Removal<'f> {
    top: BorrowedFd<'f>,
    /// How many folders were moved up.
    moved: u64,
}

impl Removal<'_> {
    /// Removes what is in a folder that is `depth` below the top's parent.
    fn empty(&mut self, folder: OwnedFd, depth: usize) -> io::Result<()> {
        let folder = folder.as_fd();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if !is_folder(folder, name, entry.file_type())? {
                rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
                continue;
            }
            let inner = open(folder, name)?;
            if depth < DEPTH_MAX {
                self.empty(inner, depth + 1)?;
                rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?;
            } else {
                self.move_up(folder, name)?;
            }
        }
        Ok(())
    }

    fn move_up(&mut self, folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        loop {
            self.moved += 1;
            let free = format!("moved-{}", self.moved);
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(folder, name, self.top, free, flags) {
                Err(Errno::EXIST) => {}
                moved => return Ok(moved?),
            }
        }
    }
}

fn is_folder(folder: BorrowedFd<'_>, name: &CStr, told: FileType) -> io::Result<bool> {
    let kind = match told {
        // Some file systems do not say.
        FileType::Unknown => {
            let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            FileType::from_raw_mode(stat.st_mode)
        }
        kind => kind,
    };
    Ok(kind == FileType::Directory)
}

/// Opens a folder, and gives its owner all rights to it.
fn open(folder: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // By a descriptor, so that no link is followed.
            let found = rustix::fs::openat(folder, name, flags | OFlags::PATH, Mode::empty())?;
            let found = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
            rustix::fs::chmodat(CWD, found, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(folder, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    let rights = Mode::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) & Mode::RWXU;
    if rights != Mode::RWXU {
        // What cannot be changed shows when it cannot be removed.
        let _ = rustix::fs::fchmod(&opened, Mode::RWXU);
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Makes folders in one another, and a file in the last.
    fn deep(at: &Path, depth: usize) {
        fs::create_dir(at).unwrap();
        let mut folder = open(CWD, at).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = open(folder.as_fd(), "d").unwrap();
        }
        rustix::fs::openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }

    #[test]
    fn depth_takes_neither_stack_nor_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep");
        deep(&path, 50_000);
        let stack = std::thread::Builder::new().stack_size(64 << 10);
        let removed = stack.spawn({
            let path = path.clone();
            move || remove(&path)
        });
        removed.unwrap().join().unwrap().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn rights_do_not_matter_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("locked"), folder.path().join("other"));
        fs::create_dir_all(path.join("a/b/moved-1")).unwrap();
        fs::write(path.join("a/b/file"), "x").unwrap();
        fs::write(&other, "kept").unwrap();
        symlink(&other, path.join("a/link")).unwrap();
        symlink(folder.path(), path.join("a/b/folder")).unwrap();
        for locked in ["a/b", "a", ""] {
            fs::set_permissions(path.join(locked), fs::Permissions::from_mode(0o000)).unwrap();
        }
        remove(&path).unwrap();
        assert!(!path.exists() && other.exists());
        remove(&path).unwrap();
        symlink(&other, &path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists() && other.exists());
    }
}
