//! What one attempt of a test case did.

use std::fmt;

/// What one attempt of a test case did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0, every handle closed in time.
    Passed,
    /// Exit code 0, but a descendant held standard output or error open beyond the leak timeout.
    Leaked {
        /// Whether the suite's settings let a leaky case pass (nextest `leak-timeout.result`).
        passes: bool,
    },
    /// The process ended by itself, unsuccessfully, or could not be started.
    Failed {
        /// How it ended.
        cause: FailureCause,
        /// Whether it also left handles open.
        leaked: bool,
    },
    /// The process was ended by a signal that Thresh did not send.
    Crashed {
        /// The signal's number.
        signal: i32,
        /// Whether it also left handles open.
        leaked: bool,
    },
    /// The process was ended because it outlived its slow-timeout.
    TimedOut {
        /// Whether the suite's settings let a timeout pass (nextest `slow-timeout.on-timeout`).
        passes: bool,
    },
    /// The worker went away while it ran, as often as the scheduler lets it: what it does takes its worker down.
    TookWorker,
    /// The worker went away before it could tell.
    Lost,
    /// The run was cancelled before the attempt ended.
    Cancelled,
}

/// How a failed attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The exit code, never 0.
    ExitCode(i32),
    /// The process could not be started, or its output could not be read; the text says why.
    Exec(String),
}

impl Outcome {
    /// Whether the attempt counts as a success (a leak or timeout can, if the settings say so).
    pub fn passes(&self) -> bool {
        matches!(
            self,
            Self::Passed | Self::Leaked { passes: true } | Self::TimedOut { passes: true }
        )
    }

    /// Whether the outcome says something about the test case (and not about the farm).
    pub fn is_about_the_case(&self) -> bool {
        !matches!(self, Self::Lost | Self::Cancelled)
    }

    /// The one word for this outcome, the same on the wire, in reports and in the store.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Leaked { .. } => "leaked",
            Self::Failed { .. } => "failed",
            Self::Crashed { .. } | Self::TookWorker => "crashed",
            Self::TimedOut { .. } => "timed out",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Failed {
                cause: FailureCause::ExitCode(code),
                ..
            } => write!(f, " with exit code {code}"),
            Self::Failed {
                cause: FailureCause::Exec(why),
                ..
            } => write!(f, ": {why}"),
            Self::Crashed { signal, .. } => write!(f, " by signal {signal}"),
            Self::TookWorker => f.write_str(": its worker went down with it, again and again"),
            Self::Leaked { passes: false } => f.write_str(" (a failure by leak-timeout)"),
            Self::TimedOut { passes: true } => f.write_str(" (a pass by on-timeout)"),
            _ => Ok(()),
        }
    }
}
