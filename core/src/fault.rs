//! Whose fault an error is. It decides the exit code and whether to try again.

use std::fmt;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The user's input (arguments, configuration, code under test): trying again changes nothing.
    Input,
    /// The surroundings (disk, network, another process, a part of another version): may pass by itself.
    Environment,
    /// Thresh itself: a bug to report.
    Internal,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Environment => "environment",
            Self::Internal => "internal",
        })
    }
}
