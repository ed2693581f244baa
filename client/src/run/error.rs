//! Why a run has no verdict, and the exit code that says so.

use std::time::Duration;

use nextest_metadata::NextestExitCode;
use thresh_cas::SnapshotError;
use thresh_core::fault::Fault;
use thresh_core::id::RunId;
use thresh_proto::convert::InvalidMessage;
use tonic::{Code, Status};

use crate::build::BuildError;
use crate::command::CommandError;
use crate::list::{ListError, SelectionError};
use crate::nextest::ConfigError as NextestError;
use crate::project::{ConfigError, StateError};
use crate::reuse::KeyError;
use crate::ship::{ShipError, UploadError};

/// The exit code of a bug in Thresh.
const INTERNAL: i32 = 70;

/// A run could not be brought to its verdict.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "a variant that wraps an error is named after it")]
pub enum RunError {
    #[error(transparent)]
    Project(#[from] ConfigError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Nextest(#[from] NextestError),
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    List(#[from] ListError),
    #[error("hash the workspace: {0}")]
    Snapshot(#[from] SnapshotError),
    #[error("make reuse keys: {0}")]
    Keys(#[from] KeyError),
    #[error("pack the run's inputs: {0}")]
    Ship(#[from] ShipError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Flags that a farm cannot honour.
    #[error("run on a farm with {flag}: {why}")]
    NotOnAFarm { flag: &'static str, why: &'static str },
    /// No case that the user asked about.
    #[error("find a case that matches `{pattern}`{}", hint(nearest))]
    NoSuchCase {
        pattern: String,
        nearest: Option<String>,
    },
    /// There are no keys to explain.
    #[error("make keys: reuse is switched off, so every case runs; set `reuse.enabled` in thresh.toml")]
    ReuseOff,
    /// There are no keys either, since it is not known what cases use.
    #[error(
        "make keys: every case runs, since the files outside the workspace cannot all be hashed (see the warning above)"
    )]
    OutsideUnknown,
    /// The coordinator speaks another version of the protocol.
    #[error("talk to the coordinator: {0}")]
    Version(String),
    /// The coordinator refused a request.
    #[error("{doing}: {} ({})", status.message(), status.code())]
    Refused {
        doing: &'static str,
        status: Box<Status>,
    },
    /// The coordinator's answer cannot be understood.
    #[error("understand the coordinator: {0}")]
    Answer(#[from] InvalidMessage),
    /// The connection broke and could not be made again.
    #[error(transparent)]
    Disconnected(#[from] Box<Disconnected>),
    /// The user asked for an end at once.
    #[error("finish run {run}: it was interrupted twice; the coordinator has been told to cancel it")]
    Interrupted { run: RunId },
    /// The user asked for an end before anything was submitted.
    #[error("prepare the run: interrupted")]
    InterruptedEarly,
    /// A thread of the client ended abnormally.
    #[error("prepare the run: {0}")]
    Thread(String),
}

/// What was tried to get back to a run.
#[derive(Debug, thiserror::Error)]
#[error(
    "follow run {run}: the connection broke ({}) and {attempts} attempts within {:.0} s to follow it again \
     failed, the last with: {}; see whether the coordinator is up and can be reached",
    first.message(), tried_for.as_secs_f64(), last.message()
)]
pub struct Disconnected {
    /// The run.
    pub run: RunId,
    /// How the connection broke.
    pub first: Status,
    /// How often it was tried again.
    pub attempts: u32,
    /// For how long.
    pub tried_for: Duration,
    /// Why the last attempt failed.
    pub last: Status,
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |nearest| format!(", did you mean `{nearest}`?"))
}

impl RunError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Project(error) => error.fault(),
            Self::State(error) => error.fault(),
            Self::Build(error) => error.fault(),
            Self::Nextest(error) => error.fault(),
            Self::Selection(error) => error.fault(),
            Self::Command(error) => error.fault(),
            Self::List(error) => error.fault(),
            Self::Snapshot(error) => error.fault(),
            Self::Keys(error) => error.fault(),
            Self::Ship(error) => error.fault(),
            Self::Upload(error) => error.fault(),
            Self::NotOnAFarm { .. } | Self::NoSuchCase { .. } | Self::ReuseOff => Fault::Input,
            Self::OutsideUnknown => Fault::Environment,
            Self::Refused { status, .. } => match status.code() {
                Code::Internal | Code::InvalidArgument | Code::Unknown => Fault::Internal,
                _ => Fault::Environment,
            },
            Self::Version(_) | Self::Disconnected(_) => Fault::Environment,
            Self::Interrupted { .. } | Self::InterruptedEarly => Fault::Input,
            Self::Answer(_) | Self::Thread(_) => Fault::Internal,
        }
    }

    /// The exit code that tells a caller what kind of error this is.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Build(error) => error.exit_code(),
            Self::Nextest(error) => error.exit_code(),
            Self::Selection(error) => error.exit_code(),
            Self::List(error) => error.exit_code(),
            Self::NoSuchCase { .. } => NextestExitCode::NO_TESTS_RUN,
            Self::Interrupted { .. } | Self::InterruptedEarly => NextestExitCode::INCOMPLETE_RUN,
            error if error.fault() == Fault::Internal => INTERNAL,
            _ => NextestExitCode::SETUP_ERROR,
        }
    }

    /// Makes a refusal out of a status, unless it is about versions.
    pub(crate) fn refused(doing: &'static str, status: Status) -> Self {
        Self::Refused {
            doing,
            status: Box::new(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_nextest() {
        let refused = |code| RunError::refused("submit the run", Status::new(code, "why"));
        assert_eq!(refused(Code::Unavailable).exit_code(), 96);
        assert_eq!(refused(Code::Internal).exit_code(), 70);
        assert_eq!(RunError::Version("x".into()).exit_code(), 96);
        let missing = RunError::NoSuchCase {
            pattern: "a".into(),
            nearest: Some("b".into()),
        };
        assert_eq!(
            (missing.exit_code(), missing.to_string().as_str()),
            (4, "find a case that matches `a`, did you mean `b`?")
        );
    }
}
