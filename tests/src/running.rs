//! A `thresh` process: what it says while it runs, and what it came to.

use crate::events::{self, Event};
use crate::status::Statuses;
use crate::status::Word;
use crate::wait;
use rustix::process::{Pid, Signal};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long an interrupted `thresh` may take to end its cases and itself.
const GRACE: Duration = Duration::from_secs(30);

/// A `thresh` that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    seen: Vec<String>,
    rss_kib_max: u64,
}

impl Running {
    /// Starts a command and begins to read what it says.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is there");
        let stdout = child.stdout.take().expect("it is piped");
        let mut stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self {
            child,
            lines,
            stderr: Some(stderr),
            seen: Vec::new(),
            rss_kib_max: 0,
        }
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        signal_process(self.id(), signal);
    }

    /// Waits for an event that `wanted` accepts and returns it. Events before it stay known to
    /// [`Running::finish`], but are not looked at again.
    ///
    /// # Panics
    /// When the run ends before, or when `limit` is over.
    #[track_caller]
    pub fn event(&mut self, limit: Duration, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    let event = Event::parse(&line);
                    self.seen.push(line);
                    if let Some(event) = event.filter(&mut wanted) {
                        return event;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "no such event within {limit:?}; so far:\n{}",
                        self.seen.join("\n")
                    )
                }
                Err(RecvTimeoutError::Disconnected) => panic!("it ended early:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Waits for the end, at most five minutes.
    ///
    /// # Panics
    /// When it takes longer.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let limit = Duration::from_secs(300);
        let started = Instant::now();
        let status = self.ended(limit);
        let status = status.unwrap_or_else(|| panic!("no sign of the end of thresh within {limit:?}"));
        self.gather(status, started.elapsed())
    }

    /// Waits for the end, at most `limit`; then interrupts it as a user would, and kills it if that does not help. It
    /// has to be the leader of a process group: what it left there is killed, too.
    pub fn finish_within(mut self, limit: Duration) -> Finished {
        let started = Instant::now();
        let mut status = self.ended(limit);
        if status.is_none() {
            self.signal(Signal::INT);
            status = self.ended(GRACE);
        }
        let group = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group.filter(|_| status.is_none()) {
            // Nothing is left to kill when all have ended meanwhile.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let status = status.unwrap_or_else(|| self.child.wait().expect("it is our child"));
        self.gather(status, started.elapsed())
    }

    fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait::within(limit, || {
            self.rss_kib_max = self.rss_kib_max.max(peak_memory_kib(self.id()).unwrap_or(0));
            self.child.try_wait().expect("it is our child")
        })
    }

    fn gather(mut self, status: ExitStatus, waited: Duration) -> Finished {
        // The pipes end when the last process that holds them does.
        self.seen.extend(self.lines.iter());
        let stderr = self
            .stderr
            .take()
            .map(|reader| reader.join().expect("reading does not panic"));
        Finished {
            status,
            lines: std::mem::take(&mut self.seen),
            stderr: stderr.unwrap_or_default(),
            rss_kib_max: self.rss_kib_max,
            waited,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this one started.
///
/// # Panics
/// When the process is gone.
pub fn signal_process(id: u32, signal: Signal) {
    let id = i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .expect("an id is positive");
    rustix::process::kill_process(id, signal).expect("the process is there");
}

/// Returns the most memory that a process has held so far, in KiB.
pub fn peak_memory_kib(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// A `thresh` that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output, by line.
    pub lines: Vec<String>,
    /// What it wrote to standard error.
    pub stderr: String,
    /// The most memory it was seen to hold, in KiB.
    pub rss_kib_max: u64,
    /// How long [`Running::finish`] waited for the end.
    pub waited: Duration,
}

impl Finished {
    /// Returns the exit code; `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Returns standard output.
    pub fn stdout(&self) -> String {
        self.lines.join("\n")
    }

    /// Returns the events.
    pub fn events(&self) -> Vec<Event> {
        self.lines.iter().filter_map(|line| Event::parse(line)).collect()
    }

    /// Returns what each case came to.
    pub fn statuses(&self) -> Statuses {
        events::statuses(&self.events())
    }

    /// Returns the `run-ended` event.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn ended(&self) -> Event {
        let ended = self
            .events()
            .into_iter()
            .find(|event| event.kind() == "run-ended");
        ended.unwrap_or_else(|| panic!("no run-ended event; {self}"))
    }

    /// Returns how many attempts ended, whatever came of them.
    pub fn attempts(&self) -> usize {
        self.events()
            .iter()
            .filter(|event| event.kind() == "attempt-ended")
            .count()
    }

    /// Checks the exit code.
    ///
    /// # Panics
    /// When it is another; the message has all output.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self}");
        self
    }

    /// Checks that there are cases, and that each passed.
    ///
    /// # Panics
    /// When there is none, or one came to something else; the message has all output.
    #[track_caller]
    pub fn expect_all_passed(&self) {
        let statuses = self.statuses();
        let passed = statuses.values().filter(|status| status.word == Word::Passed);
        assert_eq!(passed.count(), statuses.len(), "{self}");
        assert!(!statuses.is_empty(), "{self}");
    }

    /// Checks that standard error holds `part`.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn expect_stderr(self, part: &str) -> Self {
        assert!(
            self.stderr.contains(part),
            "standard error lacks {part:?}; {self}"
        );
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let out: String = self.stdout().chars().take(20_000).collect();
        write!(
            f,
            "ended with {}\n--- stdout\n{out}\n--- stderr\n{}",
            self.status, self.stderr
        )
    }
}
