//! What audits of reuse found, as it goes into the store and comes out of it.

use std::sync::Arc;

use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_core::reuse::AuditFinding;
use thresh_core::time::Timestamp;

use super::record::CaseId;

/// What the audit of a case in a run found. Of those that agree in run and case only the first is recorded.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// The project.
    pub project: Arc<str>,
    /// The case.
    pub case: CaseId,
    /// The run.
    pub run: RunId,
    /// When the case was settled.
    pub at: Timestamp,
    /// The run of the pass that would have stood for it; `None` where that is not known.
    pub past_run: Option<RunId>,
    /// What was found.
    pub finding: AuditFinding,
    /// Of a disagreement what its last attempt wrote, in whatever form; empty where that is not known.
    pub output: Vec<u8>,
}

/// What audits of a project found, as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// How often they found what.
    pub counts: AuditCounts,
    /// Those that keep a case from being reused first, then the latest first.
    pub disagreements: Vec<Disagreement>,
}

/// How often audits found what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// See [`AuditFinding::Agreed`].
    pub agreed: u64,
    /// See [`AuditFinding::Flaky`].
    pub flaky: u64,
    /// See [`AuditFinding::Disagreed`].
    pub disagreed: u64,
}

impl AuditCounts {
    /// All findings.
    pub fn audited(&self) -> u64 {
        self.agreed
            .saturating_add(self.flaky)
            .saturating_add(self.disagreed)
    }
}

/// A case did not pass, though its pass is stored under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The case.
    pub case: CaseId,
    /// The run in which it did not pass.
    pub run: RunId,
    /// When it was settled.
    pub at: Timestamp,
    /// The run of the pass; `None` where that is not known.
    pub past_run: Option<RunId>,
    /// How its last attempt ended.
    pub outcome: Outcome,
    /// What that wrote, as it was recorded; empty where it was not asked for, or is not known.
    pub output: Vec<u8>,
    /// When somebody let the case be reused again.
    pub trusted: Option<Timestamp>,
}
