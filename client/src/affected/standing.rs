//! How a case stands in one state of the workspace.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thresh_core::reuse::{KeyPart, KeyParts};

/// How a case stands in one state of the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// nextest's binary id.
    pub binary_id: String,
    /// The case.
    pub name: String,
    /// A stored pass stands for it.
    pub is_reused: bool,
    /// The parts of its key with the whole workspace, in the order of [`KeyPart::ALL`]; none for a case that is never reused.
    pub parts: Option<Vec<String>>,
    /// The records of what it was seen to read that hold.
    pub records: Vec<String>,
    /// Which parts are not as at its last pass, in words; `None` without any.
    pub since_pass: Option<Vec<String>>,
}

impl Standing {
    /// The parts of a key as they are in a standing.
    pub(crate) fn parts(parts: &KeyParts) -> Vec<String> {
        KeyPart::ALL
            .iter()
            .map(|part| parts.part(*part).to_string())
            .collect()
    }
}

/// Standings could not be handed on.
#[derive(Debug, thiserror::Error)]
pub enum StandingsError {
    /// The file cannot be written or read.
    #[error("hand on what cases depend on through {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// The file holds something else.
    #[error("read what cases depended on from {path}: {cause}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
}

/// Writes standings for another process.
///
/// # Errors
/// The file cannot be written.
pub fn write_standings(path: &Path, standings: &[Standing]) -> Result<(), StandingsError> {
    let json = serde_json::to_vec(standings).map_err(|cause| StandingsError::Content {
        path: path.display().to_string(),
        cause,
    })?;
    fs::write(path, json).map_err(|cause| file(path, cause))
}

/// Reads what another process wrote by [`write_standings`].
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read_standings(path: &Path) -> Result<Vec<Standing>, StandingsError> {
    let json = fs::read(path).map_err(|cause| file(path, cause))?;
    serde_json::from_slice(&json).map_err(|cause| StandingsError::Content {
        path: path.display().to_string(),
        cause,
    })
}

fn file(path: &Path, cause: io::Error) -> StandingsError {
    StandingsError::File {
        path: path.display().to_string(),
        cause,
    }
}
