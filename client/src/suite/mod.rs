//! A suite: all test cases found in one build, each with its settings and its command.
//!
//! ```text
//! build::start ──► NextestConfig::load ──► profile ──► Selection::new        (while cargo builds)
//!      └─► Building::finish ──► TestBinary::all, CommandContext::new
//!              └─► Listing::all ──► known lists by Listing::key ──► list_missing ──► Suite::assemble
//! ```

mod assemble;
mod model;
mod summary;
#[cfg(test)]
mod tests;

pub use assemble::{ForcedSettings, SuiteParts};
pub use model::{SetupScript, SkippedCase, Suite, SuiteBinary, SuiteCase};
