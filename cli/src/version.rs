//! The program's version.

/// Version and commit, like `0.1.0 (1a2b3c4d5e6f)`.
pub(crate) const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), env!("THRESH_COMMIT"));
