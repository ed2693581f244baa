//! What another coordinator must know of a run to carry it on.

use std::collections::BTreeMap;

use super::effect::StopReason;
use super::request::RunRequest;
use crate::id::CaseIndex;
use crate::outcome::Outcome;
use crate::time::Timestamp;
use crate::verdict::CaseStatus;

/// What another coordinator must know of a run to carry it on: a fold over what the one before made durable, in
/// the order in which that happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    pub(super) submitted: Timestamp,
    pub(super) first_grant: Option<Timestamp>,
    pub(super) stopping: Option<StopReason>,
    pub(super) progress: BTreeMap<CaseIndex, Progress>,
}

/// How far a case had come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Progress {
    /// Its present or next attempt, from 1.
    pub(super) attempt: u32,
    /// It was running.
    pub(super) started: bool,
    /// Its final status, if it has one: it is not told again.
    pub(super) settled: Option<CaseStatus>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            attempt: 1,
            started: false,
            settled: None,
        }
    }
}

impl Recovery {
    /// Begins with a run of which nothing is known but when it was submitted.
    pub fn new(submitted: Timestamp) -> Self {
        Self {
            submitted,
            ..Self::default()
        }
    }

    /// A case was started. How often workers went down with it is not carried over.
    pub fn started(&mut self, at: Timestamp, case: CaseIndex) {
        self.first_grant.get_or_insert(at);
        self.progress.entry(case).or_default().started = true;
    }

    /// An attempt was accepted; `again`: another follows.
    pub fn accepted(
        &mut self,
        request: &RunRequest,
        case: CaseIndex,
        attempt: u32,
        outcome: &Outcome,
        again: bool,
    ) {
        let Some(planned) = request.cases.get(case.at()) else {
            return;
        };
        let known = self.progress.entry(case).or_default();
        known.started = false;
        if again {
            known.attempt = attempt.saturating_add(u32::from(outcome.is_about_the_case()));
        } else {
            known.settled = Some(planned.status_after(attempt, outcome));
        }
    }

    /// A case got its final status otherwise than by an attempt.
    pub fn settled(&mut self, case: CaseIndex, status: CaseStatus) {
        self.progress.entry(case).or_default().settled = Some(status);
    }

    /// The run starts no further cases.
    pub fn stopping(&mut self, reason: StopReason) {
        self.stopping.get_or_insert(reason);
    }

    /// The cases with a final status.
    pub fn statuses(&self) -> impl Iterator<Item = (CaseIndex, &CaseStatus)> {
        let known = self.progress.iter();
        known.filter_map(|(case, known)| Some((*case, known.settled.as_ref()?)))
    }
}
