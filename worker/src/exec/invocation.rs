//! What to run, where, with what, and for how long.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use thresh_core::case::{LeakTimeout, SlowTimeout};

use super::block::Block;
use super::output::OutputLimit;
use crate::sandbox::{CaseView, Limits};

/// One process to run: an attempt of a test case, or a setup script.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// The program and its arguments; a program without a slash is looked up in `PATH`.
    pub argv: Vec<OsString>,
    /// The working directory, as the process sees it.
    pub cwd: PathBuf,
    /// Its environment variables. The variable [`MARK`](super::MARK) is added.
    pub environment: Environment,
    /// When it is slow, and when it is ended for that. The grace period also holds for a cancellation.
    pub slow_timeout: SlowTimeout,
    /// How long standard output and error may stay open after it ended.
    pub leak_timeout: LeakTimeout,
    /// Which streams are kept.
    pub capture: Capture,
    /// How much of each stream is kept.
    pub output_limit: OutputLimit,
    /// Whether to end what a leaky process left running. nextest leaves it; a farm's worker should not.
    pub kill_leaked: bool,
    /// What each of its processes may use by itself, as far as `view` does not isolate it.
    pub limits: Limits,
    /// The folders it sees; `None` shows it the host's.
    pub view: Option<&'a CaseView>,
}

/// The environment variables of a process.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// What it has in common with other processes.
    pub common: Arc<Block>,
    /// Variables to add or replace; the last entry of a name wins.
    pub set: Vec<(OsString, OsString)>,
}

/// Which streams of a process are kept. The others go where this process's own go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Keep standard output.
    pub stdout: bool,
    /// Keep standard error.
    pub stderr: bool,
}

impl Capture {
    /// Both streams, apart.
    pub const SPLIT: Self = Self {
        stdout: true,
        stderr: true,
    };
    /// Neither (`--no-capture`). Leaks cannot be noticed then.
    pub const NONE: Self = Self {
        stdout: false,
        stderr: false,
    };
}
