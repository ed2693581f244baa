//! `thresh audit`: where reuse was found to be wrong.

mod entry;
mod error;
mod show;
mod work;

pub use entry::{AuditCounts, AuditReport, Disagreement, Trusted};
pub use error::AuditError;
pub use show::{write_report, write_trusted};
pub use work::{audit_report, trust_cases};
