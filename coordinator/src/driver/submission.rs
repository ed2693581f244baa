//! A run as it is handed to the driver: validated and planned.

use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;
use thresh_core::digest::Digest;
use thresh_core::estimate::{Estimate, EstimateSource, Estimates};
use thresh_core::id::{BinaryIndex, CaseIndex, RunId};
use thresh_core::reuse::{AuditFinding, AuditShare, KeyParts};
use thresh_core::schedule::RunRequest;
use thresh_core::time::Timestamp;
use thresh_core::verdict::CaseStatus;
use thresh_proto::convert::{audited_to_wire, duration_to_wire, key_parts_to_wire};
use thresh_proto::v1;

use super::refusal::Refusal;
use crate::audit;
use crate::store::{AuditRecord, CaseId, PassRecord};

/// The most that a run's description may take in the journal. A value in a database has a limit of some 1 GB.
const ENCODED_BYTES_MAX: usize = 512 << 20;

/// A run, validated and planned: every position in it points somewhere.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) run: RunId,
    pub(crate) project: Arc<str>,
    /// As it came, without its key parts: workers get it, and have no use for them.
    pub(crate) header: v1::RunHeader,
    /// Of each binary of the header.
    pub(crate) binary_ids: Vec<Arc<str>>,
    pub(crate) cases: Vec<v1::Case>,
    pub(crate) key_parts: Vec<KeyParts>,
    /// How many of the cases that could be reused run all the same.
    pub(crate) audit: AuditShare,
    /// Of each case.
    pub(crate) plans: Vec<CasePlan>,
    /// For the scheduler, which takes its cases.
    pub(crate) request: RunRequest,
}

/// What history and the action cache know of a case.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CasePlan {
    pub(crate) reused: bool,
    pub(crate) estimate: Option<Estimate>,
    /// It runs, but cannot fail the run.
    pub(crate) quarantined: bool,
    /// It could be reused, and runs all the same.
    pub(crate) audited: Option<Audited>,
    /// It has a pass, but an audit found that not to stand for a run.
    pub(crate) distrusted: bool,
}

/// What is known of the pass that would have stood for an audited case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Audited {
    /// Its run; `None`: another cache knows of one, and not of which run.
    pub(crate) past_run: Option<RunId>,
}

impl Submission {
    pub(crate) fn is_in_place(&self) -> bool {
        self.request.in_place
    }

    /// The submission as the client sent it, in one message.
    pub(crate) fn encode(&self) -> Result<Bytes, Refusal> {
        let header = v1::RunHeader {
            key_parts: self.key_parts.iter().map(key_parts_to_wire).collect(),
            ..self.header.clone()
        };
        let message = v1::SubmitRequest {
            header: Some(header),
            cases: self.cases.clone(),
        };
        let bytes = message.encoded_len();
        if bytes > ENCODED_BYTES_MAX {
            let max = ENCODED_BYTES_MAX;
            return Err(Refusal::TooLarge { bytes, max });
        }
        Ok(message.encode_to_vec().into())
    }

    /// Fills in how long each case may take.
    pub(crate) fn estimate(&mut self, estimates: &Estimates) {
        let plans = self.plans.iter_mut().zip(&mut self.request.cases);
        for ((plan, request), case) in plans.zip(&self.cases) {
            let binary = &self.header.binaries[case.binary as usize];
            plan.estimate = estimates.of(&binary.id, &binary.package, &case.name);
            request.estimate = plan.estimate.map(|estimate| estimate.duration);
            request.rarely_over = plan.estimate.and_then(|estimate| estimate.rarely_over);
        }
    }

    /// Names a case. `None` where the run has no such case.
    pub(crate) fn case_id(&self, case: usize) -> Option<CaseId> {
        let case = self.cases.get(case)?;
        let binary_id = self.binary_ids.get(BinaryIndex(case.binary).at())?.clone();
        Some(CaseId {
            binary_id,
            name: case.name.as_str().into(),
        })
    }

    /// The key parts of a case that may be reused.
    pub(crate) fn parts_of(&self, case: usize) -> Option<KeyParts> {
        let case = self.cases.get(case).filter(|_| self.header.reuse)?;
        let position = case.key_parts.checked_sub(1)?;
        let parts = self.key_parts.get(position as usize)?;
        // It was looked at when the submission came.
        match Digest::try_from(&case.seen[..]) {
            Ok(seen) => Some(seen_parts(case, parts, seen)),
            Err(_) => Some(parts.clone()),
        }
    }

