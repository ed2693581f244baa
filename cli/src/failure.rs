//! Why a command failed, and the exit code for it.

use std::fmt::Display;

use thresh_client::records::{AuditError, QuarantineError, ReplayError};
use thresh_client::report::ReportError;
use thresh_client::run::RunError;
use thresh_core::fault::Fault;

/// Bad arguments, bad configuration, an unreachable farm (nextest's `SETUP_ERROR`).
pub(crate) const SETUP: u8 = 96;

/// A bug in Thresh (sysexits' `EX_SOFTWARE`).
const INTERNAL: u8 = 70;

/// Why a command failed, in words that follow "failed to", and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl Failure {
    /// An error whose fault is known.
    pub(crate) fn of(fault: Fault, error: &dyn Display) -> Self {
        let code = match fault {
            Fault::Input | Fault::Environment => SETUP,
            Fault::Internal => INTERNAL,
        };
        Self {
            message: error.to_string(),
            code,
        }
    }

    /// The user's input is wrong.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: SETUP,
        }
    }

    /// The surroundings do not let it be done.
    pub(crate) fn environment(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: SETUP,
        }
    }

    /// A bug.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: INTERNAL,
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self {
            message: error.to_string(),
            code: u8::try_from(error.exit_code()).unwrap_or(INTERNAL),
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Self {
            message: error.to_string(),
            code: u8::try_from(error.exit_code()).unwrap_or(INTERNAL),
        }
    }
}

impl From<QuarantineError> for Failure {
    fn from(error: QuarantineError) -> Self {
        Self {
            message: error.to_string(),
            code: u8::try_from(error.exit_code()).unwrap_or(INTERNAL),
        }
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        Self {
            message: error.to_string(),
            code: u8::try_from(error.exit_code()).unwrap_or(INTERNAL),
        }
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        Self {
            message: error.to_string(),
            code: u8::try_from(error.exit_code()).unwrap_or(INTERNAL),
        }
    }
}
