//! Why cases cannot be observed here.

use std::io;

use thresh_core::fault::Fault;

/// Why cases cannot be observed here. They run all the same.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// The kernel is too old, or was built without it.
    #[error("observe cases: this kernel cannot tell of system calls and let them go on (Linux 5.5 can)")]
    Kernel,
    /// Somebody around this process observes it already, and the kernel allows one.
    #[error("observe cases: this process is observed itself")]
    Taken,
    /// A thread or the filter could not be had.
    #[error("observe cases: {0}")]
    Other(#[source] io::Error),
}

impl Unavailable {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::Environment
    }
}
