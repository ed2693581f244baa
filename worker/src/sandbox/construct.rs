//! Makes a namespace by running steps in a child of its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, getpid, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;

use super::step::Step;
use crate::exec::spawn_owned;

/// In place of a step's index: all of them ran.
const DONE: u32 = u32::MAX;

/// A made namespace. It lives until its last descriptor and process are gone.
#[derive(Debug)]
pub(super) struct Namespace {
    /// Must be entered first, when the worker may not enter `mount` by itself.
    pub(super) user: Option<Arc<OwnedFd>>,
    pub(super) mount: Arc<OwnedFd>,
    /// The folders that were to be opened, in their order, as they are in it.
    pub(super) folders: Vec<OwnedFd>,
}

/// Why a namespace could not be made.
#[derive(Debug)]
pub(super) enum ConstructError {
    /// The step with this index failed.
    Step(usize, io::Error),
    /// The child could not be started or asked.
    Child(io::Error),
}

/// Runs the steps and opens the namespaces that they leave behind, with some folders in them.
pub(super) fn construct(steps: Vec<Step>, folders: &[&Path]) -> Result<Namespace, ConstructError> {
    let user = steps
        .iter()
        .any(|step| matches!(step, Step::Unshare(flags) if flags.contains(UnshareFlags::NEWUSER)));
    hold(steps, |pid| {
        let namespace = |kind| File::open(format!("/proc/{pid}/ns/{kind}")).map(|file| Arc::new(file.into()));
        Ok(Namespace {
            user: user.then(|| namespace("user")).transpose()?,
            mount: namespace("mnt")?,
            folders: (folders.iter())
                .map(|folder| open_in(pid, folder))
                .collect::<io::Result<_>>()?,
        })
    })
}

/// Opens a folder as a process sees it.
fn open_in(pid: u32, folder: &Path) -> io::Result<OwnedFd> {
    let below = folder.strip_prefix("/").unwrap_or(folder);
    let path = Path::new("/proc").join(format!("{pid}/root")).join(below);
    Ok(open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Runs the steps in a process, and calls `look` with its PID while it waits.
///
/// A user namespace needs a process with one thread, so the steps run in a forked child. It never becomes
/// another program: it says that it is done, waits until it was looked at, and ends.
pub(super) fn hold<T>(
    steps: Vec<Step>,
    look: impl FnOnce(u32) -> io::Result<T>,
) -> Result<T, ConstructError> {
    let (report, to_parent) = pipe_with(PipeFlags::CLOEXEC).map_err(child)?;
    let (from_parent, release) = pipe_with(PipeFlags::CLOEXEC).map_err(child)?;
    std::thread::scope(|scope| {
        // `spawn` returns only when the child has ended, so another thread calls it; its end of the pipe
        // closes with it, also when there never was a child.
        let started = scope.spawn(move || run_in_child(steps, to_parent, from_parent));
        let result = receive(report).and_then(|pid| look(pid).map_err(ConstructError::Child));
        // The child may be gone.
        let _ = File::from(release).write(&[0]);
        let started = started.join().expect("the thread only starts a process");
        match result {
            Err(ConstructError::Child(cause)) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ConstructError::Child(started))
            }
            result => result,
        }
    })
}

fn child(errno: Errno) -> ConstructError {
    ConstructError::Child(errno.into())
}

/// Returns why the child was no success, which it never is.
fn run_in_child(steps: Vec<Step>, report: OwnedFd, release: OwnedFd) -> io::Error {
    let mut command = Command::new("/proc/self/exe");
    before_exec(&mut command, move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        for (index, step) in steps.iter().enumerate() {
            if let Err(errno) = step.run() {
                send(&report, index as u32, errno.raw_os_error().unsigned_abs());
                return Err(errno.into());
            }
        }
        send(&report, DONE, getpid().as_raw_nonzero().get().unsigned_abs());
        let _ = rustix::io::read(&release, &mut [0u8; 1]);
        Err(Errno::CANCELED.into())
    });
    match spawn_owned(&mut command) {
        Err(cause) => cause,
        Ok(_) => io::Error::other("the child became a program"),
    }
}

/// Calls `steps` in the child, between fork and exec.
#[expect(
    unsafe_code,
    reason = "the standard library offers nothing else between fork and exec"
)]
pub(crate) fn before_exec(
    command: &mut Command,
    steps: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: every caller passes a closure that makes system calls with arguments prepared beforehand; it
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(steps) };
}

fn send(report: &OwnedFd, what: u32, value: u32) {
    let mut message = [0; 8];
    message[..4].copy_from_slice(&what.to_ne_bytes());
    message[4..].copy_from_slice(&value.to_ne_bytes());
    // The parent takes a missing message for a failure.
    let _ = rustix::io::write(report, &message);
}

/// The PID of the child, once it has done its steps.
fn receive(report: OwnedFd) -> Result<u32, ConstructError> {
    let mut what = [0; 4];
    let mut value = [0; 4];
    let mut report = File::from(report);
    report.read_exact(&mut what).map_err(ConstructError::Child)?;
    report.read_exact(&mut value).map_err(ConstructError::Child)?;
    let (what, value) = (u32::from_ne_bytes(what), u32::from_ne_bytes(value));
    if what != DONE {
        let cause = io::Error::from_raw_os_error(value.cast_signed());
        return Err(ConstructError::Step(what as usize, cause));
    }
    Ok(value)
}
