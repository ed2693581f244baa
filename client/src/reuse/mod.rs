//! The reuse key of each case, and why it is what it is.
//!
//! A key has six parts (see [`thresh_core::reuse`]). Each is the digest of a [`Record`]: a list of named values,
//! kept in the state folder so that [`explain()`] can say not only which part differs from the last pass, but
//! what in it.

mod code;
mod environment;
mod explain;
mod keys;
mod libraries;
mod outside;
mod platform;
mod record;
pub(crate) mod seen;
mod watch;

pub use code::{CaseCode, CodeKeys};
pub use explain::{Explanation, PartChange, Past, PastPass, explain, write_explanation};
pub use keys::{CaseKeys, KeyError, KeyInputs, SuiteFiles, case_keys};
pub use libraries::{LibraryError, NeededLibraries};
pub use outside::{Outside, OutsideError, OutsideInputs};
pub use record::{Record, RecordFolder};
pub use watch::InputWatch;

pub(crate) use environment::inherited;
pub(crate) use keys::out_dirs;
