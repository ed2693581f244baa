//! The cases of test binaries: which binaries to ask, their answers, and which cases are selected.

mod binary;
mod cases;
mod harness;
mod listing;
mod partition;
mod run;
mod select;

pub use binary::TestBinary;
pub use cases::{CaseList, ListedCase};
pub use listing::{Listing, list_missing};
pub(crate) use partition::Dealer;
pub use partition::{Dealing, InvalidPartition, Partition};
pub use run::ListError;
pub use select::{RunIgnored, Selection, SelectionError, SelectionOptions};
