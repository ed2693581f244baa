//! A started process and how it is started when nothing needs to happen between fork and exec.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::ptr::null_mut;
use std::sync::OnceLock;

use libc::{c_char, c_int, c_short};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use super::invocation::Capture;
use crate::sandbox::Launch;

/// A process that was started and not yet waited for.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    /// What it writes, where that is captured.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// Where the program runs under an init, whose PID `pid` is: tells how the program ended.
    pub(super) status: Option<OwnedFd>,
}

impl Process {
    /// What becomes readable when the program has ended.
    pub(super) fn exit(&self) -> io::Result<OwnedFd> {
        match &self.status {
            Some(status) => status.try_clone(),
            None => Ok(pidfd_open(self.pid, PidfdFlags::empty())?),
        }
    }

    /// Waits for its end, ends whatever is left below its init, and reaps it.
    pub(super) fn wait(&self) -> io::Result<ExitStatus> {
        let Some(status) = &self.status else {
            return self.reap();
        };
        let mut raw = [0; 4];
        let told = File::from(status.try_clone()?).read_exact(&mut raw);
        // Fails only when it was killed before.
        let _ = kill_process(self.pid, Signal::KILL);
        let init = self.reap()?;
        match told {
            Ok(()) => Ok(ExitStatus::from_raw(i32::from_ne_bytes(raw))),
            Err(_) => Ok(init),
        }
    }

    fn reap(&self) -> io::Result<ExitStatus> {
        let waited = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), WaitOptions::empty()))?;
        let (_, status) = waited.ok_or_else(|| io::Error::other("it has not ended"))?;
        Ok(ExitStatus::from_raw(status.as_raw()))
    }
}

impl From<Child> for Process {
    fn from(mut child: Child) -> Self {
        Self {
            pid: Pid::from_child(&child),
            stdout: child.stdout.take().map(OwnedFd::from),
            stderr: child.stderr.take().map(OwnedFd::from),
            status: None,
        }
    }
}

/// What to start.
#[derive(Debug)]
pub(super) struct Program<'a> {
    /// Never empty. The first is the program; without a slash it is looked up in this process's `PATH`.
    pub(super) argv: Vec<CString>,
    /// Its whole environment.
    pub(super) environment: Vec<&'a CStr>,
    pub(super) cwd: CString,
    pub(super) capture: Capture,
}

impl Program<'_> {
    /// Starts it, in a group of its own, with nothing on standard input and default signals, as the standard
    /// library's `Command` does. That sorts and copies all variables for every process, which costs more than
    /// everything else here.
    pub(super) fn start(&self) -> io::Result<Process> {
        let pipes = Pipes::new(self.capture)?;
        let mut actions = Actions::new()?;
        actions.change_folder(&self.cwd)?;
        actions.give(nothing()?, libc::STDIN_FILENO)?;
        for (written, number) in pipes
            .written()
            .into_iter()
            .zip([libc::STDOUT_FILENO, libc::STDERR_FILENO])
        {
            if let Some(written) = written {
                actions.give(written, number)?;
            }
        }
        let pid = spawn(self, &actions, &Attributes::new()?)?;
        Ok(pipes.process(pid, None))
    }
}

/// Starts a program that is isolated, with nothing on standard input.
pub(super) fn launch(launch: &Launch, capture: Capture) -> io::Result<Process> {
    let pipes = Pipes::new(capture)?;
    let (own_stdout, own_stderr) = (io::stdout(), io::stderr());
    let [stdout, stderr] = pipes.written();
    let streams = [
        nothing()?,
        stdout.unwrap_or(own_stdout.as_fd()),
        stderr.unwrap_or(own_stderr.as_fd()),
    ];
    let launched = launch.start(streams)?;
    Ok(pipes.process(launched.init, Some(launched.status)))
}

/// Of the streams that are captured, the end that is read and the one that is written.
struct Pipes([Option<(OwnedFd, OwnedFd)>; 2]);

impl Pipes {
    fn new(capture: Capture) -> io::Result<Self> {
        let pipe = |captured: bool| captured.then(|| pipe_with(PipeFlags::CLOEXEC)).transpose();
        Ok(Self([pipe(capture.stdout)?, pipe(capture.stderr)?]))
    }

    /// What a process gets as standard output and error.
    fn written(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let [stdout, stderr] = &self.0;
        [stdout, stderr].map(|pipe| pipe.as_ref().map(|(_, written)| written.as_fd()))
    }

    /// What is left of them when the process has its ends.
    fn process(self, pid: Pid, status: Option<OwnedFd>) -> Process {
        let [stdout, stderr] = self.0.map(|pipe| pipe.map(|(read, _)| read));
        Process {
            pid,
            stdout,
            stderr,
            status,
        }
    }
}