    /// The key parts of a case that was seen to read what has the digest `seen`.
    pub(crate) fn parts_with_seen(&self, case: usize, seen: Digest) -> Option<KeyParts> {
        let case = self.cases.get(case).filter(|_| self.header.reuse)?;
        let position = case.key_parts.checked_sub(1)?;
        Some(seen_parts(case, self.key_parts.get(position as usize)?, seen))
    }

    /// What is stored when a case has passed cleanly; `None` where it is never reused.
    pub(crate) fn pass(&self, case: usize, at: Timestamp) -> Option<PassRecord> {
        Some(PassRecord {
            project: self.project.clone(),
            case: self.case_id(case)?,
            run: self.run,
            at,
            parts: self.parts_of(case)?,
        })
    }

    /// The same pass under the whole binary and the whole workspace, where [`Submission::pass`] has the case's own parts. Who does
    /// not know what the case can reach of the binary finds it by that.
    pub(crate) fn coarse_pass(&self, case: usize, at: Timestamp) -> Option<PassRecord> {
        let own = self.cases.get(case).filter(|case| !case.seen.is_empty())?;
        let position = own.key_parts.checked_sub(1)?;
        Some(PassRecord {
            // Of the two the other is the last, which explanations are about.
            at: Timestamp::from_micros(at.as_micros().saturating_sub(1)),
            parts: self.key_parts.get(position as usize)?.clone(),
            ..self.pass(case, at)?
        })
    }

    /// What is known of the pass that would have stood for a case, if that is audited.
    pub(crate) fn audited_of(&self, case: usize) -> Option<Audited> {
        self.plans.get(case)?.audited
    }

    /// What is stored when an audited case is settled with `status`; `None` where that says nothing about it. `output` is
    /// what its last attempt that did not pass wrote.
    pub(crate) fn finding(
        &self,
        case: usize,
        at: Timestamp,
        status: &CaseStatus,
        output: Option<v1::Output>,
    ) -> Option<AuditRecord> {
        let Audited { past_run } = self.audited_of(case)?;
        let finding = AuditFinding::of(status)?;
        let is_disagreement = matches!(finding, AuditFinding::Disagreed(_));
        Some(AuditRecord {
            project: self.project.clone(),
            case: self.case_id(case)?,
            run: self.run,
            at,
            past_run,
            finding,
            output: audit::encode(output.filter(|_| is_disagreement)),
        })
    }

    /// The positions of the cases that are taken over from earlier runs.
    pub(crate) fn reused(&self) -> Vec<u32> {
        self.positions(|plan| plan.reused)
    }

    /// The positions of the cases that cannot fail the run.
    fn quarantined(&self) -> Vec<u32> {
        self.positions(|plan| plan.quarantined)
    }

    fn audited(&self) -> Vec<v1::AuditedCase> {
        let audited = (0..).map(CaseIndex).zip(&self.plans);
        audited
            .filter_map(|(case, plan)| Some(audited_to_wire(case, plan.audited?.past_run)))
            .collect()
    }

    fn positions(&self, which: impl Fn(&CasePlan) -> bool) -> Vec<u32> {
        (0..)
            .zip(&self.plans)
            .filter(|(_, plan)| which(plan))
            .map(|(case, _)| case)
            .collect()
    }

    /// Sums the plan up for people.
    pub(crate) fn planned(&self, slots: u32) -> v1::Planned {
        let to_run = || self.plans.iter().filter(|plan| !plan.reused);
        let estimates = || to_run().filter_map(|plan| plan.estimate);
        let length = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let total = estimates().fold(std::time::Duration::ZERO, |sum, estimate| {
            sum.saturating_add(estimate.duration)
        });
        let longest = estimates()
            .map(|estimate| estimate.duration)
            .max()
            .unwrap_or_default();
        let known = estimates()
            .filter(|estimate| estimate.source == EstimateSource::Case)
            .count();
        v1::Planned {
            cases: length(self.plans.len()),
            reused: length(self.plans.len() - to_run().count()),
            slots,
            total: Some(duration_to_wire(total)),
            longest: Some(duration_to_wire(longest)),
            known: length(known),
            quarantined: self.quarantined(),
            audited: self.audited(),
        }
    }
}

/// The case's own code and environment count only with what it was seen to read: where the whole workspace counts, the whole binary is the
/// same, and no analysis of it is needed to find that.
fn seen_parts(case: &v1::Case, parts: &KeyParts, seen: Digest) -> KeyParts {
    let mut parts = parts.clone();
    if let Ok(code) = Digest::try_from(&case.code[..]) {
        parts.code = code;
    }
    if let Ok(environment) = Digest::try_from(&case.environment[..]) {
        parts.environment = environment;
    }
    parts.with_seen(seen)
}
