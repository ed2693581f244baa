//! Whether what a run was keyed by stayed the same while it ran.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rayon::prelude::*;
use thresh_cas::{Digested, FileStamp, Snapshot, SnapshotError, digest_file};

use super::keys::SuiteFiles;
use super::outside::Outside;

/// The inputs of an in-place run as they were when their digests were taken.
#[derive(Clone, Debug)]
pub struct InputWatch {
    snapshot: Snapshot,
    files: Vec<Watched>,
}

/// A file as it was.
#[derive(Clone, Debug)]
struct Watched {
    digested: Digested,
    /// `None`: it was gone by the time that this was asked.
    mode: Option<u32>,
}

impl InputWatch {
    /// Remembers the workspace, the files of the build and those outside.
    pub fn new(snapshot: Snapshot, files: &SuiteFiles, outside: &Outside) -> Self {
        let files = files.all().chain(&outside.files).map(Watched::new).collect();
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
                let changed = self.files.par_iter().filter(|file| file.has_changed());
                changed.map(|file| file.digested.path.clone()).collect()
            },
        );
        let mut changed = sources?;
        changed.extend(built);
        Ok(changed)
    }
}

impl Watched {
    fn new(digested: &Digested) -> Self {
        Self {
            digested: digested.clone(),
            mode: metadata(digested).as_ref().map(mode),
        }
    }

    fn has_changed(&self) -> bool {
        let Some(now) = metadata(&self.digested) else {
            return true;
        };
        // A case that gives a program another name by a hard link changes its stamp, and nothing of what it is.
        let is_same_content = || {
            let content = digest_file(&self.digested.path);
            content.is_ok_and(|content| content.digest == self.digested.digest)
        };
        self.mode != Some(mode(&now))
            || FileStamp::from_metadata(&now) != self.digested.stamp && !is_same_content()
    }
}

/// As it is behind links, for so digests are taken.
fn metadata(file: &Digested) -> Option<Metadata> {
    std::fs::metadata(&file.path).ok()
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.permissions().mode()
}
