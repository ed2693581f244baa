//! Asking the coordinator.

use thresh_proto::convert::project_from_wire;
use tonic::transport::Channel;

use super::super::case_ref::{CaseRef, nearest};
use super::super::decide::{Undecided, decide};
use super::super::session::RecordsSession;
use super::entry::{AuditReport, Trusted};
use super::error::AuditError;

/// Returns what audits of a project found.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn audit_report(channel: Channel, project: &str) -> Result<AuditReport, AuditError> {
    project_from_wire(project)?;
    let mut session = RecordsSession::open(channel).await?;
    Ok(AuditReport::from_wire(session.audit_report(project).await?)?)
}

/// Lets cases be reused again: those that `patterns` name among the ones that are not. With `all`, a pattern may name
/// several. Returns them by name.
///
/// # Errors
/// When it is not clear which cases are meant, or the coordinator cannot be asked. Then nothing has changed.
pub async fn trust_cases(
    channel: Channel,
    project: &str,
    patterns: &[String],
    all: bool,
) -> Result<Vec<Trusted>, AuditError> {
    project_from_wire(project)?;
    let mut session = RecordsSession::open(channel).await?;
    let known = AuditReport::from_wire(session.audit_report(project).await?)?.distrusted();
    let cases = match decide(&known, patterns, all, false) {
        Ok(cases) => cases,
        Err(Undecided::Several(pattern, cases)) => return Err(AuditError::Several { pattern, cases }),
        Err(Undecided::Nothing(pattern) | Undecided::NotInFull(pattern)) => {
            return Err(AuditError::NotDistrusted {
                nearest: nearest(&known, &pattern),
                project: project.to_owned(),
                pattern,
            });
        }
    };
    let names: Vec<_> = cases.iter().map(CaseRef::to_wire).collect();
    session.trust_cases(project, &names).await?;
    Ok(cases.into_iter().map(|case| Trusted { case }).collect())
}
