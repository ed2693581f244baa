//! Reuse by content: when a clean pass may stand for a new execution.

mod audit;
mod difference;
mod key;

pub use audit::{AuditFinding, AuditShare, InvalidAuditShare};
pub use difference::{PartDifference, differing_parts};
pub use key::{CaseKey, KEY_METHOD, KeyPart, KeyParts};
