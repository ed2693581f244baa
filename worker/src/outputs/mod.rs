//! What an action leaves behind: the files at the paths that its client wants, stored for others.
//!
//! The action has ended, with every process of it, when its outputs are looked for. What it left may still be made to
//! mislead: links are never followed out of its working directory.

mod collect;
mod keep;
mod upload;

pub(crate) use keep::{Outputs, OutputsError};
pub(crate) use upload::Uploader;
