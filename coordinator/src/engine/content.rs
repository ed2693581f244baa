//! What a run's actions need, as the client has it.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use thresh_core::digest::Digest;

/// The bytes of a blob, to be read whenever they are needed.
pub trait Content: fmt::Debug + Send + Sync {
    /// Its name for people.
    fn name(&self) -> String;

    /// Begins to read, from the first byte.
    ///
    /// # Errors
    /// It cannot be read, or is not there any more; the error names the file.
    fn open(&self) -> io::Result<Box<dyn Read + '_>>;
}

/// A file of a run.
#[derive(Clone, Debug)]
pub struct File {
    /// Of its content.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Where it is.
    pub content: Arc<dyn Content>,
}

/// All that the actions of a run need.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The run's manifests, encoded.
    pub manifests: Vec<Vec<u8>>,
    /// The files that they name, those on demand included.
    pub files: Vec<File>,
}
