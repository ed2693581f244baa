//! The system calls that matter, and where their arguments are.

use std::sync::LazyLock;

/// The highest number of a call that was looked at for this list. Of later ones nothing is known.
pub(super) const KNOWN_MAX: u32 = 469;

/// Where a call has a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    /// The argument with the folder that it starts from; none: the working directory.
    pub(super) folder: Option<u8>,
    /// The argument that points to it.
    pub(super) path: u8,
}

/// Whether a call goes through a link that is the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    Always,
    Never,
    /// Unless the flags in this argument have `AT_SYMLINK_NOFOLLOW`.
    Unless(u8),
    /// If the flags in this argument have `AT_SYMLINK_FOLLOW`.
    If(u8),
}

/// What a system call does, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// With the flags in this argument.
    Open(At, u8),
    /// `openat2`
    OpenHow,
    /// `creat`
    Create,
    /// Asks about a path.
    Look(At, Follows),
    /// Asks how full a file system is.
    Disk(At),
    /// Asks that by a descriptor.
    DiskOpen,
    ReadLink(At),
    Execute(At, Follows),
    /// Lists the folder behind a descriptor.
    List,
    /// Makes something new.
    Make(At),
    Remove(At),
    Rename(At, At, Option<u8>),
    Link(At, At, Follows),
    /// Changes something other than content.
    Change(At, Follows),
    Truncate,
    /// Makes a socket.
    Socket,
    /// Binds a socket to an address.
    Bind,
    /// Talks to the address that this argument points to, of the length in the next.
    Talk(u8),
    /// Talks to the address in a message.
    Message,
    Messages,
    /// Leaves its process group.
    Leave,
    /// A socket that asks the kernel or others: queues and shared memory of System V and POSIX.
    Shared(&'static str),
    /// Is not followed.
    Unknown(&'static str),
    /// Neither, and to who is observed the kernel may refuse it.
    Refused(&'static str),
}

impl Call {
    /// The argument that is zero when the call names nothing that matters.
    pub(super) fn named_by(&self) -> Option<u8> {
        match self {
            Self::Talk(argument) => Some(*argument),
            Self::Look(at, _) | Self::Change(at, _) if at.folder.is_some() => Some(at.path),
            _ => None,
        }
    }
}

const fn here(path: u8) -> At {
    At { folder: None, path }
}

const fn from(folder: u8) -> At {
    At {
        folder: Some(folder),
        path: folder + 1,
    }
}

/// Every call that matters, by number.
pub(super) static CALLS: LazyLock<Vec<(u32, Call)>> = LazyLock::new(|| {
    let listed = everywhere().into_iter().chain(legacy()).chain(unnamed());
    let mut calls: Vec<_> = listed
        .map(|(number, call)| (u32::try_from(number).expect("numbers are small"), call))
        .collect();
    calls.sort_by_key(|(number, _)| *number);
    calls
});

/// Returns what a call does.
pub(super) fn call(number: u32) -> Option<Call> {
    let at = CALLS.binary_search_by_key(&number, |(number, _)| *number).ok()?;
    Some(CALLS[at].1)
}

/// Calls that every architecture has.
fn everywhere() -> Vec<(i64, Call)> {
    use Follows::{Always, If, Never, Unless};
    vec![
        (libc::SYS_openat, Call::Open(from(0), 2)),
        (libc::SYS_openat2, Call::OpenHow),
        (libc::SYS_newfstatat, Call::Look(from(0), Unless(3))),
        (libc::SYS_statx, Call::Look(from(0), Unless(2))),
        (libc::SYS_faccessat, Call::Look(from(0), Always)),
        (libc::SYS_faccessat2, Call::Look(from(0), Unless(3))),
        (libc::SYS_readlinkat, Call::ReadLink(from(0))),
        (libc::SYS_execve, Call::Execute(here(0), Always)),
        (libc::SYS_execveat, Call::Execute(from(0), Unless(4))),
        (libc::SYS_getdents64, Call::List),
        (libc::SYS_chdir, Call::Look(here(0), Always)),
        (libc::SYS_statfs, Call::Disk(here(0))),
        (libc::SYS_fstatfs, Call::DiskOpen),
        (libc::SYS_getxattr, Call::Look(here(0), Always)),
        (libc::SYS_lgetxattr, Call::Look(here(0), Never)),
        (libc::SYS_listxattr, Call::Look(here(0), Always)),
        (libc::SYS_llistxattr, Call::Look(here(0), Never)),
        (libc::SYS_setxattr, Call::Change(here(0), Always)),
        (libc::SYS_lsetxattr, Call::Change(here(0), Never)),
        (libc::SYS_removexattr, Call::Change(here(0), Always)),
        (libc::SYS_lremovexattr, Call::Change(here(0), Never)),
        (libc::SYS_inotify_add_watch, Call::Look(here(1), Always)),
        (libc::SYS_name_to_handle_at, Call::Look(from(0), If(4))),
        (libc::SYS_mkdirat, Call::Make(from(0))),
        (libc::SYS_mknodat, Call::Make(from(0))),
        (libc::SYS_symlinkat, Call::Make(from(1))),
        (libc::SYS_unlinkat, Call::Remove(from(0))),
        (libc::SYS_renameat2, Call::Rename(from(0), from(2), Some(4))),
        (libc::SYS_linkat, Call::Link(from(0), from(2), If(4))),
        (libc::SYS_fchmodat, Call::Change(from(0), Always)),
        (libc::SYS_fchownat, Call::Change(from(0), Unless(4))),
        (libc::SYS_utimensat, Call::Change(from(0), Unless(3))),
        (libc::SYS_truncate, Call::Truncate),
        (libc::SYS_socket, Call::Socket),
        (libc::SYS_bind, Call::Bind),
        (libc::SYS_connect, Call::Talk(1)),
        (libc::SYS_sendto, Call::Talk(4)),
        (libc::SYS_sendmsg, Call::Message),
        (libc::SYS_sendmmsg, Call::Messages),
        (libc::SYS_setsid, Call::Leave),
        (libc::SYS_setpgid, Call::Leave),
        (libc::SYS_mq_open, Call::Shared("mq_open")),
        (libc::SYS_shmget, Call::Shared("shmget")),
        (libc::SYS_semget, Call::Shared("semget")),
        (libc::SYS_msgget, Call::Shared("msgget")),
        (libc::SYS_io_uring_setup, Call::Unknown("io_uring_setup")),
        (libc::SYS_open_by_handle_at, Call::Unknown("open_by_handle_at")),
        (libc::SYS_mount, Call::Unknown("mount")),
        (libc::SYS_umount2, Call::Unknown("umount2")),
        (libc::SYS_pivot_root, Call::Unknown("pivot_root")),
        (libc::SYS_chroot, Call::Unknown("chroot")),
        (libc::SYS_setns, Call::Unknown("setns")),
        (libc::SYS_open_tree, Call::Unknown("open_tree")),
        (libc::SYS_move_mount, Call::Unknown("move_mount")),
        (libc::SYS_fsopen, Call::Unknown("fsopen")),
        (libc::SYS_fspick, Call::Unknown("fspick")),
        (libc::SYS_mount_setattr, Call::Unknown("mount_setattr")),
        (libc::SYS_ptrace, Call::Unknown("ptrace")),
        (libc::SYS_process_vm_readv, Call::Unknown("process_vm_readv")),
        (libc::SYS_process_vm_writev, Call::Unknown("process_vm_writev")),
        (libc::SYS_pidfd_getfd, Call::Unknown("pidfd_getfd")),
        (libc::SYS_bpf, Call::Unknown("bpf")),
        // One that wants to be told itself is refused: there can be only one.
        (libc::SYS_seccomp, Call::Refused("seccomp")),
        (libc::SYS_perf_event_open, Call::Unknown("perf_event_open")),
        (libc::SYS_fanotify_mark, Call::Unknown("fanotify_mark")),
        (libc::SYS_acct, Call::Unknown("acct")),
        (libc::SYS_swapon, Call::Unknown("swapon")),
        (libc::SYS_quotactl, Call::Unknown("quotactl")),
        (libc::SYS_add_key, Call::Unknown("add_key")),
        (libc::SYS_request_key, Call::Unknown("request_key")),
        (libc::SYS_keyctl, Call::Unknown("keyctl")),
    ]
}

/// Calls that the C library may not name yet; their numbers are the same everywhere.
fn unnamed() -> Vec<(i64, Call)> {
    use Follows::Unless;
    vec![
        (452, Call::Change(from(0), Unless(3))), // fchmodat2
        (463, Call::Change(from(0), Unless(2))), // setxattrat
        (464, Call::Look(from(0), Unless(2))),   // getxattrat
        (465, Call::Look(from(0), Unless(2))),   // listxattrat
        (466, Call::Change(from(0), Unless(2))), // removexattrat
        (467, Call::Unknown("open_tree_attr")),
        (468, Call::Look(from(0), Unless(4))),   // file_getattr
        (469, Call::Change(from(0), Unless(4))), // file_setattr
    ]
}

/// Calls that only old architectures have.
#[cfg(target_arch = "x86_64")]
fn legacy() -> Vec<(i64, Call)> {
    use Follows::{Always, Never};
    vec![
        (libc::SYS_open, Call::Open(here(0), 1)),
        (libc::SYS_creat, Call::Create),
        (libc::SYS_stat, Call::Look(here(0), Always)),
        (libc::SYS_lstat, Call::Look(here(0), Never)),
        (libc::SYS_access, Call::Look(here(0), Always)),
        (libc::SYS_readlink, Call::ReadLink(here(0))),
        (libc::SYS_getdents, Call::List),
        (libc::SYS_mkdir, Call::Make(here(0))),
        (libc::SYS_mknod, Call::Make(here(0))),
        (libc::SYS_symlink, Call::Make(here(1))),
        (libc::SYS_unlink, Call::Remove(here(0))),
        (libc::SYS_rmdir, Call::Remove(here(0))),
        (libc::SYS_rename, Call::Rename(here(0), here(1), None)),
        (libc::SYS_renameat, Call::Rename(from(0), from(2), None)),
        (libc::SYS_link, Call::Link(here(0), here(1), Never)),
        (libc::SYS_chmod, Call::Change(here(0), Always)),
        (libc::SYS_chown, Call::Change(here(0), Always)),
        (libc::SYS_lchown, Call::Change(here(0), Never)),
        (libc::SYS_utime, Call::Change(here(0), Always)),
        (libc::SYS_utimes, Call::Change(here(0), Always)),
        (libc::SYS_futimesat, Call::Change(from(0), Always)),
        (libc::SYS_uselib, Call::Unknown("uselib")),
        (libc::SYS_ustat, Call::Unknown("ustat")),
        (libc::SYS_sysfs, Call::Unknown("sysfs")),
        (libc::SYS__sysctl, Call::Unknown("_sysctl")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn legacy() -> Vec<(i64, Call)> {
    // renameat; riscv and its kin lack it.
    vec![(38, Call::Rename(from(0), from(2), None))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_listed_once_and_known() {
        for pair in CALLS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{pair:?}");
        }
        assert!(CALLS.iter().all(|(number, _)| *number <= KNOWN_MAX));
    }
}
