//! Starts the first process of an attempt.

use std::ffi::{CString, NulError, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::block::Variable;
use super::invocation::{Capture, Invocation};
use super::killer::{Killer, Request};
use super::orphans::{self, Owned};
use super::process::{self, Process, Program};
use super::tree::MARK;
use crate::sandbox::{self, CaseView, Entry, Launch, Target, before_exec};

/// How often, and how long apart, a program that is open for writing is tried. While one thread writes a
/// program, a child that another thread is starting holds that file open for an instant.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Where programs are looked for by who has no `PATH`, as the C library does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Why no process was started.
#[derive(Debug)]
pub(super) enum SpawnError {
    /// It was cancelled first.
    Cancelled,
    /// It could not be; the text says why.
    Failed(String),
}

/// How a process is started.
enum Start<'a> {
    Direct(Program<'a>),
    /// By the standard library, which forks where a view is entered.
    Command(Box<Command>, Option<Entry>),
    /// Isolated, under an init of its own.
    Isolated(Box<Launch>, Capture),
}

/// Starts the process, in a group of its own, with nothing on standard input.
pub(super) fn spawn(
    invocation: &Invocation<'_>,
    mark: &str,
    killer: &Killer,
) -> Result<(Process, Owned), SpawnError> {
    let Some(program) = invocation.argv.first() else {
        return Err(SpawnError::Failed(
            "start a process: its argument list is empty".to_owned(),
        ));
    };
    let failed = |why: String| SpawnError::Failed(format!("start {}: {why}", program.display()));
    let unset = |error: NulError| failed(format!("its environment variables: {error}"));
    let own = own_variables(invocation, mark).map_err(unset)?;
    let variables = (invocation.environment.common.overlaid(&own)).map_err(unset)?;
    let mut start = prepare(invocation, &variables).map_err(failed)?;
    let mut tries = 1;
    loop {
        if killer.request() != Request::None {
            return Err(SpawnError::Cancelled);
        }
        match orphans::start_marked(mark, || start.start()) {
            Ok(started) => return Ok(started),
            Err(cause) if cause.kind() == io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                pause(killer);
                tries += 1;
            }
            Err(cause) => return Err(failed(explain(invocation, start.entry(), &cause))),
        }
    }
}

/// The variables that other processes of the run do not get.
fn own_variables(invocation: &Invocation<'_>, mark: &str) -> Result<Vec<Variable>, NulError> {
    let set = invocation.environment.set.iter();
    set.map(|(name, value)| (name.as_os_str(), value.as_os_str()))
        .chain([(OsStr::new(MARK), OsStr::new(mark))])
        .map(|(name, value)| Variable::new(name, value))
        .collect()
}

fn prepare<'a>(invocation: &Invocation<'_>, variables: &[&'a Variable]) -> Result<Start<'a>, String> {
    let Some(view) = invocation.view else {
        if is_limited(invocation) || !is_found_directly(&invocation.argv[0], variables) {
            let mut command = command(invocation, variables);
            command.current_dir(&invocation.cwd);
            limit(&mut command, invocation);
            return Ok(Start::Command(Box::new(command), None));
        }
        let argv = invocation.argv.iter().map(|text| CString::new(text.as_bytes()));
        return Ok(Start::Direct(Program {
            argv: (argv.collect::<Result<_, _>>()).map_err(|error| format!("its arguments: {error}"))?,
            environment: variables.iter().map(|variable| variable.text()).collect(),
            cwd: CString::new(invocation.cwd.as_os_str().as_bytes())
                .map_err(|error| format!("its working directory: {error}"))?,
            capture: invocation.capture,
        }));
    };
    if let Some(launch) = launch(invocation, view, variables)? {
        return Ok(Start::Isolated(Box::new(launch), invocation.capture));
    }
    let entry = (view.entry(&invocation.cwd)).map_err(|cause| format!("prepare its view: {cause}"))?;
    let mut command = command(invocation, variables);
    entry.attach(&mut command);
    limit(&mut command, invocation);
    Ok(Start::Command(Box::new(command), Some(entry)))
}

fn is_limited(invocation: &Invocation<'_>) -> bool {
    invocation.limits.of_each_process(false).next().is_some()
}

fn limit(command: &mut Command, invocation: &Invocation<'_>) {
    if is_limited(invocation) {
        let limits = invocation.limits;
        before_exec(command, move || {
            for (resource, most) in limits.of_each_process(false) {
                sandbox::limit(resource, most)?;
            }
            Ok(())
        });
    }
}

/// Prepares to start it isolated, where the view's processes are.
fn launch(
    invocation: &Invocation<'_>,
    view: &CaseView,
    variables: &[&Variable],
) -> Result<Option<Launch>, String> {
    let arguments = |error: NulError| format!("its arguments: {error}");
    let folder = |error: NulError| format!("its working directory: {error}");
    let argv = invocation.argv.iter().map(|text| CString::new(text.as_bytes()));
    let environment = variables.iter().map(|variable| variable.text().to_owned());
    let target = Target {
        cwd: CString::new(invocation.cwd.as_os_str().as_bytes()).map_err(folder)?,
        programs: candidates(&invocation.argv[0], variables).map_err(arguments)?,
        argv: argv.collect::<Result<_, _>>().map_err(arguments)?,
        environment: environment.collect(),
    };
    view.launch(target)
        .map_err(|cause| format!("prepare its view: {cause}"))
}

/// Where a program may be; without a slash in its `PATH`.
fn candidates(program: &OsStr, variables: &[&Variable]) -> Result<Vec<CString>, NulError> {
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![CString::new(program.as_bytes())?]);
    }
    let path = variables.iter().find(|variable| variable.name() == "PATH");
    let path = path.map_or(OsStr::new(DEFAULT_PATH), |path| path.value());
    std::env::split_paths(path)
        .map(|folder| CString::new(folder.join(program).into_os_string().as_bytes()))
        .collect()
}

/// Whether the program is where its path says, or where this process would look for it.
fn is_found_directly(program: &OsStr, variables: &[&Variable]) -> bool {
    if program.as_bytes().contains(&b'/') {
        return Path::new(program).is_absolute();
    }
    let path = variables.iter().find(|variable| variable.name() == "PATH");
    path.map(|path| path.value()) == std::env::var_os("PATH").as_deref()
}

fn command(invocation: &Invocation<'_>, variables: &[&Variable]) -> Command {
    let mut command = Command::new(&invocation.argv[0]);
    let stream = |captured| {
        if captured {
            Stdio::piped()
        } else {
            Stdio::inherit()
        }
    };
    command
        .args(&invocation.argv[1..])
        .env_clear()
        .envs(
            variables
                .iter()
                .map(|variable| (variable.name(), variable.value())),
        )
        .stdin(Stdio::null())
        .stdout(stream(invocation.capture.stdout))
        .stderr(stream(invocation.capture.stderr))
        .process_group(0);
    command
}

impl Start<'_> {
    fn start(&mut self) -> io::Result<Process> {
        match self {
            Self::Direct(program) => program.start(),
            Self::Command(command, _) => command.spawn().map(Process::from),
            Self::Isolated(launch, capture) => process::launch(launch, *capture),
        }
    }

    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Direct(_) | Self::Isolated(..) => None,
            Self::Command(_, entry) => entry.as_ref(),
        }
    }
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
        None if invocation.view.is_some() => cause.to_string(),
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
