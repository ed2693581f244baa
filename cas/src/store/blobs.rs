//! The store's folder, and what this process knows of its blobs.

use super::pieces::Place;
use super::{STALE_AFTER, StoreError};
use crate::stamp::FileStamp;
use rayon::prelude::*;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use thresh_core::digest::Digest;

/// Blobs on disk. Clones are cheap and share what was learnt about the blobs.
#[derive(Clone, Debug)]
pub struct BlobStore {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) tmp: PathBuf,
    pub(super) records: Mutex<HashMap<Digest, Record>>,
    /// The chunks of all blobs; none until one is looked for.
    pub(super) pieces: Mutex<Option<HashMap<Digest, Place>>>,
}

/// What this process knows of a blob.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Record {
    pub(super) last_used: Option<SystemTime>,
    /// Stamps of the files whose content was verified, by variant.
    pub(super) verified: [Option<FileStamp>; 2],
}

/// The two files that a blob may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Plain = 0,
    Executable = 1,
}

impl Variant {
    pub(crate) fn of(executable: bool) -> Self {
        if executable { Self::Executable } else { Self::Plain }
    }

    /// What a working copy has, and not read-only: cases see it, and it goes along when they copy a file to change it.
    pub(super) fn mode(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Executable => 0o755,
        }
    }
}

impl BlobStore {
    /// Opens the store in `dir`, which is made if absent, and removes what killed writers left behind.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let tmp = dir.join("tmp");
        fs::create_dir_all(&tmp).map_err(|cause| StoreError::io("create folder", &tmp, cause))?;
        remove_stale(&tmp)?;
        let inner = Inner {
            dir: dir.to_owned(),
            tmp,
            records: Mutex::default(),
            pieces: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether the blob is there. Its content is verified when it is used.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.find_missing(std::slice::from_ref(digest)).is_empty()
    }

    /// Returns those of `digests` whose blobs are not there, in the order given. The others count as just used.
    pub fn find_missing(&self, digests: &[Digest]) -> Vec<Digest> {
        let present = |digest: &Digest| self.path(digest, Variant::Plain).symlink_metadata().is_ok();
        let (present, missing): (Vec<Digest>, Vec<Digest>) = digests
            .par_iter()
            .with_min_len(16)
            .partition(|digest| present(digest));
        let now = SystemTime::now();
        let mut records = self.records();
        for digest in present {
            records.entry(digest).or_default().last_used = Some(now);
        }
        missing
    }

    /// Where a blob's file is, or would be.
    pub(crate) fn path(&self, digest: &Digest, variant: Variant) -> PathBuf {
        let mut name = digest.to_string();
        let folder = self.inner.dir.join(&name[..2]);
        if variant == Variant::Executable {
            name.push('x');
        }
        folder.join(name)
    }

    pub(super) fn records(&self) -> MutexGuard<'_, HashMap<Digest, Record>> {
        // Each change of a record is a single assignment, so that a panic elsewhere leaves none half made.
        self.inner.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self, digest: &Digest) {
        self.records().entry(*digest).or_default().last_used = Some(SystemTime::now());
    }
}

fn remove_stale(tmp: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(tmp).map_err(|cause| StoreError::io("read folder", tmp, cause))?;
    for entry in entries.flatten() {
        let path = entry.path();
        // Another process may remove or finish the file meanwhile; what cannot be removed now stays.
        if is_stale(&path).unwrap_or(false) {
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

fn is_stale(path: &Path) -> std::io::Result<bool> {
    let metadata = path.symlink_metadata()?;
    let old = metadata.modified()?.elapsed().is_ok_and(|age| age > STALE_AFTER);
    Ok(metadata.is_file() && old && fs::File::open(path)?.try_lock().is_ok())
}
