//! The files of a workspace at one moment, as a manifest, and whether they have changed since.
//!
//! Links are recorded as links, whatever they point to; sockets, pipes and devices are left out.

mod git;
mod list;
mod take;

pub use git::git_in;
pub use list::{ListError, folder_files, workspace_files};
pub use take::{Snapshot, SnapshotError};

#[cfg(test)]
mod tests;
