//! Trees as the Remote Execution API has them: `Directory` messages that name their files and folders by digest, so
//! that equal subtrees are one message.
//!
//! [`expand()`] makes a [`Manifest`](crate::Manifest) of such a tree, [`build()`] the reverse. What comes from elsewhere is
//! checked: names that are none, repeated or unsorted ones, links that leave the tree, trees that are too deep or unfold
//! to too much (a small number of messages can stand for any number of files). A folder that contains itself needs no
//! check of its own: its message would hold its own digest, and [`PackStore`](crate::PackStore) takes nothing in under a
//! name that is not its content's. Where a name is false all the same, the tree is too deep.

mod build;
mod entries;
mod error;
mod expand;
#[cfg(test)]
mod tests;

pub use build::{BuildError, Built, build};
pub use entries::entries_of_tree;
pub use error::{NameDefect, TreeError};
pub use expand::{ENTRIES_MAX, Folders, expand, folders};
