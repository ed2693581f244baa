//! What a process sees of the file system: a run's folders at the paths where its client has them.
//!
//! A [`View`] is a mount namespace, built once per run. In it every [`Folder`] appears at its path, whether or
//! not this machine has something there, and hides what it has. Everything else is the machine's, but for the
//! temp folders, which are private: each [`CaseView`] has empty ones of its own.
//!
//! A process enters between fork and exec (see [`CaseView`]), into a namespace of its own below the view's.
//!
//! With an [`Isolator`] each case has, besides, overlays of its own over the folders, processes of its own below an init,
//! and what else its [`Level`] says; it enters as `launch` tells.
//!
//! [`start_with_folders`] is the same for one program and live folders only.
//!
//! Invariants:
//!
//! * The folders a view is made from are never written to: writes go to an overlay's upper layer or to a copy.
//! * Between fork and exec only system calls are made; everything they need is allocated before.
//!
//! Deliberately absent: path remapping for machines without namespaces ([`probe()`] says which they are), a filter of
//! system calls, and limits on disk and network use.

mod child;
mod construct;
mod entry;
mod groups;
mod guard;
mod identity;
mod isolation;
mod isolator;
mod launch;
mod level;
mod paths;
mod plan;
mod probe;
mod scratch;
mod shown;
mod step;
mod surroundings;
mod view;

#[cfg(test)]
mod tests;

pub(crate) use construct::before_exec;
pub(crate) use entry::Entry;
pub use isolation::{Isolation, Level, Limits, Network, Scratch, UnknownWord};
pub use isolator::Isolator;
pub(crate) use launch::{Launch, Target};
pub use probe::{Support, probe};
pub use shown::start_with_folders;
pub(crate) use step::limit;
pub use view::{CaseView, Folder, View, ViewError, ViewSpec};
