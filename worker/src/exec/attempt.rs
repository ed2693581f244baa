//! The life of one process: one poll loop over its output, its exit, its deadlines and its killer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use super::invocation::Invocation;
use super::killer::{Killer, Request};
use super::output::{Keeper, Kept};
use super::process::Process;
use super::tree::Tree;

/// How long after the start output stays in its pipes. A short process then costs one wake-up instead of one
/// per line; one that fills a pipe (64 KiB) earlier waits for the rest of this time, once.
const QUIET: Duration = Duration::from_millis(5);
/// The shortest slow period. Zero would keep the loop busy.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// Reads per stream after a tree was killed: more than the largest pipe holds (1 MiB), but an end even when
/// something unkillable goes on writing.
const DRAIN_READS_MAX: u32 = 64;

/// A slow period has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// All slow periods so far.
    pub elapsed: Duration,
    /// Whether the process is now being ended.
    pub will_terminate: bool,
}

/// Why an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The process ended, or was ended by someone else.
    ByItself { leaked: bool },
    /// It was ended for slowness.
    TimedOut,
    /// It was ended by its killer.
    Cancelled,
    /// It was ended because it could not be watched or its output could not be read.
    Unreadable(String),
}

enum Phase {
    /// Runs; `None` is never slow.
    Running { slow_at: Option<Instant>, periods: u32 },
    /// Got SIGTERM, gets SIGKILL then.
    Terminating { kill_at: Option<Instant> },
    /// Got SIGKILL.
    Killed,
}

/// What a poll found.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    exited: bool,
    request: bool,
    streams: [bool; 2],
}

struct Stream {
    name: &'static str,
    /// `None` when not captured, or at its end.
    pipe: Option<OwnedFd>,
    keeper: Keeper,
}

