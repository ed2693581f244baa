//! The steps that make a namespace, each one or a few system calls.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, symlinkat, unlinkat};
use rustix::io::{self, Errno};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};
use rustix::process::{Resource, Rlimit, chdir, getrlimit, pivot_root, setrlimit};
use rustix::thread::{
    LinkNameSpaceType, UnshareFlags, move_into_link_name_space, set_no_new_privs, unshare_unsafe,
};

use super::paths::c_path;

/// Between SIGXCPU and SIGKILL.
const CPU_GRACE_SECONDS: u64 = 5;
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// One step. It runs in a forked child of a process with threads, so it must not allocate.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Enters new namespaces; a user namespace owns the others.
    Unshare(UnshareFlags),
    /// Enters a namespace that is there.
    Join {
        namespace: Arc<OwnedFd>,
        kind: LinkNameSpaceType,
    },
    /// Enters a control group, by its file `cgroup.procs`.
    JoinGroup(Arc<OwnedFd>),
    /// Writes a file of `/proc`; one that is `optional` need not take it.
    Write {
        path: CString,
        content: Vec<u8>,
        optional: bool,
    },
    /// Cuts all mounts off from the host's: what is mounted here is not seen there, and the reverse.
    Detach,
    /// Makes relative paths (of overlay layers) mean those of this folder.
    WorkIn { folder: CString },
    /// Mounts an empty file system, with the mode of a temp folder or of any other.
    Tmpfs { at: CString, temp: bool },
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
    /// Puts an empty folder with hardly any room over a folder, if there is one.
    Hide { at: CString },
    /// Makes all that is mounted at and below a folder read-only, or one mount writable again.
    Protect { at: CString, writable: bool },
    /// Makes a file or folder within a mount read-only, if it is there.
    ProtectInside { at: CString },
    /// Shows the processes of the namespace.
    Processes,
    /// Brings the loopback interface up.
    Loopback,
    /// Limits what the process and its children may use.
    Limit { resource: Resource, most: u64 },
    /// Keeps the process from ever getting more privileges by running a program.
    NoNewPrivileges,
}

impl Step {
    /// An overlay of the folder `lower` with the layers `upper-INDEX` and `work-INDEX` of the folder that the process
    /// works in: short names, so that none has to be quoted. `volatile` leaves out syncing, `redirect_dir` makes folders
    /// of the lower layer renamable.
    pub(super) fn overlay(
        at: CString,
        lower: &str,
        index: usize,
        in_user_namespace: bool,
    ) -> std::io::Result<Self> {
        let further: &[&str] = if in_user_namespace {
            &[",userxattr,volatile", ",userxattr"]
        } else {
            &[",redirect_dir=on,volatile", ",redirect_dir=on", ""]
        };
        let layers = format!("lowerdir={lower},upperdir=upper-{index},workdir=work-{index}");
        let options = further.iter().map(|further| c_path(layers.clone() + further));
        Ok(Self::Overlay {
            at,
            options: options.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn run(&self) -> io::Result<()> {
        match self {
            Self::Unshare(flags) => unshare(*flags),
            Self::Join { namespace, kind } => move_into_link_name_space(namespace.as_fd(), Some(*kind)),
            Self::JoinGroup(procs) => io::write(procs, b"0").map(drop),
            Self::Write {
                path,
                content,
                optional,
            } => write(path, content).or_else(|errno| if *optional { Ok(()) } else { Err(errno) }),
            Self::Detach => mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE),
            Self::WorkIn { folder } => chdir(folder.as_c_str()),
            Self::Tmpfs { at, temp } => mount(
                c"tmpfs",
                at.as_c_str(),
                c"tmpfs",
                MountFlags::empty(),
                Some(if *temp { c"mode=1777" } else { c"mode=755" }),
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
            Self::Hide { at } => hide(at),
            Self::Protect { at, writable } => protect(at, *writable),
            Self::ProtectInside { at } => protect_inside(at),
            Self::Processes => processes(),
            Self::Loopback => loopback(),
            Self::Limit { resource, most } => limit(*resource, *most),
            Self::NoNewPrivileges => set_no_new_privs(true),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "unsharing is unsafe for threads that share file descriptors"
)]
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: no caller unshares the table of file descriptors.
    unsafe { unshare_unsafe(flags) }
}

fn hide(at: &CStr) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    match mount(c"tmpfs", at, c"tmpfs", flags, Some(c"mode=755,size=64k")) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(()),
        result => result,
    }
}

fn protect_inside(at: &CStr) -> io::Result<()> {
    match mount_bind_recursive(at, at) {
        Ok(()) => protect(at, false),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn processes() -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(c"proc", c"/proc", c"proc", flags, None)
}

/// Sets a limit on this process and those that it starts. One that is there already and is stricter stays.
pub(crate) fn limit(resource: Resource, most: u64) -> io::Result<()> {
    // Of CPU time the kernel kills at the second, without the signal that tells why at the first.
    let further = if resource == Resource::Cpu {
        CPU_GRACE_SECONDS
    } else {
        0
    };
    let there = getrlimit(resource);
    let least = |wanted: u64, there: Option<u64>| wanted.min(there.unwrap_or(u64::MAX));
    let maximum = least(most.saturating_add(further), there.maximum);
    let limits = Rlimit {
        current: Some(least(most, there.current).min(maximum)),
        maximum: Some(maximum),
    };
    setrlimit(resource, limits)
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

#[expect(unsafe_code, reason = "nothing safe offers mount_setattr(2)")]
fn protect(at: &CStr, writable: bool) -> io::Result<()> {
    const READ_ONLY: u64 = 1;
    let attributes = MountAttributes {
        set: if writable { 0 } else { READ_ONLY },
        clear: if writable { READ_ONLY } else { 0 },
        propagation: 0,
        user_namespace: 0,
    };
    let flags = if writable { 0 } else { libc::AT_RECURSIVE };
    // SAFETY: the path ends with a zero, the attributes are laid out as the kernel has them, both outlive the call.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            at.as_ptr(),
            flags,
            std::ptr::from_ref(&attributes),
            size_of::<MountAttributes>(),
        )
    };
    last(returned)
}

#[expect(unsafe_code, reason = "nothing safe offers the flags of an interface")]
fn loopback() -> io::Result<()> {
    // SAFETY: an all-zero request is valid; the socket is closed below; the calls get pointers that outlive them.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        last(socket.into())?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        let raised = last(libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw mut request).into());
        libc::close(socket);
        raised
    }
}

