//! Ends every process of an attempt, wherever it has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::orphans;
use super::procfs::{self, Process};

/// The environment variable by which the processes of one attempt are found again.
///
/// Its value is unique to the attempt. An attempt inside an attempt (Thresh testing itself) appends to the
/// outer value, so ending the outer one ends the inner one too.
pub const MARK: &str = "THRESH_ATTEMPT_MARK";

/// How long to go on killing a tree that keeps growing, before it is given up.
const KILLING_MAX: Duration = Duration::from_secs(10);
/// How long to wait for killed processes to be gone before looking again.
const DYING_MAX: Duration = Duration::from_secs(1);

/// What the marks of all attempts of this process begin with.
static PREFIX: LazyLock<String> = LazyLock::new(|| {
    let own = uuid::Uuid::new_v4().simple();
    match std::env::var(MARK) {
        Ok(outer) => format!("{outer}/{own}-"),
        Err(_) => format!("{own}-"),
    }
});

/// Returns the mark of a new attempt.
pub(super) fn next_mark() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}{}", *PREFIX, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The processes of one attempt.
///
/// Valid only while its first process has not been reaped: until then neither its pid nor its group's can mean
/// another process.
#[derive(Debug)]
pub(super) struct Tree {
    root: i32,
    mark: String,
    /// Descendants seen so far, with their start times. They stay here when their parent ends and the path
    /// from the root to them is lost.
    known: BTreeMap<i32, u64>,
}

impl Tree {
    pub(super) fn new(root: Pid, mark: String) -> Self {
        Self {
            root: root.as_raw_nonzero().get(),
            mark,
            known: BTreeMap::new(),
        }
    }

    /// Notes who descends from the root now. To be called before the root is sent a signal: with it the paths
    /// to its descendants end.
    pub(super) fn remember(&mut self) {
        self.collect(&procfs::processes());
    }

    /// Kills until nothing of the tree is alive.
    pub(super) fn kill(&mut self) {
        kill_until_none(|| {
            let processes = procfs::processes();
            self.collect(&processes);
            let mut members = alive(processes);
            members.retain(|process| {
                self.known.get(&process.pid) == Some(&process.start)
                    || process.group == self.root
                    || is_marked(process.pid, &self.mark)
            });
            members
        });
    }

    /// Adds to `known` all that descend from the root or a known process.
    fn collect(&mut self, processes: &[Process]) {
        let mut children = BTreeMap::<i32, Vec<&Process>>::new();
        for process in processes {
            children.entry(process.parent).or_default().push(process);
        }
        let starts: BTreeMap<_, _> = processes
            .iter()
            .map(|process| (process.pid, process.start))
            .collect();
        self.known.retain(|pid, start| starts.get(pid) == Some(start));
        let mut unvisited: Vec<i32> = self.known.keys().copied().chain([self.root]).collect();
        let mut visited = BTreeSet::new();
        while let Some(pid) = unvisited.pop() {
            if visited.insert(pid) {
                for child in children.get(&pid).into_iter().flatten() {
                    self.known.insert(child.pid, child.start);
                    unvisited.push(child.pid);
                }
            }
        }
    }
}

/// Kills what attempts of this process that are over have left running, such as daemons that closed their
/// output. It walks `/proc`: for the end of a run or of the worker, not of a case.
pub fn kill_leftovers() {
    kill_leftovers_of(&PREFIX);
}

/// What the marks of all attempts of this process begin with, for a successor to call [`kill_leftovers_of`]
/// with.
pub fn mark_prefix() -> &'static str {
    &PREFIX
}

/// Kills what a process with this [`mark_prefix`] has left running; see [`kill_leftovers`].
pub fn kill_leftovers_of(prefix: &str) {
    kill_until_none(|| {
        // A process of an attempt that is just starting must not pass for one of an attempt that is over.
        let _held = orphans::hold_starts();
        let mut leftovers = alive(procfs::processes());
        leftovers.retain(|process| {
            let Some(mark) = mark_of(process.pid) else {
                return false;
            };
            mark.starts_with(prefix) && !orphans::is_running(&mark)
        });
        leftovers
    });
}

fn alive(mut processes: Vec<Process>) -> Vec<Process> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    processes.retain(|process| !process.ended && process.pid != own);
    processes
}

fn mark_of(pid: i32) -> Option<String> {
    String::from_utf8(procfs::variable(pid, MARK)?).ok()
}

/// Whether the process is of the attempt `mark`, or of one inside it.
fn is_marked(pid: i32, mark: &str) -> bool {
    mark_of(pid).and_then(|found| {
        found
            .strip_prefix(mark)
            .map(|rest| rest.is_empty() || rest.starts_with('/'))
    }) == Some(true)
}

/// Kills what `find` finds, until it finds nothing. A tree may grow while it is killed, and the kernel may take
/// a while to end a process.
fn kill_until_none(mut find: impl FnMut() -> Vec<Process>) {
    let give_up = Instant::now() + KILLING_MAX;
    loop {
        let found = find();
        if found.is_empty() {
            break;
        }
        if Instant::now() >= give_up {
            let pids: Vec<_> = found.iter().map(|process| process.pid).collect();
            tracing::warn!(?pids, "processes of an ended attempt survive SIGKILL");
            break;
        }
        let dying: Vec<_> = found.iter().filter_map(kill).collect();
        wait_until_ended(&dying);
    }
    orphans::reap_orphans();
}

/// Kills this very process, not another that has got its pid since.
fn kill(process: &Process) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    if procfs::process(process.pid)?.start != process.start {
        return None;
    }
    pidfd_send_signal(&pidfd, Signal::KILL).ok()?;
    Some(pidfd)
}

fn wait_until_ended(pidfds: &[OwnedFd]) {
    let deadline = Instant::now() + DYING_MAX;
    for pidfd in pidfds {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a second fits a timespec");
        // Whatever it says, the next look at /proc decides.
        let _ = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout));
    }
}
