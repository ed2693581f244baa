//! The steps that make a namespace, each one or a few system calls.

use std::ffi::{CStr, CString};
use std::fmt;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, symlinkat, unlinkat};
use rustix::io::{self, Errno};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{chdir, pivot_root};
use rustix::thread::{UnshareFlags, unshare_unsafe};

const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// One step. It runs in a forked child of a process with threads, so it must not allocate.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Enters a new mount namespace and, with `user`, a user namespace that owns it.
    Unshare { user: bool },
    /// Writes a file of `/proc`.
    Write { path: CString, content: Vec<u8> },
    /// Cuts all mounts off from the host's: what is mounted here is not seen there, and the reverse.
    Detach,
    /// Makes relative paths (of overlay layers) mean those of this folder.
    WorkIn { folder: CString },
    /// Mounts an empty file system.
    Tmpfs { at: CString },
    /// Makes a folder, if there is none.
    Folder { at: CString },
    /// Makes an empty file, if there is none.
    File { at: CString },
    /// Makes a symbolic link.
    Link { at: CString, to: CString },
    /// Takes away what is there and no folder.
    Clear { at: CString },
    /// Shows one file or folder, with all that is mounted in it, at a second path.
    Bind {
        from: CString,
        at: CString,
        optional: bool,
    },
    /// Mounts an overlay, with the first of several sets of options that the kernel takes.
    Overlay { at: CString, options: Vec<CString> },
    /// Makes `root` the root of the namespace and lets go of the host's.
    Enter { root: CString },
}

impl Step {
    pub(super) fn run(&self) -> io::Result<()> {
        match self {
            Self::Unshare { user } => unshare(*user),
            Self::Write { path, content } => write(path, content),
            Self::Detach => mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE),
            Self::WorkIn { folder } => chdir(folder.as_c_str()),
            Self::Tmpfs { at } => mount(
                c"tmpfs",
                at.as_c_str(),
                c"tmpfs",
                MountFlags::empty(),
                Some(c"mode=755"),
            ),
            Self::Folder { at } => allow(Errno::EXIST, mkdirat(CWD, at.as_c_str(), FOLDER_MODE)),
            Self::File { at } => openat(
                CWD,
                at.as_c_str(),
                OFlags::CREATE | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o644),
            )
            .map(drop),
            Self::Link { at, to } => symlinkat(to.as_c_str(), CWD, at.as_c_str()),
            Self::Clear { at } => clear(at),
            Self::Bind { from, at, optional } => bind(from, at, *optional),
            Self::Overlay { at, options } => overlay(at, options),
            Self::Enter { root } => enter(root),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "unsharing is unsafe for threads that share file descriptors"
)]
pub(super) fn unshare(user: bool) -> io::Result<()> {
    let flags = if user {
        UnshareFlags::NEWUSER | UnshareFlags::NEWNS
    } else {
        UnshareFlags::NEWNS
    };
    // SAFETY: the flags do not unshare the table of file descriptors.
    unsafe { unshare_unsafe(flags) }
}

fn write(path: &CStr, content: &[u8]) -> io::Result<()> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    // The kernel takes these files in one write or not at all.
    io::write(&file, content).map(drop)
}

fn allow(expected: Errno, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(errno) if errno == expected => Ok(()),
        result => result,
    }
}

fn clear(at: &CStr) -> io::Result<()> {
    match unlinkat(CWD, at, AtFlags::empty()) {
        // A folder may stay.
        Ok(()) | Err(Errno::NOENT | Errno::ISDIR | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// What cannot be reached or has gone since it was listed stays an empty place when it is optional.
fn bind(from: &CStr, at: &CStr, optional: bool) -> io::Result<()> {
    match mount_bind_recursive(from, at) {
        Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR) if optional => Ok(()),
        result => result,
    }
}

fn overlay(at: &CStr, options: &[CString]) -> io::Result<()> {
    let mut refused = Errno::INVAL;
    for options in options {
        match mount(
            c"overlay",
            at,
            c"overlay",
            MountFlags::empty(),
            Some(options.as_c_str()),
        ) {
            Ok(()) => return Ok(()),
            Err(errno) => refused = errno,
        }
    }
    Err(refused)
}

fn enter(root: &CStr) -> io::Result<()> {
    chdir(root)?;
    // With both the same, the old root ends up on top of the new one and can be taken off at once.
    pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    chdir(c"/")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unshare { user: true } => f.write_str("enter a new user and mount namespace"),
            Self::Unshare { user: false } => f.write_str("enter a new mount namespace"),
            Self::Write { path, .. } => write!(f, "write {}", shown(path)),
            Self::Detach => f.write_str("make the mounts private"),
            Self::WorkIn { folder } => write!(f, "change to {}", shown(folder)),
            Self::Tmpfs { at } => write!(f, "mount a tmpfs at {}", shown(at)),
            Self::Folder { at } => write!(f, "make the folder {}", shown(at)),
            Self::File { at } => write!(f, "make the file {}", shown(at)),
            Self::Link { at, .. } => write!(f, "make the symbolic link {}", shown(at)),
            Self::Clear { at } => write!(f, "remove {}", shown(at)),
            Self::Bind { from, at, .. } => write!(f, "bind {} at {}", shown(from), shown(at)),
            Self::Overlay { at, .. } => write!(f, "mount an overlay at {}", shown(at)),
            Self::Enter { root } => write!(f, "make {} the root", shown(root)),
        }
    }
}

fn shown(path: &CStr) -> std::borrow::Cow<'_, str> {
    path.to_string_lossy()
}
