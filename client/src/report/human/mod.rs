//! The report for people: nextest-like status lines, failures with their output, a summary, and a progress bar
//! where there is a terminal.

mod ending;
mod line;
mod output;
mod paint;
mod progress;
mod reporter;
#[cfg(test)]
mod tests;

pub(crate) use self::output::write_captured;
pub use reporter::{HumanOptions, HumanReporter};
