//! Starts the first process of an attempt.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::invocation::Invocation;
use super::killer::{Killer, Request};
use super::orphans::{self, Owned};
use super::tree::MARK;
use crate::sandbox::Entry;

/// How often, and how long apart, a program that is open for writing is tried. While one thread writes a
/// program, a child that another thread is starting holds that file open for an instant.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Why no process was started.
#[derive(Debug)]
pub(super) enum SpawnError {
    /// It was cancelled first.
    Cancelled,
    /// It could not be; the text says why.
    Failed(String),
}

/// Starts the process, in a group of its own, with nothing on standard input.
pub(super) fn spawn(
    invocation: &Invocation<'_>,
    mark: &str,
    killer: &Killer,
) -> Result<(Child, Owned), SpawnError> {
    let Some(program) = invocation.argv.first() else {
        return Err(SpawnError::Failed(
            "start a process: its argument list is empty".to_owned(),
        ));
    };
    let mut command = command(invocation, mark);
    let entry = enter_view(&mut command, invocation).map_err(|cause| {
        SpawnError::Failed(format!("start {}: prepare its view: {cause}", program.display()))
    })?;
    let mut tries = 1;
    loop {
        if killer.request() != Request::None {
            return Err(SpawnError::Cancelled);
        }
        match orphans::spawn_marked(&mut command, mark.to_owned()) {
            Ok(started) => return Ok(started),
            Err(cause) if cause.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                pause(killer);
                tries += 1;
            }
            Err(cause) => {
                let why = explain(invocation, entry.as_ref(), &cause);
                return Err(SpawnError::Failed(format!("start {}: {why}", program.display())));
            }
        }
    }
}

/// Without a view this uses only what the standard library starts by `posix_spawn`: no fork of a large worker.
fn command(invocation: &Invocation<'_>, mark: &str) -> Command {
    let mut command = Command::new(&invocation.argv[0]);
    command.args(&invocation.argv[1..]);
    if !invocation.environment.inherit {
        command.env_clear();
    }
    for name in &invocation.environment.remove {
        command.env_remove(name);
    }
    command.envs(
        invocation
            .environment
            .set
            .iter()
            .map(|(name, value)| (name, value)),
    );
    command.env(MARK, mark);
    let stream = |captured| {
        if captured {
            Stdio::piped()
        } else {
            Stdio::inherit()
        }
    };
    command
        .stdin(Stdio::null())
        .stdout(stream(invocation.capture.stdout))
        .stderr(stream(invocation.capture.stderr))
        .process_group(0);
    command
}

fn enter_view(command: &mut Command, invocation: &Invocation<'_>) -> io::Result<Option<Entry>> {
    let Some(view) = invocation.view else {
        command.current_dir(&invocation.cwd);
        return Ok(None);
    };
    let entry = view.entry(&invocation.cwd)?;
    entry.attach(command);
    Ok(Some(entry))
}

fn pause(killer: &Killer) {
    let pause = Timespec::try_from(BUSY_PAUSE).expect("ten milliseconds fit a timespec");
    // A request ends the pause; the caller looks for it.
    let _ = poll(
        &mut [PollFd::from_borrowed_fd(killer.event(), PollFlags::IN)],
        Some(&pause),
    );
}

/// The system says "no such file" for a missing program, a missing interpreter and a missing folder alike.
fn explain(invocation: &Invocation<'_>, entry: Option<&Entry>, cause: &io::Error) -> String {
    match entry {
        Some(entry) => match entry.failed_step() {
            Some(step) => format!("{step}: {cause}"),
            None => cause.to_string(),
        },
        None if !invocation.cwd.is_dir() => {
            format!(
                "its working directory {} is no folder ({cause})",
                invocation.cwd.display()
            )
        }
        None if cause.kind() == io::ErrorKind::NotFound && Path::new(&invocation.argv[0]).is_file() => {
            format!("its interpreter or loader is missing ({cause})")
        }
        None => cause.to_string(),
    }
}
