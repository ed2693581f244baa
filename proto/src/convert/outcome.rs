//! Outcomes.

use thresh_core::outcome::{FailureCause, Outcome};

use super::InvalidMessage;
use crate::v1;
use crate::v1::outcome::Kind;

/// Returns the wire form of an outcome.
pub fn outcome_to_wire(outcome: &Outcome) -> v1::Outcome {
    let base = v1::Outcome::default();
    match outcome {
        Outcome::Passed => v1::Outcome {
            kind: Kind::Passed.into(),
            passes: true,
            ..base
        },
        Outcome::Leaked { passes } => v1::Outcome {
            kind: Kind::Leaked.into(),
            passes: *passes,
            ..base
        },
        Outcome::Failed {
            cause: FailureCause::ExitCode(code),
            leaked,
        } => v1::Outcome {
            kind: Kind::Failed.into(),
            code: *code,
            leaked: *leaked,
            ..base
        },
        Outcome::Failed {
            cause: FailureCause::Exec(why),
            leaked,
        } => v1::Outcome {
            kind: Kind::Failed.into(),
            exec_error: why.clone(),
            leaked: *leaked,
            ..base
        },
        Outcome::Crashed { signal, leaked } => v1::Outcome {
            kind: Kind::Crashed.into(),
            code: *signal,
            leaked: *leaked,
            ..base
        },
        Outcome::TookWorker => v1::Outcome {
            kind: Kind::Crashed.into(),
            ..base
        },
        Outcome::TimedOut { passes } => v1::Outcome {
            kind: Kind::TimedOut.into(),
            passes: *passes,
            ..base
        },
        Outcome::Lost => v1::Outcome {
            kind: Kind::Lost.into(),
            ..base
        },
        Outcome::Cancelled => v1::Outcome {
            kind: Kind::Cancelled.into(),
            ..base
        },
    }
}

/// Reads an outcome.
///
/// # Errors
/// When it is missing or of an unknown kind, or a failure without an exit code.
pub fn outcome_from_wire(outcome: Option<&v1::Outcome>) -> Result<Outcome, InvalidMessage> {
    let outcome = outcome.ok_or_else(|| InvalidMessage::missing("outcome"))?;
    let leaked = outcome.leaked;
    Ok(match outcome.kind() {
        Kind::Unknown => {
            return Err(InvalidMessage::new(
                "outcome.kind",
                format!("has the unknown value {}", outcome.kind),
            ));
        }
        Kind::Passed => Outcome::Passed,
        Kind::Leaked => Outcome::Leaked {
            passes: outcome.passes,
        },
        Kind::Failed if !outcome.exec_error.is_empty() => Outcome::Failed {
            cause: FailureCause::Exec(outcome.exec_error.clone()),
            leaked,
        },
        Kind::Failed if outcome.code == 0 => {
            return Err(InvalidMessage::new("outcome.code", "is 0 in a failure"));
        }
        Kind::Failed => Outcome::Failed {
            cause: FailureCause::ExitCode(outcome.code),
            leaked,
        },
        Kind::Crashed if outcome.code == 0 => Outcome::TookWorker,
        Kind::Crashed => Outcome::Crashed {
            signal: outcome.code,
            leaked,
        },
        Kind::TimedOut => Outcome::TimedOut {
            passes: outcome.passes,
        },
        Kind::Lost => Outcome::Lost,
        Kind::Cancelled => Outcome::Cancelled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_round_trips() {
        let outcomes = [
            Outcome::Passed,
            Outcome::Leaked { passes: true },
            Outcome::Leaked { passes: false },
            Outcome::Failed {
                cause: FailureCause::ExitCode(101),
                leaked: true,
            },
            Outcome::Failed {
                cause: FailureCause::Exec("no such file".into()),
                leaked: false,
            },
            Outcome::Crashed {
                signal: 6,
                leaked: false,
            },
            Outcome::TimedOut { passes: true },
            Outcome::TookWorker,
            Outcome::Lost,
            Outcome::Cancelled,
        ];
        for outcome in outcomes {
            assert_eq!(outcome_from_wire(Some(&outcome_to_wire(&outcome))), Ok(outcome));
        }
    }

    #[test]
    fn impossible_outcomes_are_refused() {
        assert!(outcome_from_wire(None).is_err());
        assert!(
            outcome_from_wire(Some(&v1::Outcome {
                kind: 99,
                ..Default::default()
            }))
            .is_err()
        );
        let failure_without_code = v1::Outcome {
            kind: Kind::Failed.into(),
            ..Default::default()
        };
        assert!(outcome_from_wire(Some(&failure_without_code)).is_err());
    }
}
