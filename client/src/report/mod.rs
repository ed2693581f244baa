//! What people and tools get to see of a run.
//!
//! A run is told as a sequence of [`ReportEvent`]s. Each [`Reporter`] turns them into one form: text for people,
//! JSON lines, JUnit, GitHub annotations. Several may listen at once. None of them decides anything: statuses,
//! counts and the verdict arrive ready-made.

mod event;
mod failure;
mod github;
mod human;
mod json;
mod junit;
mod remapped;
mod reporter;
mod rerun;
mod summary;
mod text;

#[cfg(test)]
mod sample;

pub use event::{
    AttemptRecord, Captured, CaseLabel, CaseRecord, PlanNews, ReportEvent, Roster, RunStart, ScriptLabel,
    ScriptRecord, WorkerChange, WorkerChangeKind,
};
pub use github::{GithubOptions, GithubReporter};
pub(crate) use human::write_captured;
pub use human::{HumanOptions, HumanReporter};
pub use json::JsonReporter;
pub use junit::JunitReporter;
pub use remapped::RemappedWorker;
pub use reporter::{ReportError, Reporter, Reporters};
pub use rerun::RerunCommand;
pub use summary::{Floor, RunSummary};
pub(crate) use summary::{counts, reason_clause, reason_word};
pub(crate) use text::counted;
pub use text::one_line;
