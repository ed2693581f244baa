//! What a process between fork and exec does to its own signals and descriptors: system calls and nothing else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::c_int;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often an init looks whether its worker is still there, though that should be told by a signal.
const LOOK_SECONDS: libc::time_t = 5;

pub(super) fn last_errno() -> u32 {
    let errno = io::Error::last_os_error().raw_os_error();
    errno.unwrap_or(libc::EIO).unsigned_abs()
}

#[expect(unsafe_code, reason = "nothing safe offers sets of signals")]
pub(super) fn block_signals() {
    // SAFETY: the set is initialised by the first call.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// As the standard library leaves them to a program: none blocked, and SIGPIPE as it is by default.
#[expect(unsafe_code, reason = "nothing safe offers sets of signals")]
pub(super) fn default_signals() {
    // SAFETY: the set is initialised by the second call.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Waits for the next signal that concerns an init, for a while; all are blocked.
#[expect(unsafe_code, reason = "nothing safe offers sigtimedwait(2)")]
pub(super) fn wait_signal() -> c_int {
    // SAFETY: the set is initialised by the first call; no information is asked for.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        libc::sigaddset(&mut signals, libc::SIGCHLD);
        libc::sigaddset(&mut signals, libc::SIGTERM);
        let a_while = libc::timespec {
            tv_sec: LOOK_SECONDS,
            tv_nsec: 0,
        };
        libc::sigtimedwait(&signals, std::ptr::null_mut(), &a_while)
    }
}

/// Reaps all that have ended, and tells how the program did.
#[expect(unsafe_code, reason = "the raw wait status is what is passed on")]
pub(super) fn reap(program: c_int, status: c_int) {
    loop {
        let mut raw: c_int = 0;
        // SAFETY: the pointers are valid during the calls.
        unsafe {
            match libc::waitpid(-1, &mut raw, libc::WNOHANG) {
                pid if pid == program => {
                    libc::write(status, std::ptr::from_ref(&raw).cast(), size_of::<c_int>());
                }
                pid if pid > 0 => {}
                _ => return,
            }
        }
    }
}

#[expect(unsafe_code, reason = "the PID is a plain number here")]
pub(super) fn kill_group(leader: c_int) {
    // SAFETY: takes numbers. The leader is not reaped before it is known to have ended, and is then no target.
    unsafe { libc::kill(-leader, libc::SIGTERM) };
}

#[expect(unsafe_code, reason = "descriptors are closed by range")]
pub(super) fn close_all_but(fd: c_int) {
    let (fd, most) = (fd.unsigned_abs(), u32::MAX);
    // SAFETY: nothing of this process uses the others any more.
    unsafe {
        if fd > 0 {
            libc::syscall(libc::SYS_close_range, 0, fd - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, fd + 1, most, 0);
    }
}

#[expect(unsafe_code, reason = "descriptors are marked by range")]
pub(super) fn close_at_exec() {
    const CLOSE_AT_EXEC: u32 = 4;
    // SAFETY: takes numbers. A kernel without it leaves them as they are.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, CLOSE_AT_EXEC) };
}

#[expect(unsafe_code, reason = "the number is that of a standard stream")]
pub(super) fn duplicate(fd: BorrowedFd<'_>, number: c_int) -> c_int {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: takes numbers. One that is in its place already loses what would close it at exec.
    unsafe {
        if fd == number {
            libc::fcntl(fd, libc::F_SETFD, 0)
        } else {
            libc::dup2(fd, number)
        }
    }
}

/// Whether nobody holds the other end of a pipe that this process writes to.
pub(super) fn is_deserted(pipe: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pipe, PollFlags::empty())];
    let found = poll(&mut fds, Some(&Timespec::default()));
    found.is_ok() && fds[0].revents().contains(PollFlags::ERR)
}
