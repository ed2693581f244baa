//! Why audits cannot be shown, or cases not be trusted.

use nextest_metadata::NextestExitCode;
use thresh_core::fault::Fault;
use thresh_proto::convert::InvalidMessage;

use super::super::case_ref::{CaseRef, did_you_mean, listed};
use crate::run::RunError;

/// Audits could not be shown, or cases not be trusted.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The coordinator cannot be asked.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No such case is kept from being reused.
    #[error(
        "find a case of {project} that matches `{pattern}` and is not reused for its audit{}; `thresh audit report` \
         shows them",
        did_you_mean(nearest)
    )]
    NotDistrusted {
        /// What was asked for.
        pattern: String,
        /// Whose cases they are.
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
    /// The project cannot be asked for, or its coordinator says what cannot be.
    #[error("read what audits found: the {} {}", .0.field, .0.problem)]
    Invalid(#[from] InvalidMessage),
}

impl AuditError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Run(error) => error.fault(),
            Self::NotDistrusted { .. } | Self::Several { .. } | Self::Invalid(_) => Fault::Input,
        }
    }

    /// The exit code that tells a caller what kind of error this is.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Run(error) => error.exit_code(),
            Self::NotDistrusted { .. } => NextestExitCode::NO_TESTS_RUN,
            Self::Several { .. } | Self::Invalid(_) => NextestExitCode::SETUP_ERROR,
        }
    }
}
