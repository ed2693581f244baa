//! What the audits of a run find.

use thresh_core::id::CaseIndex;
use thresh_core::outcome::Outcome;
use thresh_core::time::Timestamp;
use thresh_core::verdict::CaseStatus;
use thresh_proto::v1;

use super::run_state::RunState;
use crate::audit;
use crate::store::AuditRecord;

impl RunState {
    /// Keeps what an audited case wrote in an attempt that did not pass, until the case is settled.
    pub(super) fn note_output(&mut self, case: CaseIndex, outcome: &Outcome, output: Option<&v1::Output>) {
        let is_audited = self.submission.audited_of(case.at()).is_some();
        if let (true, false, Some(output)) = (is_audited, outcome.passes(), output) {
            self.audit_outputs.insert(case, audit::clip(output.clone()));
        }
    }

    /// What the audit of a case that is settled has found, if it was audited and that says something about it.
    pub(super) fn finding(
        &mut self,
        at: Timestamp,
        case: CaseIndex,
        status: &CaseStatus,
    ) -> Option<AuditRecord> {
        let output = self.audit_outputs.remove(&case);
        self.submission.finding(case.at(), at, status, output)
    }
}