fn last(returned: libc::c_long) -> io::Result<()> {
    if returned >= 0 {
        return Ok(());
    }
    let cause = std::io::Error::last_os_error();
    Err(Errno::from_raw_os_error(
        cause.raw_os_error().unwrap_or(libc::EIO),
    ))
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
            Self::Unshare(flags) => write!(f, "enter new namespaces ({})", names(*flags)),
            Self::Join { kind, .. } => write!(f, "enter the {} namespace", name(*kind)),
            Self::JoinGroup(_) => f.write_str("enter its control group"),
            Self::Write { path, .. } => write!(f, "write {}", shown(path)),
            Self::Detach => f.write_str("make the mounts private"),
            Self::WorkIn { folder } => write!(f, "change to {}", shown(folder)),
            Self::Tmpfs { at, .. } => write!(f, "mount a tmpfs at {}", shown(at)),
            Self::Folder { at } => write!(f, "make the folder {}", shown(at)),
            Self::File { at } => write!(f, "make the file {}", shown(at)),
            Self::Link { at, .. } => write!(f, "make the symbolic link {}", shown(at)),
            Self::Clear { at } => write!(f, "remove {}", shown(at)),
            Self::Bind { from, at, .. } => write!(f, "bind {} at {}", shown(from), shown(at)),
            Self::Overlay { at, .. } => write!(f, "mount an overlay at {}", shown(at)),
            Self::Enter { root } => write!(f, "make {} the root", shown(root)),
            Self::Hide { at } => write!(f, "hide {}", shown(at)),
            Self::Protect { at, writable: false } => write!(f, "make {} read-only", shown(at)),
            Self::ProtectInside { at } => write!(f, "make {} read-only", shown(at)),
            Self::Protect { at, writable: true } => write!(f, "make {} writable", shown(at)),
            Self::Processes => f.write_str("mount a /proc of its own"),
            Self::Loopback => f.write_str("bring its loopback interface up"),
            Self::Limit { resource, most } => write!(f, "limit {resource:?} to {most}"),
            Self::NoNewPrivileges => f.write_str("give up getting privileges"),
        }
    }
}

fn shown(path: &CStr) -> std::borrow::Cow<'_, str> {
    path.to_string_lossy()
}

fn names(flags: UnshareFlags) -> String {
    let all = [
        (UnshareFlags::NEWUSER, "user"),
        (UnshareFlags::NEWNS, "mount"),
        (UnshareFlags::NEWPID, "process"),
        (UnshareFlags::NEWNET, "network"),
        (UnshareFlags::NEWIPC, "memory"),
        (UnshareFlags::NEWUTS, "name"),
    ];
    let names = all.into_iter().filter(|(flag, _)| flags.contains(*flag));
    names.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
}

fn name(kind: LinkNameSpaceType) -> &'static str {
    match kind {
        LinkNameSpaceType::User => "user",
        LinkNameSpaceType::Mount => "mount",
        _ => "other",
    }
}
