//! Which children are whose: slot threads wait for theirs, the worker reaps what it inherited.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::process::Process;
use super::procfs;

/// Held for reading while a child is started and entered, for writing by [`hold_starts`].
static STARTING: RwLock<()> = RwLock::new(());
/// Children that someone here waits for, by pid.
static OWNED: Mutex<BTreeMap<u32, Entry>> = Mutex::new(BTreeMap::new());
static SUBREAPER: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Entry {
    serial: u64,
    mark: String,
}

/// Says, while it lives, that its holder waits for a child. Drop it after the wait.
#[derive(Debug)]
pub struct Owned {
    pid: u32,
    serial: u64,
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut owned = owned();
        // Once reaped, the pid may be another child's.
        if owned
            .get(&self.pid)
            .is_some_and(|entry| entry.serial == self.serial)
        {
            owned.remove(&self.pid);
        }
    }
}

fn owned() -> MutexGuard<'static, BTreeMap<u32, Entry>> {
    // Every change of the map is one insertion or removal, so a panic elsewhere leaves it whole.
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this process the parent of all orphans among its descendants, for good.
///
/// Only for a process that is a worker and nothing else: [`reap_orphans`] then reaps every child that was not
/// started through [`spawn_owned`].
///
/// # Errors
///
/// When the kernel refuses (Linux before 3.4).
pub fn become_subreaper() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    SUBREAPER.store(true, Ordering::SeqCst);
    Ok(())
}

/// Starts a child that [`reap_orphans`] leaves alone as long as the returned [`Owned`] lives.
///
/// # Errors
///
/// As `Command::spawn`.
pub fn spawn_owned(command: &mut Command) -> io::Result<(Child, Owned)> {
    start_owned(String::new(), || command.spawn(), Child::id)
}

/// The same for the first process of the attempt `mark`.
pub(super) fn start_marked(
    mark: &str,
    start: impl FnOnce() -> io::Result<Process>,
) -> io::Result<(Process, Owned)> {
    start_owned(mark.to_owned(), start, |process| {
        process.pid.as_raw_nonzero().get().unsigned_abs()
    })
}

fn start_owned<C>(
    mark: String,
    start: impl FnOnce() -> io::Result<C>,
    pid: impl FnOnce(&C) -> u32,
) -> io::Result<(C, Owned)> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let _starting = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    let child = start()?;
    let (pid, serial) = (pid(&child), SERIAL.fetch_add(1, Ordering::Relaxed));
    owned().insert(pid, Entry { serial, mark });
    Ok((child, Owned { pid, serial }))
}

/// Keeps children from being started, so that every one there is has been entered.
pub(super) fn hold_starts() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the first process of the attempt `mark`, or of one around it, has not been reaped yet.
pub(super) fn is_running(mark: &str) -> bool {
    owned().values().any(|entry| {
        !entry.mark.is_empty()
            && mark
                .strip_prefix(&entry.mark)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Reaps the orphans that ended. A worker calls it every few seconds; without [`become_subreaper`] it does
/// nothing.
pub fn reap_orphans() {
    if !SUBREAPER.load(Ordering::SeqCst) {
        return;
    }
    let _held = hold_starts();
    let own = rustix::process::getpid().as_raw_nonzero().get();
    for process in procfs::processes() {
        let is_orphan =
            process.ended && process.parent == own && !owned().contains_key(&process.pid.unsigned_abs());
        if let (true, Some(pid)) = (is_orphan, Pid::from_raw(process.pid)) {
            // Fails only when it is no longer there to be reaped.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}
