//! Starts a process in a PID namespace of its own, under an init.
//!
//! Three processes take part. A forked *opener* enters the view's namespaces, makes those of the case and mounts what the
//! case sees; then it clones the *init*, which is process 1 of the case and the worker's own child, and ends. The init
//! starts the *program* and reaps whatever is orphaned. It is needed: without one the kernel would keep signals from the
//! program, `abort()` among them, as it does for process 1. The init outlives the program until the worker kills it, so
//! that output of what the program left running can be waited for; with it ends everything.
//!
//! All three run between fork and exec, where only system calls may be made.

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use libc::{c_char, c_int, c_void};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, setpgid, waitpid};

use super::child::{
    block_signals, close_all_but, close_at_exec, default_signals, duplicate, is_deserted, kill_group,
    last_errno, reap, wait_signal,
};
use super::step::Step;

const STACK_BYTES: usize = 64 << 10;
/// How a program is missed that may be further on in `PATH`.
const NOT_HERE: [c_int; 5] = [
    libc::ENOENT,
    libc::ENOTDIR,
    libc::ESTALE,
    libc::ENODEV,
    libc::ETIMEDOUT,
];
/// What the processes end with when they fail; they also say why.
const EXIT_FAILED: c_int = 127;

/// What to start, and in which surroundings.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The folder of a control group of version 2 to start in.
    pub(super) group: Option<Arc<OwnedFd>>,
    /// What the opener does, the init, and the process that becomes the program.
    pub(super) outside: Vec<Step>,
    pub(super) init: Vec<Step>,
    pub(super) inside: Vec<Step>,
    pub(super) target: Target,
    /// What an attempt to start leaves behind that would keep the next from succeeding.
    pub(super) used_once: Vec<PathBuf>,
}

/// What is to be started.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) cwd: CString,
    /// Where the program may be, in this order.
    pub(crate) programs: Vec<CString>,
    pub(crate) argv: Vec<CString>,
    pub(crate) environment: Vec<CString>,
}

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Its init. Whoever kills this kills everything.
    pub(crate) init: Pid,
    /// Says how the program ended, as its wait status in 4 bytes; or nothing when the init was killed first.
    pub(crate) status: OwnedFd,
}

/// Who reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Who {
    Opener = 1,
    Init = 2,
    Program = 3,
}

/// What one of the processes tells the worker: who it is, at which step it failed, and why.
type Message = [u32; 3];

/// In place of a failed step: the init is there, with this PID.
const BEGUN: u32 = u32::MAX;
/// In place of a failed step.
const FOLDER: u32 = u32::MAX - 1;
const EXEC: u32 = u32::MAX - 2;
const CLONE: u32 = u32::MAX - 3;

/// All that the processes need, prepared.
struct Plan<'a> {
    launch: &'a Launch,
    argv: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    streams: [BorrowedFd<'a>; 3],
    report: OwnedFd,
    status: OwnedFd,
    init_stack: Box<[u8]>,
    program_stack: Box<[u8]>,
}

impl Launch {
    /// Starts the program with these as its standard streams.
    pub(crate) fn start(&self, streams: [BorrowedFd<'_>; 3]) -> io::Result<Launched> {
        let (told, report) = pipe_with(PipeFlags::CLOEXEC)?;
        let (status, report_status) = pipe_with(PipeFlags::CLOEXEC)?;
        let plan = Plan {
            launch: self,
            argv: pointers(&self.target.argv),
            environment: pointers(&self.target.environment),
            streams,
            report,
            status: report_status,
            init_stack: vec![0; STACK_BYTES].into_boxed_slice(),
            program_stack: vec![0; STACK_BYTES].into_boxed_slice(),
        };
        let opener = fork(&plan)?;
        // Its ends of the pipes; what is left are those of the children.
        drop(plan);
        let heard = hear(told);
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(opener), WaitOptions::empty()));
        let (init, failed) = heard?;
        match (init, failed) {
            (Some(init), None) => Ok(Launched { init, status }),
            (init, failed) => {
                if let Some(init) = init {
                    let _ = rustix::process::kill_process(init, Signal::KILL);
                    let _ = rustix::io::retry_on_intr(|| waitpid(Some(init), WaitOptions::empty()));
                }
                for path in &self.used_once {
                    // It is there only if the attempt got that far.
                    let _ = crate::removal::remove(path);
                }
                Err(self.explain(failed))
            }
        }
    }

    fn explain(&self, failed: Option<Message>) -> io::Error {
        let Some([who, step, errno]) = failed else {
            return io::Error::other("the process that opens its surroundings was killed");
        };
        let cause = io::Error::from_raw_os_error(errno.cast_signed());
        let steps = match who {
            who if who == Who::Opener as u32 => &self.outside,
            who if who == Who::Init as u32 => &self.init,
            _ => &self.inside,
        };
        match step {
            // As it is, so that it is known what kind of failure it is.
            EXEC => cause,
            FOLDER => io::Error::other(format!(
                "change to its working directory {} in the view: {cause}",
                self.target.cwd.to_string_lossy()
            )),
            step => {
                let step = steps.get(step as usize).map(|step| step as &dyn fmt::Display);
                let step = step.unwrap_or(&"start a process in its surroundings");
                io::Error::other(format!("{step}: {cause}"))
            }
        }
    }
}

