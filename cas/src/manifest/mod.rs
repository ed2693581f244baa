//! Which files a tree holds, by digest.
//!
//! A manifest is always valid: paths are relative, normal, sorted bytewise and unique, and nothing lies below a
//! file or a link, so that building it can never write outside its folder. Equal trees have equal encodings
//! and thus equal digests. Paths are bytes: they need not be UTF-8.

mod check;
mod diff;
mod encoding;
mod error;
mod model;

pub(crate) use check::{LEVELS_MAX, PATH_BYTES_MAX};
pub use diff::ManifestDiff;
pub use error::{ManifestError, PathDefect};
pub use model::{Entry, EntryKind, Manifest};

#[cfg(test)]
mod tests;
