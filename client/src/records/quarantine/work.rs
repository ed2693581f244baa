//! Asking the coordinator.

use std::collections::BTreeSet;

use thresh_core::time::Timestamp;
use thresh_proto::convert::{project_from_wire, quarantine_from_wire};
use thresh_proto::v1;
use tonic::transport::Channel;

use super::super::case_ref::{CaseRef, nearest};
use super::super::decide::{Undecided, decide};
use super::super::session::RecordsSession;
use super::entry::{Added, Expired, QuarantineList, QuarantineState};
use super::error::QuarantineError;
use super::until::Until;
use crate::run::{HistoryQuery, RunError, history};

/// What is to be put into quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewQuarantine {
    /// Whose cases.
    pub project: String,
    /// Which cases: full names, names, or parts of them.
    pub patterns: Vec<String>,
    /// A pattern may name several cases.
    pub all: bool,
    /// A pattern may name a case in full that history does not know.
    pub unseen: bool,
    /// Who sees to them.
    pub owner: String,
    /// Why, or nothing.
    pub reason: String,
    /// For how long.
    pub until: Until,
}

/// Puts cases into quarantine. Returns them by name.
///
/// # Errors
/// When it is not clear which cases are meant, the owner or the end make no sense, or the coordinator cannot be
/// asked. Then nothing has changed.
pub async fn add_quarantine(
    channel: Channel,
    new: NewQuarantine,
    now: Timestamp,
) -> Result<Vec<Added>, QuarantineError> {
    let until = new.until.at(now)?;
    let entry = |case: &CaseRef| v1::NewQuarantine {
        case: Some(case.to_wire()),
        owner: new.owner.trim().to_owned(),
        reason: new.reason.clone(),
        until_micros: until.as_micros(),
    };
    project_from_wire(&new.project).map_err(QuarantineError::Invalid)?;
    quarantine_from_wire(&entry(&CaseRef::default()), now).map_err(QuarantineError::Invalid)?;

    let mut session = RecordsSession::open(channel.clone()).await?;
    let known = known_cases(channel.clone(), &new.project, new.patterns.clone()).await?;
    let cases = match decide(&known, &new.patterns, new.all, new.unseen) {
        Ok(cases) => cases,
        Err(Undecided::Several(pattern, cases)) => return Err(QuarantineError::Several { pattern, cases }),
        Err(Undecided::NotInFull(pattern)) => return Err(QuarantineError::NotInFull { pattern }),
        Err(Undecided::Nothing(pattern)) => {
            let all = known_cases(channel, &new.project, Vec::new()).await?;
            return Err(QuarantineError::NeverSeen {
                nearest: nearest(&all, &pattern),
                project: new.project,
                pattern,
            });
        }
    };
    let before = QuarantineList::from_wire(session.quarantine(&new.project).await?);
    let entries: Vec<_> = cases.iter().map(entry).collect();
    session.add_quarantine(&new.project, &entries).await?;
    let active: BTreeSet<CaseRef> = before
        .cases
        .into_iter()
        .filter(|entry| entry.state != QuarantineState::Expired)
        .map(|entry| entry.case)
        .collect();
    let known: BTreeSet<CaseRef> = known.into_iter().collect();
    let added = cases.into_iter().map(|case| Added {
        owner: new.owner.trim().to_owned(),
        until,
        renewed: active.contains(&case),
        seen: known.contains(&case),
        case,
    });
    Ok(added.collect())
}

/// Returns the quarantines of a project.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn list_quarantine(channel: Channel, project: &str) -> Result<QuarantineList, QuarantineError> {
    project_from_wire(project).map_err(QuarantineError::Invalid)?;
    let mut session = RecordsSession::open(channel).await?;
    Ok(QuarantineList::from_wire(session.quarantine(project).await?))
}

/// Lets cases count again. Returns them by name.
///
/// # Errors
/// When it is not clear which cases are meant, or the coordinator cannot be asked. Then nothing has changed.
pub async fn expire_quarantine(
    channel: Channel,
    project: &str,
    patterns: &[String],
    all: bool,
) -> Result<Vec<Expired>, QuarantineError> {
    project_from_wire(project).map_err(QuarantineError::Invalid)?;
    let mut session = RecordsSession::open(channel).await?;
    let list = QuarantineList::from_wire(session.quarantine(project).await?);
    let known: Vec<CaseRef> = list.cases.iter().map(|entry| entry.case.clone()).collect();
    let cases = match decide(&known, patterns, all, false) {
        Ok(cases) => cases,
        Err(Undecided::Several(pattern, cases)) => return Err(QuarantineError::Several { pattern, cases }),
        Err(Undecided::Nothing(pattern) | Undecided::NotInFull(pattern)) => {
            return Err(QuarantineError::NotQuarantined {
                nearest: nearest(&known, &pattern),
                project: project.to_owned(),
                pattern,
            });
        }
    };
    let names: Vec<_> = cases.iter().map(CaseRef::to_wire).collect();
    session.expire_quarantine(project, &names).await?;
    let already: BTreeSet<&CaseRef> = list
        .cases
        .iter()
        .filter(|entry| entry.state == QuarantineState::Expired)
        .map(|entry| &entry.case)
        .collect();
    let expired = cases.iter().map(|case| Expired {
        case: case.clone(),
        already: already.contains(case),
    });
    Ok(expired.collect())
}

async fn known_cases(
    channel: Channel,
    project: &str,
    patterns: Vec<String>,
) -> Result<Vec<CaseRef>, RunError> {
    let query = HistoryQuery {
        project: project.to_owned(),
        patterns,
        outcomes_max: 0,
    };
    let cases = history(channel, query).await?.into_iter();
    Ok(cases
        .map(|case| CaseRef {
            binary_id: case.binary_id,
            name: case.name,
        })
        .collect())
}