pub(super) struct Attempt<'a> {
    invocation: &'a Invocation<'a>,
    killer: &'a Killer,
    process: &'a Process,
    group: Pid,
    tree: Tree,
    streams: [Stream; 2],
    buffer: &'a mut [u8],
    quiet_until: Instant,
    phase: Phase,
    /// Why it is being ended; the first reason stays.
    ending: Option<Ending>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        invocation: &'a Invocation<'a>,
        killer: &'a Killer,
        process: &'a mut Process,
        mark: String,
        buffer: &'a mut [u8],
    ) -> Self {
        let group = process.pid;
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let stream = |name, pipe| Stream {
            name,
            pipe,
            keeper: Keeper::new(invocation.output_limit),
        };
        let now = Instant::now();
        let slow_at = now.checked_add(invocation.slow_timeout.period.max(PERIOD_MIN));
        Self {
            invocation,
            killer,
            process,
            group,
            tree: Tree::new(group, mark),
            streams: [
                stream("standard output", stdout),
                stream("standard error", stderr),
            ],
            buffer,
            quiet_until: now + QUIET,
            phase: Phase::Running { slow_at, periods: 0 },
            ending: None,
        }
    }

    /// Watches the process until it has ended and, where that is due, its tree with it. It is not reaped.
    pub(super) fn run(&mut self, on_slow: &mut dyn FnMut(Slow)) -> Ending {
        if let Err(cause) = self.start_watching().and_then(|exit| self.watch(&exit, on_slow)) {
            self.ending
                .get_or_insert(Ending::Unreadable(format!("watch the process: {cause}")));
            self.kill();
        }
        let leaked = match self.ending {
            Some(_) => false,
            None => self.wait_for_handles(),
        };
        let ending = self.ending.clone().unwrap_or(Ending::ByItself { leaked });
        if !matches!(ending, Ending::ByItself { .. }) || leaked && self.invocation.kill_leaked {
            self.tree.kill();
            self.drain();
        }
        ending
    }

    pub(super) fn into_output(self) -> [Kept; 2] {
        self.streams.map(|stream| stream.keeper.finish())
    }

    fn start_watching(&self) -> io::Result<OwnedFd> {
        for pipe in self.streams.iter().filter_map(|stream| stream.pipe.as_ref()) {
            rustix::io::ioctl_fionbio(pipe, true)?;
        }
        self.process.exit()
    }

    /// Returns when the first process has ended.
    fn watch(&mut self, exit: &OwnedFd, on_slow: &mut dyn FnMut(Slow)) -> io::Result<()> {
        loop {
            let due = self.deadline();
            let quiet = Some(self.quiet_until).filter(|&until| Instant::now() < until);
            let until = [due, quiet].into_iter().flatten().min();
            let ready = self.poll(Some(exit), quiet.is_none(), until)?;
            self.read_ready(ready);
            if ready.exited {
                return Ok(());
            }
            if ready.request {
                self.obey(self.killer.take());
            } else if due.is_some_and(|due| Instant::now() >= due) {
                self.deadline_passed(on_slow);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running { slow_at, .. } => slow_at,
            Phase::Terminating { kill_at } => kill_at,
            Phase::Killed => None,
        }
    }

    fn poll(&self, exit: Option<&OwnedFd>, streams: bool, until: Option<Instant>) -> io::Result<Ready> {
        let killer = self.killer.event();
        let none = || PollFd::from_borrowed_fd(killer, PollFlags::empty());
        let mut fds = [
            PollFd::from_borrowed_fd(killer, PollFlags::IN),
            none(),
            none(),
            none(),
        ];
        // Where each of exit, standard output and standard error is in `fds`; 0 is nowhere.
        let mut places = [0; 3];
        let pipes = self
            .streams
            .each_ref()
            .map(|stream| stream.pipe.as_ref().filter(|_| streams));
        let mut count = 1;
        for (place, fd) in places.iter_mut().zip([exit, pipes[0], pipes[1]]) {
            if let Some(fd) = fd {
                fds[count] = PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN);
                *place = count;
                count += 1;
            }
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // What does not fit a timespec is longer than anyone waits.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds[..count], timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(cause) => return Err(cause.into()),
        }
        let is_ready = |place: usize| place > 0 && !fds[place].revents().is_empty();
        Ok(Ready {
            exited: is_ready(places[0]),
            request: !fds[0].revents().is_empty(),
            streams: [is_ready(places[1]), is_ready(places[2])],
        })
    }

    /// Reads once from each stream that is ready; says whether anything came, an end of file included.
    fn read_ready(&mut self, ready: Ready) -> bool {
        let mut progress = false;
        for (index, _) in ready
            .streams
            .iter()
            .enumerate()
            .filter(|(_, is_ready)| **is_ready)
        {
            match self.streams[index].read(self.buffer) {
                Ok(read) => progress |= read,
                Err(cause) => {
                    let why = format!("read its {}: {cause}", self.streams[index].name);
                    self.ending.get_or_insert(Ending::Unreadable(why));
                    self.kill();
                }
            }
        }
        progress
    }

    fn obey(&mut self, request: Request) {
        match (&self.phase, request) {
            (_, Request::None) | (Phase::Killed, _) => {}
            (Phase::Running { .. }, Request::Terminate) => self.terminate(Ending::Cancelled),
            (Phase::Running { .. }, Request::Kill) => {
                self.ending.get_or_insert(Ending::Cancelled);
                self.kill();
            }
            // As in nextest, a cancellation cuts the grace of a process that is timing out.
            (Phase::Terminating { .. }, request) => {
                if request == Request::Kill || self.ending == Some(Ending::TimedOut) {
                    self.kill();
                }
            }
        }
    }

    fn deadline_passed(&mut self, on_slow: &mut dyn FnMut(Slow)) {
        let Phase::Running { periods, .. } = self.phase else {
            return self.kill();
        };
        let settings = &self.invocation.slow_timeout;
        let period = settings.period.max(PERIOD_MIN);
        let periods = periods.saturating_add(1);
        let will_terminate = settings.terminate_after.is_some_and(|after| periods >= after);
        if !settings.grace_period.is_zero() {
            on_slow(Slow {
                elapsed: period.saturating_mul(periods),
                will_terminate,
            });
        }
        if will_terminate {
            self.terminate(Ending::TimedOut);
        } else {
            self.phase = Phase::Running {
                slow_at: Instant::now().checked_add(period),
                periods,
            };
        }
    }

    fn terminate(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
        let grace = self.invocation.slow_timeout.grace_period;
        if grace.is_zero() {
            return self.kill();
        }
        self.tree.remember();
        // Fails only when the group has ended meanwhile.
        let _ = kill_process_group(self.group, Signal::TERM);
        self.phase = Phase::Terminating {
            kill_at: Instant::now().checked_add(grace),
        };
    }

    fn kill(&mut self) {
        self.tree.remember();
        let _ = kill_process_group(self.group, Signal::KILL);
        self.phase = Phase::Killed;
    }

    /// Waits, after the exit, for the ends of the streams; says whether they stayed open for the leak timeout.
    ///
    /// As in nextest the wait begins anew whenever something arrives.
    fn wait_for_handles(&mut self) -> bool {
        let period = self.invocation.leak_timeout.period;
        let mut until = Instant::now().checked_add(period);
        // The pipes are nonblocking, so what is there can be read without asking first.
        let mut ready = Ready {
            streams: [true; 2],
            ..Ready::default()
        };
        loop {
            let progress = self.read_ready(ready);
            if self.ending.is_some() || self.streams.iter().all(|stream| stream.pipe.is_none()) {
                return false;
            }
            if progress {
                until = Instant::now().checked_add(period);
            } else if until.is_some_and(|until| Instant::now() >= until) {
                return true;
            }
            ready = match self.poll(None, true, until) {
                Ok(ready) => ready,
                Err(_) => return true,
            };
            if ready.request && self.killer.take() != Request::None {
                self.ending = Some(Ending::Cancelled);
                return false;
            }
        }
    }

    /// Takes what a killed tree has left in the pipes, without waiting for more.
    fn drain(&mut self) {
        let all = Ready {
            streams: [true; 2],
            ..Ready::default()
        };
        let mut reads = 0;
        while reads < DRAIN_READS_MAX && self.read_ready(all) {
            reads += 1;
        }
    }
}

impl Stream {
    /// Reads once; says whether anything came, the end of file included.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let Some(pipe) = &self.pipe else { return Ok(false) };
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => self.pipe = None,
            Ok(count) => self.keeper.push(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(cause) => {
                self.pipe = None;
                return Err(cause.into());
            }
        }
        Ok(true)
    }
}
