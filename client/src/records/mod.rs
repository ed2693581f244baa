//! What outlives runs: which cases are in quarantine, which runs there were, what happened in one, and what audits of
//! reuse found.
//!
//! Each operation asks the coordinator, then decides and formats without any I/O.

mod audit;
mod case_ref;
mod decide;
mod quarantine;
mod replay;
mod session;
mod words;

pub use audit::{
    AuditCounts, AuditError, AuditReport, Disagreement, Trusted, audit_report, trust_cases, write_report,
    write_trusted,
};
pub use case_ref::CaseRef;
pub use quarantine::{
    Added, Expired, NewQuarantine, Quarantine, QuarantineError, QuarantineList, QuarantineState, Until,
    add_quarantine, expire_quarantine, list_quarantine, write_added, write_expired, write_quarantine,
};
pub use replay::{
    InvalidRunChoice, PastRun, Replay, ReplayError, ReplayOptions, RunChoice, Timeline, TimelineAttempt,
    latest_runs, timeline, write_replay, write_runs, write_trace,
};
