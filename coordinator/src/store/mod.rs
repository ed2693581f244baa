//! What outlives a run and its coordinator: history, reusable passes and what audits of them found, what is kept by
//! key, quarantine, and the journal of runs that are going on.
//!
//! [`Store`] is the interface, [`SqlStore`] keeps it in a file of SQLite that several processes of one machine
//! share, or in a database of PostgreSQL that several machines share. Every method takes or returns many rows at
//! a time, since a call costs far more than a row.
//!
//! What is written is safe in two degrees. The journal is on the disk when [`Store::journal`] returns. All else
//! survives the death of the process, and may miss its last moments when the machine dies.
//!
//! Deliberately absent: blobs (`thresh-cas`), and what the journal's bytes mean (the driver's).

mod audit;
#[cfg(test)]
pub(crate) mod bad;
mod error;
mod interface;
mod journal;
mod kept;
mod leadership;
mod location;
mod record;
mod sql;

pub use audit::{AuditCounts, AuditRecord, AuditReport, Disagreement};
pub use error::StoreError;
pub use interface::Store;
pub use journal::{EventBatch, JournalEntry, OpenRun};
pub use kept::Kept;
pub use leadership::Leadership;
pub use location::Location;
pub use record::{
    AttemptRecord, Batch, CaseId, KnownPass, LastPass, PassRecord, PastAttempt, PastCase, Quarantine,
    RunRecord, RunTimeline, TimelineAttempt,
};
pub use sql::SqlStore;
