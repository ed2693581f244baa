//! What is at a path, as a case sees it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use thresh_core::observe::{Kind, Seen, Stamp};

/// Where paths begin.
#[derive(Debug, Default)]
pub(super) struct Root(Option<OwnedFd>);

impl Root {
    /// The root of a thread that waits: in a mount namespace of its own, of what it has there.
    pub(super) fn of(thread: u32) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{thread}/root"), flags, Mode::empty())?;
        Ok(Self(Some(root)))
    }

    /// Looks at an absolute path whose folder has no links, without following a link there.
    pub(super) fn look(&self, path: &Path) -> Seen {
        let (root, name) = self.place(path);
        let stat = match rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ACCESS) => return Seen::Denied,
            // Also a name that is too long, or something that is no folder by now.
            Err(_) => return Seen::Absent,
        };
        let stamp = stamp(&stat);
        if stamp.kind != Kind::Link {
            return Seen::Present(stamp);
        }
        match rustix::fs::readlinkat(root, name, Vec::new()) {
            Ok(target) => Seen::Link(stamp, OsStr::from_bytes(target.as_bytes()).into()),
            Err(_) => Seen::Absent,
        }
    }

    /// Opens a file that was looked at.
    pub(super) fn open(&self, path: &Path) -> std::io::Result<File> {
        let (root, name) = self.place(path);
        // What has become a pipe meanwhile must not hold this up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(root, name, flags, Mode::empty())?.into())
    }

    /// Lists a folder that was looked at: names, and what is there.
    pub(super) fn names(&self, path: &Path) -> std::io::Result<Vec<(Vec<u8>, Kind)>> {
        let folder = Dir::new(self.open(path)?)?;
        let mut names = Vec::new();
        for entry in folder {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => match self.look(&path.join(OsStr::from_bytes(name))) {
                    Seen::Present(stamp) => stamp.kind,
                    Seen::Link(..) => Kind::Link,
                    Seen::Absent | Seen::Denied => continue,
                },
                kind => kind_of(kind),
            };
            names.push((name.to_vec(), kind));
        }
        Ok(names)
    }

    fn place<'a>(&self, path: &'a Path) -> (BorrowedFd<'_>, &'a Path) {
        let Some(root) = &self.0 else { return (CWD, path) };
        let below = path.strip_prefix("/").unwrap_or(path);
        let is_root = below.as_os_str().is_empty();
        (root.as_fd(), if is_root { Path::new(".") } else { below })
    }
}

fn kind_of(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn stamp(stat: &Stat) -> Stamp {
    let nanoseconds = |seconds: i64, rest: u64| {
        let rest = i64::try_from(rest).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(rest)
    };
    Stamp {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        mode: stat.st_mode & 0o7777,
        device: stat.st_dev,
        inode: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
    }
}