/// Hears of the init and of a failure, until the program runs or nobody is left to tell.
fn hear(told: OwnedFd) -> io::Result<(Option<Pid>, Option<Message>)> {
    let (mut told, mut init, mut failed) = (File::from(told), None, None);
    let mut message = [0u8; 12];
    loop {
        match told.read_exact(&mut message) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok((init, failed)),
            Err(cause) => return Err(cause),
        }
        let word = |index: usize| {
            u32::from_ne_bytes(
                message[4 * index..4 * index + 4]
                    .try_into()
                    .expect("they are four"),
            )
        };
        match [word(0), word(1), word(2)] {
            [_, BEGUN, pid] => init = Pid::from_raw(pid.cast_signed()),
            message => failed = Some(message),
        }
    }
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    let texts = texts.iter().map(|text| text.as_ptr());
    texts.chain([std::ptr::null()]).collect()
}

/// `struct clone_args` of `clone3(2)`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    group: u64,
}

/// Forks, into a control group where there is one: to enter it later takes milliseconds, since the kernel then waits
/// for all others that fork.
#[expect(
    unsafe_code,
    reason = "the standard library's fork always ends in exec, and takes no group"
)]
fn fork(plan: &Plan<'_>) -> io::Result<Pid> {
    const INTO_GROUP: u64 = 0x2_0000_0000;
    let group = plan.launch.group.as_ref();
    let arguments = CloneArguments {
        flags: if group.is_some() { INTO_GROUP } else { 0 },
        exit_signal: libc::SIGCHLD as u64,
        group: group.map_or(0, |group| group.as_raw_fd() as u64),
        ..CloneArguments::default()
    };
    // SAFETY: the arguments are laid out as the kernel has them. The child only makes system calls, on memory that was
    // prepared, and never returns.
    match unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArguments>(),
        )
    } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = open(plan);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            Ok(Pid::from_raw(pid).expect("a child has a PID"))
        }
    }
}

/// What the opener does. It shares its copy of the worker's memory with the init, which goes on using it.
fn open(plan: &Plan<'_>) -> c_int {
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() || is_deserted(&plan.report) {
        return EXIT_FAILED;
    }
    block_signals();
    if let Err(message) = run(&plan.launch.outside, Who::Opener) {
        return plan.fail(message);
    }
    // A sibling rather than a child: the worker is to wait for it.
    let flags = libc::CLONE_VM | libc::CLONE_PARENT | libc::SIGCHLD;
    match clone(init, &plan.init_stack, flags, plan) {
        -1 => plan.fail([Who::Opener as u32, CLONE, last_errno()]),
        pid => {
            plan.tell([Who::Opener as u32, BEGUN, pid.unsigned_abs()]);
            0
        }
    }
}

