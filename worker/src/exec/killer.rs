//! Ends a running process from another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Ends the process that one [`Executor::run`](super::Executor::run) is running.
///
/// A request stays: whatever is run with the same killer later is cancelled before it starts. One killer may
/// serve several runs one after the other, but not at the same time.
#[derive(Clone, Debug)]
pub struct Killer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    event: OwnedFd,
    request: AtomicU8,
}

/// What was asked of a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Request {
    None = 0,
    Terminate = 1,
    Kill = 2,
}

impl Killer {
    /// Makes a killer that has not been asked for anything.
    ///
    /// # Errors
    ///
    /// When this process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Shared {
            event,
            request: AtomicU8::new(Request::None as u8),
        })))
    }

    /// Asks the process group to end (SIGTERM), and kills the whole tree after the grace period.
    pub fn terminate(&self) {
        self.ask(Request::Terminate);
    }

    /// Kills the whole tree at once.
    pub fn kill(&self) {
        self.ask(Request::Kill);
    }

    /// Whether it was asked for nothing, so that it can serve a further run.
    pub fn is_unused(&self) -> bool {
        self.request() == Request::None
    }

    fn ask(&self, request: Request) {
        if self.0.request.fetch_max(request as u8, Ordering::SeqCst) < request as u8 {
            // Fails only when the counter would overflow, and then the descriptor is readable already.
            let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
        }
    }

    /// What has been asked so far.
    pub(super) fn request(&self) -> Request {
        match self.0.request.load(Ordering::SeqCst) {
            0 => Request::None,
            1 => Request::Terminate,
            _ => Request::Kill,
        }
    }

    /// The descriptor that becomes readable with each request.
    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }

    /// Makes the descriptor unreadable again, and says what has been asked.
    pub(super) fn take(&self) -> Request {
        let _ = rustix::io::read(&self.0.event, &mut [0u8; 8]);
        self.request()
    }
}
