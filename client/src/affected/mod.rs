//! Which cases a change concerns.
//!
//! A [`Standing`] says what a case's result depends on in one state of the workspace: the parts of its key, and which
//! records of what it was seen to read hold in that state. [`affected()`] compares two of them: a case is left alone if
//! nothing of its key differs, or if nothing but the files does and one record holds in both. The state at a commit is
//! had by building it: [`BaseTree`] checks it out into the state folder, and whoever starts the build shows that at the
//! workspace's path, since paths are in test binaries.
//!
//! Deliberately absent: showing one folder at another's path (`thresh_worker::sandbox`), and running any case.

mod compare;
mod standing;
mod tree;

pub use compare::{Affected, affected, unproven};
pub use standing::{Standing, StandingsError, read_standings, write_standings};
pub use tree::{BaseError, BaseTree};
