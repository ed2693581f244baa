//! Whether what a run was keyed by stayed the same while it ran.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use thresh_cas::{FileStamp, Snapshot, SnapshotError};

use super::keys::SuiteFiles;
use super::outside::Outside;

/// The inputs of an in-place run as they were when their digests were taken.
#[derive(Clone, Debug)]
pub struct InputWatch {
    snapshot: Snapshot,
    files: Vec<(PathBuf, FileStamp)>,
}

impl InputWatch {
    /// Remembers the workspace, the files of the build and those outside.
    pub fn new(snapshot: Snapshot, files: &SuiteFiles, outside: &Outside) -> Self {
        let files = files
            .all()
            .chain(&outside.files)
            .map(|digested| (digested.path.clone(), digested.stamp))
            .collect();
        Self { snapshot, files }
    }

    /// Returns what has changed since, absolute paths for files of the build and
    /// outside, relative ones for those of the
    /// workspace; empty when nothing has.
    ///
    /// # Errors
    /// The workspace's files cannot be listed or read.
    pub fn changes(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let (sources, built) = rayon::join(
            || self.snapshot.changes(),
            || -> Vec<PathBuf> {
                let changed = self
                    .files
                    .par_iter()
                    .filter(|(path, stamp)| stamp_of(path) != Some(*stamp));
                changed.map(|(path, _)| path.clone()).collect()
            },
        );
        let mut changed = sources?;
        changed.extend(built);
        Ok(changed)
    }
}

/// The stamp behind links, as digests are taken.
fn stamp_of(path: &Path) -> Option<FileStamp> {
    std::fs::metadata(path)
        .ok()
        .map(|metadata| FileStamp::from_metadata(&metadata))
}
