//! Being told of system calls, and letting them go on.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_ulong, seccomp_notif, seccomp_notif_resp, seccomp_notif_sizes, sock_fprog};

use super::error::Unavailable;
use super::filter::program;

/// `_IOWR('!', 0, struct seccomp_notif)`, `_IOWR('!', 1, struct seccomp_notif_resp)`, `_IOW('!', 2, __u64)`,
/// `_IOW('!', 4, __u64)`
const RECEIVE: c_ulong = 0xC050_2100;
const SEND: c_ulong = 0xC018_2101;
const IS_VALID: c_ulong = 0x4008_2102;
const SET_FLAGS: c_ulong = 0x4008_2104;
/// Who is told wakes on the processor of who tells, and the other way round: both wait for each other anyway.
const SYNC_WAKE_UP: c_ulong = 1;

/// A system call that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    pub(super) id: u64,
    /// The thread that makes it.
    pub(super) thread: u32,
    pub(super) number: c_int,
    /// Whether it is one of this program's own architecture.
    pub(super) is_native: bool,
    pub(super) arguments: [u64; 6],
}

impl Notification {
    /// Whether a `setsid` or `setpgid` makes the caller the leader of a group.
    pub(super) fn leads_itself(&self) -> bool {
        i64::from(self.number) == libc::SYS_setsid || self.arguments[..2] == [0, 0]
    }
}

/// What receiving gave.
pub(super) enum Received {
    Call(Notification),
    /// Who called has died, or was interrupted: nobody waits.
    Nothing,
    /// There is nobody any more who could call.
    Gone,
}

/// Where system calls are told.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

#[expect(unsafe_code, reason = "nothing safe offers seccomp(2) with a listener")]
impl Listener {
    /// Has the calls of this thread told, and of all that it starts from now on, for good.
    ///
    /// From the moment that this returns, calls of this thread wait until somebody else lets them go on.
    pub(super) fn install() -> Result<Self, Unavailable> {
        let sizes = sizes()?;
        let fits = (size_of::<seccomp_notif>(), size_of::<seccomp_notif_resp>())
            == (
                usize::from(sizes.seccomp_notif),
                usize::from(sizes.seccomp_notif_resp),
            );
        if !fits {
            return Err(Unavailable::Other(io::Error::other(
                "the kernel's structures have other sizes",
            )));
        }
        let fd = match set_filter() {
            // Who may not do so otherwise has to give up what set-uid programs would grant.
            Err(cause) if cause.raw_os_error() == Some(libc::EACCES) => {
                rustix::thread::set_no_new_privs(true).map_err(|cause| Unavailable::Other(cause.into()))?;
                set_filter()
            }
            set => set,
        };
        let fd = fd.map_err(|cause| match cause.raw_os_error() {
            Some(libc::EBUSY) => Unavailable::Taken,
            Some(libc::EINVAL | libc::ENOSYS) => Unavailable::Kernel,
            _ => Unavailable::Other(cause),
        })?;
        // SAFETY: the kernel has just made this descriptor for us.
        let listener = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: it takes its flags by value. Kernels before 6.6 do not have it, and are slower.
        let _ = unsafe { libc::ioctl(listener.0.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        Ok(listener)
    }

    /// Waits for a call.
    pub(super) fn receive(&self) -> Received {
        let mut told = MaybeUninit::<seccomp_notif>::zeroed();
        // SAFETY: the structure is as large as the kernel's, and zeroed, as the kernel wants it.
        let received = unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, told.as_mut_ptr()) };
        if received == -1 {
            return if self.is_gone() {
                Received::Gone
            } else {
                Received::Nothing
            };
        }
        // SAFETY: every bit pattern is one of its values, and the kernel has filled it.
        let told = unsafe { told.assume_init() };
        Received::Call(Notification {
            id: told.id,
            thread: told.pid,
            number: told.data.nr,
            is_native: told.data.arch == super::filter::ARCHITECTURE,
            arguments: told.data.args,
        })
    }

    /// Whether the caller still waits: what was read of the process belongs to it only then.
    pub(super) fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: the kernel only reads the number.
        unsafe { libc::ioctl(self.0.as_raw_fd(), IS_VALID, &raw const id) == 0 }
    }

    /// Lets a call go on, if the caller still waits.
    pub(super) fn go_on(&self, id: u64) {
        let mut answer = seccomp_notif_resp {
            id,
            val: 0,
            error: 0,
            flags: u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).expect("it is 1"),
        };
        // SAFETY: the structure is as large as the kernel's, which only reads it.
        let _ = unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw mut answer) };
    }

    /// Whether no thread is left whose calls are told.
    fn is_gone(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: it is one structure, which outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLHUP != 0 }
    }
}

#[expect(unsafe_code, reason = "nothing safe offers seccomp(2)")]
fn sizes() -> Result<seccomp_notif_sizes, Unavailable> {
    let mut sizes = MaybeUninit::<seccomp_notif_sizes>::zeroed();
    // SAFETY: the structure is the kernel's.
    let told = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_NOTIF_SIZES,
            0,
            sizes.as_mut_ptr(),
        )
    };
    if told == -1 {
        return Err(Unavailable::Kernel);
    }
    // SAFETY: it was zeroed, which is one of its values, and then filled.
    Ok(unsafe { sizes.assume_init() })
}

#[expect(unsafe_code, reason = "nothing safe offers seccomp(2)")]
fn set_filter() -> io::Result<RawFd> {
    let mut program = program();
    let program = sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // With the second a signal does not make a call that was told be told again; kernels before 5.19 lack it.
    for flags in [listen | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, listen] {
        // SAFETY: the kernel copies the program, which outlives the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        match fd {
            -1 => {
                let cause = io::Error::last_os_error();
                if cause.raw_os_error() != Some(libc::EINVAL) || flags == listen {
                    return Err(cause);
                }
            }
            fd => return RawFd::try_from(fd).map_err(io::Error::other),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}
