//! Taking a snapshot and comparing it with what is there now.

use super::list::{ListError, Listed, by_bytes, list_workspace, look_at};
use crate::hash::{DigestError, Found, find};
use crate::manifest::{Entry, EntryKind, Manifest, ManifestError};
use crate::memo::DigestMemo;
use crate::stamp::FileStamp;
use rayon::prelude::*;
use rustix::fs::OFlags;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use thresh_core::fault::Fault;

/// A snapshot could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The files could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// A file could not be hashed.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The paths given make no tree.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl SnapshotError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::List(error) => error.fault(),
            Self::Digest(error) => error.fault(),
            Self::Manifest(error) => error.fault(),
        }
    }
}

/// The files of a folder at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    root: PathBuf,
    manifest: Manifest,
    /// In the order of the manifest's entries.
    stamps: Vec<Stamped>,
    /// What was left out when the files were listed; none when the caller listed them.
    excluded: Option<Vec<PathBuf>>,
}

#[derive(Clone, Copy, Debug)]
struct Stamped {
    stamp: FileStamp,
    /// Whether every later write must show in the stamp.
    settled: bool,
}

impl Snapshot {
    /// Takes the snapshot of all [`workspace_files`](crate::workspace_files) below `root`.
    ///
    /// # Errors
    /// The files cannot be listed, or one cannot be read.
    pub fn of_workspace(
        root: &Path,
        exclude: &[PathBuf],
        memo: &mut DigestMemo,
    ) -> Result<Self, SnapshotError> {
        let listed = list_workspace(root, exclude)?;
        Self::of_listed(root, listed, Some(exclude.to_vec()), memo)
    }

    /// Takes the snapshot of `files` (relative to `root`, in any order). Files that are gone are left out; a
    /// folder that is listed itself counts as empty.
    ///
    /// # Errors
    /// A file cannot be read or changes all the time, or the paths do not make a [`Manifest`].
    pub fn take(root: &Path, files: Vec<PathBuf>, memo: &mut DigestMemo) -> Result<Self, SnapshotError> {
        Self::of_listed(root, look_at(root, files)?, None, memo)
    }

    fn of_listed(
        root: &Path,
        mut listed: Vec<Listed>,
        excluded: Option<Vec<PathBuf>>,
        memo: &mut DigestMemo,
    ) -> Result<Self, SnapshotError> {
        listed.sort_by(|a, b| by_bytes(&a.path, &b.path));
        let known = &*memo;
        let look = |listed: &Listed| look(&root.join(&listed.path), &listed.metadata, known);
        let looked: Vec<Option<Looked>> = listed.par_iter().map(look).collect::<Result<_, _>>()?;
        let (mut entries, mut stamps) = (Vec::new(), Vec::new());
        for (Listed { path, .. }, looked) in listed.into_iter().zip(looked) {
            let Some(looked) = looked else { continue };
            looked.found.inspect(|found| found.teach(memo));
            stamps.push(looked.stamped);
            entries.push(Entry {
                path,
                kind: looked.kind,
            });
        }
        // The entries are sorted already, so that the stamps stay beside them.
        let manifest = Manifest::new(entries)?;
        Ok(Self {
            root: root.to_owned(),
            manifest,
            stamps,
            excluded,
        })
    }

    /// The files as a manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the paths (relative, sorted) that were added, removed or written to since the snapshot was
    /// taken; empty means that nothing was. A file that was written to with the same content counts: it may
    /// have been another meanwhile. Added files are found only if [`Snapshot::of_workspace`] took the snapshot.
    ///
    /// # Errors
    /// The files cannot be listed again, or one that was written just before the snapshot cannot be read.
    pub fn changes(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let now = self.list_again()?;
        let mut changed = Vec::new();
        for (entry, then) in self.manifest.entries().iter().zip(&self.stamps) {
            let same = match now.binary_search_by(|listed| by_bytes(&listed.path, &entry.path)) {
                Ok(index) => self.is_same(entry, then, &now[index].metadata)?,
                Err(_) => false,
            };
            if !same {
                changed.push(entry.path.clone());
            }
        }
        let added = now
            .into_iter()
            .filter(|listed| self.manifest.get(&listed.path).is_none());
        changed.extend(added.map(|listed| listed.path));
        changed.sort_by(|a, b| by_bytes(a, b));
        Ok(changed)
    }

    /// Lists what is there now, sorted bytewise.
    fn list_again(&self) -> Result<Vec<Listed>, ListError> {
        match &self.excluded {
            Some(excluded) => list_workspace(&self.root, excluded),
            None => {
                let paths = self.manifest.entries().iter().map(|entry| entry.path.clone());
                look_at(&self.root, paths.collect())
            }
        }
    }

    fn is_same(&self, entry: &Entry, then: &Stamped, now: &Metadata) -> Result<bool, DigestError> {
        let same_stamp = FileStamp::from_metadata(now) == then.stamp;
        if !same_stamp || then.settled {
            return Ok(same_stamp);
        }
        // A write within the clock's tick may have left the stamp as it was: only the content can tell.
        let looked = look(&self.root.join(&entry.path), now, &DigestMemo::default())?;
        Ok(looked.is_some_and(|looked| looked.kind == entry.kind))
    }
}

/// What was found at a path.
struct Looked {
    kind: EntryKind,
    stamped: Stamped,
    found: Option<Found>,
}

/// Tells what is at a path whose metadata was just read; none if it has gone meanwhile.
fn look(path: &Path, metadata: &Metadata, memo: &DigestMemo) -> Result<Option<Looked>, DigestError> {
    if metadata.is_file() {
        return look_into(path, metadata, memo);
    }
    let kind = if metadata.is_dir() {
        EntryKind::EmptyDir
    } else {
        match fs::read_link(path) {
            Ok(target) => EntryKind::Symlink { target },
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => {
                return Err(DigestError::Unreadable {
                    path: path.to_owned(),
                    cause,
                });
            }
        }
    };
    // Never settled: looking at a link again costs next to nothing.
    let stamped = Stamped {
        stamp: FileStamp::from_metadata(metadata),
        settled: false,
    };
    Ok(Some(Looked {
        kind,
        stamped,
        found: None,
    }))
}

fn look_into(path: &Path, metadata: &Metadata, memo: &DigestMemo) -> Result<Option<Looked>, DigestError> {
    match find(path, metadata, OFlags::NOFOLLOW, memo) {
        Ok(found) => {
            let Found {
                digest,
                stamp,
                executable,
                ..
            } = found;
            let kind = EntryKind::File {
                digest,
                size: stamp.size,
                executable,
            };
            let stamped = Stamped {
                stamp,
                settled: found.settled(),
            };
            Ok(Some(Looked {
                kind,
                stamped,
                found: Some(found),
            }))
        }
        Err(DigestError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
