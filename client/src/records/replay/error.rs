//! Why a run cannot be told again.

use nextest_metadata::NextestExitCode;
use thresh_core::fault::Fault;
use thresh_core::id::RunId;

use super::super::words::second;
use super::past_run::{PastRun, RUNS_SEARCHED};
use crate::report::one_line;
use crate::run::RunError;

/// How many runs a message names.
const NAMED_MAX: usize = 5;

/// A run cannot be told again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The coordinator cannot be asked.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No run has ended.
    #[error(
        "find a run of {project}: its history has none that has ended; --project names another project, --farm the \
         farm that keeps its history"
    )]
    NoRuns {
        /// Whose history it is.
        project: String,
    },
    /// No run's id begins so.
    #[error(
        "find a run of {project} whose id begins with {beginning}: none of its last {RUNS_SEARCHED} does; \
         `thresh replay` shows the latest, and one that is still going on must be given with its whole id"
    )]
    NoneBegins {
        /// What was given.
        beginning: String,
        /// Whose history it is.
        project: String,
    },
    /// Several runs' ids begin so.
    #[error("decide between {} runs that begin with {beginning}; give more of the id:{}", runs.len(), listed(runs))]
    SeveralBegin {
        /// What was given.
        beginning: String,
        /// Those that match.
        runs: Vec<PastRun>,
    },
    /// Nothing is known of the run.
    #[error(
        "find run {0}: nothing is recorded of it; no attempt of it has ended yet, it is older than 90 days, or it \
         belongs to another coordinator (see --farm)"
    )]
    Unknown(RunId),
}

impl ReplayError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Run(error) => error.fault(),
            Self::NoRuns { .. } | Self::NoneBegins { .. } | Self::SeveralBegin { .. } | Self::Unknown(_) => {
                Fault::Input
            }
        }
    }

    /// The exit code that tells a caller what kind of error this is.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Run(error) => error.exit_code(),
            _ => NextestExitCode::SETUP_ERROR,
        }
    }
}

fn listed(runs: &[PastRun]) -> String {
    let line = |run: &PastRun| {
        format!(
            "\n  {}  {}  {}",
            run.run,
            second(run.started),
            one_line(&run.title)
        )
    };
    let mut text: String = runs.iter().take(NAMED_MAX).map(line).collect();
    if runs.len() > NAMED_MAX {
        text.push_str(&format!("\n  and {} more", runs.len() - NAMED_MAX));
    }
    text
}
