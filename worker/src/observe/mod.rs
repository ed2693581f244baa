//! What a case's whole process tree reads, without privileges.
//!
//! Method. The thread that starts cases puts a seccomp filter on *itself*, once ([`Observer::start`]). Whatever it starts
//! inherits it: children, threads, static programs, raw system calls. The kernel holds each call that names a path or an
//! address (`calls`) and tells another thread of it, which reads the arguments from the process's memory, looks at what
//! is there, records it and lets the call go on (`tracer`, with `thresh_core::observe`). So nothing is done per case but to exchange a record.
//!
//! * A call is held until what it meets has been looked at: what the case does later cannot have changed that. To let
//!   reads go on earlier was measured to be dearer: who answers sleeps next, and the caller runs on its processor.
//! * Whose a call is: all but the worker's own threads' are of the case that runs, since no process of an earlier one is
//!   left. That is known by the process groups that the case's processes were ever in: calls that make or change
//!   groups are heard of too. If one is still there, or if that is unclear, the thread is spent ([`Observer::is_spent`]).
//! * In a view of its own (a farm's) a case's paths begin at its own root, which is opened when its program is executed.
//!   What puts it there runs before that and is not the case's.
//! * What the kernel opens itself on `execve`, interpreters and loaders, is read from the program's head (`programs`).
//! * Calls that change what paths mean, of another architecture, or newer than the list make the case unobservable. So
//!   does a process that may not be looked into. They go on all the same: observing never changes what a case does,
//!   except as follows.
//!
//! What a case may notice. Without `CAP_SYS_ADMIN` a worker has to set `no_new_privs`: set-uid programs lose their
//! privilege. A listener of its own for `seccomp(2)` is refused (`EBUSY`). Threads are in `Seccomp: 2` in `/proc`. When the
//! worker dies, held calls fail with `ENOSYS`, and so do those of what is left running: a worker ends its cases first.
//!
//! Soundness. Every way from a path to what is at it leads through a call of the list; what is read through an open
//! descriptor was opened by such a call, by this case or by who passed the descriptor on, over a socket that is a
//! [`Contact`](thresh_core::observe::Contact). Holes that are known, all of which need a case that
//! means to hide something or a stranger who writes at the same moment:
//!
//! * Another thread may exchange a path in memory between our reading and the kernel's.
//! * A stranger may change what is there between the kernel's look and ours, a fraction of a millisecond apart.
//! * A stranger may turn a folder into a link while a case runs that has passed through it.
//! * What a process asks about the machine or its user without naming a path (`uname`, `sysinfo`, `getuid`, limits) is not
//!   seen, nor are numbers and owners of files, or times: they belong to the platform.
//! * `binfmt_misc` handlers are not followed. Nor are memory that is shared with strangers, signals, clocks, random numbers.
//!
//! Deliberately absent: digests of what was read (the client's), the decision what may be reused, and other systems
//! than Linux.

mod address;
mod calls;
mod error;
mod filter;
mod listener;
mod look;
mod memory;
mod observer;
mod programs;
mod request;
#[cfg(test)]
mod tests;
mod tracer;

pub use error::Unavailable;
pub use observer::Observer;