/// Process 1 of the case.
extern "C" fn init(plan: *mut c_void) -> c_int {
    let plan = plan_at(plan);
    // When the thread of the worker that started this ends, so does the case.
    let died = set_parent_process_death_signal(Some(Signal::KILL));
    if let Err(errno) = died.and_then(|()| setpgid(None, None)) {
        return plan.fail([Who::Init as u32, CLONE, errno.raw_os_error().unsigned_abs()]);
    }
    // It may have ended before.
    if is_deserted(&plan.report) {
        return EXIT_FAILED;
    }
    if let Err(message) = run(&plan.launch.init, Who::Init) {
        return plan.fail(message);
    }
    // Returns when the other has become the program, or has failed and ended.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let program = clone(program, &plan.program_stack, flags, plan);
    if program == -1 {
        return plan.fail([Who::Init as u32, CLONE, last_errno()]);
    }
    let status = plan.status.as_raw_fd();
    close_all_but(status);
    loop {
        match wait_signal() {
            libc::SIGTERM => kill_group(program),
            libc::SIGCHLD => reap(program, status),
            _ if is_deserted(&plan.status) => return EXIT_FAILED,
            _ => {}
        }
    }
}

/// What becomes the program.
extern "C" fn program(plan: *mut c_void) -> c_int {
    let plan = plan_at(plan);
    if let Err(message) = run(&plan.launch.inside, Who::Program) {
        return plan.fail(message);
    }
    let failed = |step, errno: Errno| [Who::Program as u32, step, errno.raw_os_error().unsigned_abs()];
    if let Err(errno) = rustix::process::chdir(plan.launch.target.cwd.as_c_str()) {
        return plan.fail(failed(FOLDER, errno));
    }
    if let Err(errno) = setpgid(None, None) {
        return plan.fail(failed(EXEC, errno));
    }
    for (stream, number) in plan.streams.iter().zip(0..) {
        if duplicate(*stream, number) == -1 {
            return plan.fail([Who::Program as u32, EXEC, last_errno()]);
        }
    }
    // What the worker was given itself is not for cases.
    close_at_exec();
    default_signals();
    let mut cause = libc::ENOENT.unsigned_abs();
    for program in &plan.launch.target.programs {
        execute(program, plan);
        match last_errno() {
            // Looks further, as `execvp` does, and reports what kept it from one that is there.
            errno if NOT_HERE.contains(&errno.cast_signed()) => {}
            errno if errno == libc::EACCES.unsigned_abs() => cause = errno,
            errno => {
                cause = errno;
                break;
            }
        }
    }
    plan.fail([Who::Program as u32, EXEC, cause])
}

impl Plan<'_> {
    fn tell(&self, message: Message) {
        let mut bytes = [0; 12];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(message) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        // The worker takes a missing message for a failure.
        let _ = rustix::io::write(&self.report, &bytes);
    }

    fn fail(&self, message: Message) -> c_int {
        self.tell(message);
        EXIT_FAILED
    }
}

fn run(steps: &[Step], who: Who) -> Result<(), Message> {
    for (index, step) in steps.iter().enumerate() {
        let failed = |errno: Errno| [who as u32, index as u32, errno.raw_os_error().unsigned_abs()];
        step.run().map_err(failed)?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "a clone gets a pointer")]
fn plan_at<'a>(plan: *mut c_void) -> &'a Plan<'a> {
    // SAFETY: `clone` was given a reference to a plan, which lives in memory that the clone shares and that nobody
    // changes or frees: the opener and the program end without running destructors.
    unsafe { &*plan.cast_const().cast::<Plan<'a>>() }
}

/// Starts a process that shares this one's memory, on a stack of its own. Returns its PID, or -1.
#[expect(unsafe_code, reason = "nothing safe offers clone(2)")]
fn clone(entry: extern "C" fn(*mut c_void) -> c_int, stack: &[u8], flags: c_int, plan: &Plan<'_>) -> c_int {
    // Stacks grow downwards, from an aligned address.
    let top = (stack.as_ptr() as usize + stack.len()) & !15;
    let plan = std::ptr::from_ref(plan).cast_mut().cast::<c_void>();
    // SAFETY: nobody else uses the stack, which lives as long as the memory; the entry only makes system calls.
    unsafe { libc::clone(entry, top as *mut c_void, flags, plan) }
}

#[expect(unsafe_code, reason = "nothing safe offers execve(2)")]
fn execute(program: &CStr, plan: &Plan<'_>) {
    // SAFETY: both lists end with a null pointer; they and what they point to live until the exec.
    unsafe { libc::execve(program.as_ptr(), plan.argv.as_ptr(), plan.environment.as_ptr()) };
}