/// `/dev/null`, opened once.
fn nothing() -> io::Result<BorrowedFd<'static>> {
    static NOTHING: OnceLock<OwnedFd> = OnceLock::new();
    if NOTHING.get().is_none() {
        let opened = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // Fails when another thread was faster, and then there is one.
        let _ = NOTHING.set(opened);
    }
    let nothing = NOTHING.get().expect("it was set above, if not before");
    Ok(nothing.as_fd())
}

/// What the child does before it becomes the program, in this order.
struct Actions(libc::posix_spawn_file_actions_t);

/// How the child differs from its parent.
struct Attributes(libc::posix_spawnattr_t);

#[expect(unsafe_code, reason = "nothing safe offers posix_spawn")]
impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the pointer is valid for writes, and what it points to is only used when this succeeds.
        succeed(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it was just initialised. It may be moved: C programs copy it by value.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn change_folder(&mut self, folder: &CStr) -> io::Result<()> {
        // SAFETY: both pointers are valid during the call, which copies the path.
        succeed(unsafe { libc::posix_spawn_file_actions_addchdir_np(&mut self.0, folder.as_ptr()) })
    }

    /// Gives the child `fd` under `number`; it must stay open until the child has started.
    fn give(&mut self, fd: BorrowedFd<'_>, number: c_int) -> io::Result<()> {
        // SAFETY: the pointer is valid during the call; a descriptor that is none makes the spawn fail.
        succeed(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, fd.as_raw_fd(), number) })
    }
}

#[expect(unsafe_code, reason = "nothing safe offers posix_spawn")]
impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: it was initialised and is not used afterwards.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

#[expect(unsafe_code, reason = "nothing safe offers posix_spawn")]
impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the pointer is valid for writes, and what it points to is only used when this succeeds.
        succeed(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it was just initialised. It may be moved: C programs copy it by value.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let flags = libc::POSIX_SPAWN_SETPGROUP | libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        let flags = c_short::try_from(flags).expect("the flags are few and small");
        let (none, default) = (signals(&[])?, signals(&[libc::SIGPIPE])?);
        let this = &mut attributes.0;
        // SAFETY: all pointers are valid during the calls, which copy what they point to.
        unsafe {
            succeed(libc::posix_spawnattr_setflags(this, flags))?;
            succeed(libc::posix_spawnattr_setpgroup(this, 0))?;
            succeed(libc::posix_spawnattr_setsigmask(this, &none))?;
            // Rust ignores it, which a program would inherit.
            succeed(libc::posix_spawnattr_setsigdefault(this, &default))?;
        }
        Ok(attributes)
    }
}

#[expect(unsafe_code, reason = "nothing safe offers posix_spawn")]
impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: it was initialised and is not used afterwards.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

#[expect(unsafe_code, reason = "posix_spawn takes sets of signals as C makes them")]
fn signals(members: &[c_int]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the pointer is valid for writes, and the set is complete once it was emptied.
    unsafe {
        check(libc::sigemptyset(set.as_mut_ptr()))?;
        for member in members {
            check(libc::sigaddset(set.as_mut_ptr(), *member))?;
        }
        Ok(set.assume_init())
    }
}

#[expect(unsafe_code, reason = "nothing safe offers posix_spawn")]
fn spawn(program: &Program<'_>, actions: &Actions, attributes: &Attributes) -> io::Result<Pid> {
    let argv = pointers(program.argv.iter().map(CString::as_c_str));
    let environment = pointers(program.environment.iter().copied());
    let mut pid = 0;
    // SAFETY: both lists end with a null pointer, and they and the texts in them outlive the call. The function
    // does not write to them; that C declares them mutable is history. Actions and attributes are initialised.
    let failed = unsafe {
        libc::posix_spawnp(
            &mut pid,
            argv[0],
            &actions.0,
            &attributes.0,
            argv.as_ptr(),
            environment.as_ptr(),
        )
    };
    succeed(failed)?;
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("the new process has no id"))
}

/// A list as C has them: with a null pointer at its end.
fn pointers<'a>(texts: impl Iterator<Item = &'a CStr>) -> Vec<*mut c_char> {
    texts
        .map(|text| text.as_ptr().cast_mut())
        .chain([null_mut()])
        .collect()
}

/// For functions that return an error's number.
fn succeed(errno: c_int) -> io::Result<()> {
    match errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// For functions that return -1 and leave the error's number elsewhere.
fn check(returned: c_int) -> io::Result<()> {
    if returned == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
