//! A run from the workspace to its verdict.
//!
//! ```text
//! Prepared::new ─► cargo builds ┐   (meanwhile: configuration, selection, digests of the workspace's files)
//!                               └─► Prepared::run ─► list ─► keys ─► ship ─► Submit ─► Watch ─► Fold ─► RunSummary
//! ```
//!
//! [`Prepared`] is made before anything is connected, because it alone knows how many slots an embedded worker
//! is to have and which farm the project names.

mod affected;
mod audit;
mod confirm;
mod error;
mod explain;
mod fold;
mod follow;
mod history;
mod loading;
mod options;
mod plan;
mod prepare;
mod seen;
mod session;
mod shipping;
mod submission;
mod work;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use error::{Disconnected, RunError};
pub use fold::{Fold, FoldCase};
pub use history::{CasePast, HistoryQuery, PastAttempt, history, write_history};
pub use options::RunOptions;
pub use plan::{PlannedCase, RunPlan};
pub use prepare::Prepared;
pub use session::Session;
pub use work::Finished;

/// The first value asks for an orderly end, the second for an end at once.
pub type Cancel = tokio::sync::watch::Receiver<u32>;
