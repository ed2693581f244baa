//! One process, from its start to its outcome.
//!
//! [`Executor::run`] blocks the calling (slot) thread: it starts the process of an [`Invocation`] in a process
//! group of its own, polls its output, its exit and a [`Killer`] in one loop, and returns an [`Execution`].
//! Slowness, grace periods and leaks follow nextest.
//!
//! Invariants:
//!
//! * When an attempt timed out or was cancelled, no process of it is alive when `run` returns, not even one that
//!   called `setsid`. Every process carries [`MARK`] in its environment, by which it is found again.
//! * Memory per attempt is bounded by its [`OutputLimit`], whatever the process writes.
//! * Only processes that were started here, and orphans on a worker that called [`become_subreaper`], are
//!   waited for.
//!
//! Deliberately absent: retries and slots (the session decides them), job control (a stopped terminal stops no
//! test), and other systems than Linux.

mod attempt;
mod block;
mod env_file;
mod executor;
mod invocation;
mod killer;
mod orphans;
mod output;
mod process;
mod procfs;
mod spawn;
mod tree;

#[cfg(test)]
mod ending_tests;
#[cfg(test)]
mod tests;

pub use attempt::Slow;
pub use block::Block;
pub use env_file::{EnvFileError, read_env_file};
pub use executor::{Execution, Executor};
pub use invocation::{Capture, Environment, Invocation};
pub use killer::Killer;
pub use orphans::{Owned, become_subreaper, reap_orphans, spawn_owned};
pub use output::{Kept, OutputLimit};
pub use tree::{MARK, kill_leftovers, kill_leftovers_of, mark_prefix};
