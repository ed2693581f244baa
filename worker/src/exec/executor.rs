//! Runs one invocation after another on one thread.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::time::Timestamp;

use super::attempt::{Attempt, Ending, Slow};
use super::invocation::Invocation;
use super::killer::{Killer, Request};
use super::output::Kept;
use super::spawn::{SpawnError, spawn};
use super::tree;

/// The size of one read: the default capacity of a pipe.
const READ_BYTES: usize = 64 << 10;

/// What became of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// What the attempt did.
    pub outcome: Outcome,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, with the wait for leaked handles.
    pub took: Duration,
    /// What it wrote to standard output; empty when not captured.
    pub stdout: Kept,
    /// What it wrote to standard error; empty when not captured.
    pub stderr: Kept,
}

/// Runs processes, one at a time; each slot has its own.
///
/// With a view, the kernel kills a process when the *thread* that started it ends: use one executor on one
/// thread that lives as long as the worker.
#[derive(Debug)]
pub struct Executor {
    buffer: Box<[u8]>,
}

impl Default for Executor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor {
    /// Makes an executor with its 64 KiB of read buffer.
    pub fn new() -> Self {
        Self {
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// Runs a process to its end. Whatever goes wrong is an outcome.
    ///
    /// `on_slow` is called after each slow period, but, as in nextest, not when the grace period is zero.
    pub fn run(
        &mut self,
        invocation: &Invocation<'_>,
        killer: &Killer,
        on_slow: &mut dyn FnMut(Slow),
    ) -> Execution {
        let (started, clock) = (now(), Instant::now());
        let (outcome, [stdout, stderr]) = self.attempt(invocation, killer, on_slow);
        Execution {
            outcome,
            started,
            took: clock.elapsed(),
            stdout,
            stderr,
        }
    }

    fn attempt(
        &mut self,
        invocation: &Invocation<'_>,
        killer: &Killer,
        on_slow: &mut dyn FnMut(Slow),
    ) -> (Outcome, [Kept; 2]) {
        if killer.request() != Request::None {
            return (Outcome::Cancelled, Default::default());
        }
        let mark = tree::next_mark();
        let (mut process, owned) = match spawn(invocation, &mark, killer) {
            Ok(started) => started,
            Err(SpawnError::Cancelled) => return (Outcome::Cancelled, Default::default()),
            Err(SpawnError::Failed(why)) => return (exec_failed(why), Default::default()),
        };
        let mut attempt = Attempt::new(invocation, killer, &mut process, mark, &mut self.buffer);
        let ending = attempt.run(on_slow);
        let output = attempt.into_output();
        // Reaped only now: the pid had to stay this process's until its whole tree was dealt with.
        let status = process.wait();
        drop(owned);
        let outcome = match status {
            Ok(status) => outcome(invocation, ending, status),
            Err(cause) => exec_failed(format!("wait for the process: {cause}")),
        };
        (outcome, output)
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX))
}

fn exec_failed(why: String) -> Outcome {
    Outcome::Failed {
        cause: FailureCause::Exec(why),
        leaked: false,
    }
}

fn outcome(invocation: &Invocation<'_>, ending: Ending, status: ExitStatus) -> Outcome {
    let leaked = match ending {
        Ending::TimedOut => {
            return Outcome::TimedOut {
                passes: invocation.slow_timeout.on_timeout_passes,
            };
        }
        Ending::Cancelled => return Outcome::Cancelled,
        Ending::Unreadable(why) => return exec_failed(why),
        Ending::ByItself { leaked } => leaked,
    };
    match (status.code(), status.signal()) {
        (Some(0), _) if leaked => Outcome::Leaked {
            passes: invocation.leak_timeout.leak_passes,
        },
        (Some(0), _) => Outcome::Passed,
        (Some(code), _) => Outcome::Failed {
            cause: FailureCause::ExitCode(code),
            leaked,
        },
        (None, Some(signal)) => Outcome::Crashed { signal, leaked },
        (None, None) => exec_failed(format!("wait for the process: unknown wait status {status}")),
    }
}
