//! Why a quarantine is not as the user wants it.

use nextest_metadata::NextestExitCode;
use thresh_core::fault::Fault;
use thresh_core::time::Timestamp;
use thresh_proto::convert::InvalidMessage;

use super::super::case_ref::{CaseRef, did_you_mean, listed};
use super::super::words::moment;
use crate::run::RunError;

/// A quarantine could not be changed or shown.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The coordinator cannot be asked.
    #[error(transparent)]
    Run(#[from] RunError),
    /// History has no such case.
    #[error(
        "find a case that matches `{pattern}` in the history of {project}{}; a case that has never run must be \
         given as 'BINARY-ID NAME' with --unseen",
        did_you_mean(nearest)
    )]
    NeverSeen {
        /// What was asked for.
        pattern: String,
        /// Whose history it is.
        project: String,
        /// What it may be a misspelling of.
        nearest: Option<CaseRef>,
    },
    /// A case that nobody has seen is only half a name.
    #[error(
        "put `{pattern}` into quarantine: history has no such case, and with --unseen it must be given as 'BINARY-ID NAME'"
    )]
    NotInFull {
        /// What was asked for.
        pattern: String,
    },
    /// No such case is in quarantine.
    #[error(
        "find a case in the quarantine of {project} that matches `{pattern}`{}; `thresh quarantine list` shows them",
        did_you_mean(nearest)
    )]
    NotQuarantined {
        /// What was asked for.
        pattern: String,
        /// Whose quarantine it is.
        project: String,
        /// What it may be a misspelling of.
        nearest: Option<CaseRef>,
    },
    /// Several cases match, and it was not said that all are meant.
    #[error(
        "decide between {} cases that match `{pattern}`: take all of them with --all, or name one as 'BINARY-ID NAME':{}",
        cases.len(), listed(cases)
    )]
    Several {
        /// What was asked for.
        pattern: String,
        /// What matches.
        cases: Vec<CaseRef>,
    },
    /// The end is not in the future.
    #[error("put a case into quarantine until {}: that is not in the future; give a later --until", moment(*until))]
    Past {
        /// The end that was asked for.
        until: Timestamp,
    },
    /// The end is too far away.
    #[error(
        "put a case into quarantine until {}: at most 90 days are allowed, so that somebody looks at it again; \
         give an earlier --until, and renew it then if need be", moment(*until)
    )]
    TooLong {
        /// The end that was asked for.
        until: Timestamp,
    },
    /// The owner, the reason or the project cannot be taken.
    #[error("change the quarantine: the {} {}", .0.field, .0.problem)]
    Invalid(InvalidMessage),
}

impl QuarantineError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Run(error) => error.fault(),
            Self::NeverSeen { .. }
            | Self::NotInFull { .. }
            | Self::NotQuarantined { .. }
            | Self::Several { .. }
            | Self::Past { .. }
            | Self::TooLong { .. }
            | Self::Invalid(_) => Fault::Input,
        }
    }

    /// The exit code that tells a caller what kind of error this is.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Run(error) => error.exit_code(),
            Self::NeverSeen { .. } | Self::NotQuarantined { .. } => NextestExitCode::NO_TESTS_RUN,
            _ => NextestExitCode::SETUP_ERROR,
        }
    }
}
