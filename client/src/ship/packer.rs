//! From lists of files to manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use thresh_cas::{DigestMemo, Entry, EntryKind, Manifest, Snapshot, SnapshotError};
use thresh_core::digest::Digest;

use super::apart::Apart;
use super::shipment::{BlobSource, Elsewhere, ShipError};

/// What is remembered of files, so that unchanged ones are not read.
#[derive(Debug)]
pub struct Memos<'a> {
    /// Digests of files.
    pub files: &'a mut DigestMemo,
    /// Digests of files without their debug sections; `None` where these are not to travel apart.
    pub lean: Option<&'a mut DigestMemo>,
}

/// Makes manifests, and gathers the blobs that they name.
pub(super) struct Packer<'a> {
    root: &'a Path,
    memos: Memos<'a>,
    pub(super) blobs: BTreeMap<Digest, BlobSource>,
    pub(super) on_demand: BTreeMap<Digest, BlobSource>,
}

impl<'a> Packer<'a> {
    /// `root` is the target folder.
    pub(super) fn new(root: &'a Path, memos: Memos<'a>) -> Self {
        Self {
            root,
            memos,
            blobs: BTreeMap::new(),
            on_demand: BTreeMap::new(),
        }
    }

    /// Packs those of `paths` that are below the target folder, and notes the others. Returns the manifest and what
    /// it names, in bytes.
    pub(super) fn pack_files<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p PathBuf>,
        elsewhere: &mut Elsewhere,
    ) -> Result<(Digest, u64), ShipError> {
        let mut inside = Vec::new();
        for path in paths {
            match path.strip_prefix(self.root) {
                Ok(relative) => inside.push(relative.to_owned()),
                Err(_) => elsewhere.add(path),
            }
        }
        let root = self.root;
        let snapshot = Snapshot::take(root, inside, self.memos.files)?;
        let manifest = self.without_debug(snapshot.manifest())?;
        let bytes = manifest.files().map(|(_, size)| size).sum();
        Ok((self.pack(root, &manifest), bytes))
    }

    /// A manifest in which debug sections are in files of their own.
    fn without_debug(&mut self, manifest: &Manifest) -> Result<Manifest, ShipError> {
        let (root, Some(memo)) = (self.root, self.memos.lean.as_deref_mut()) else {
            return Ok(manifest.clone());
        };
        let known = &*memo;
        let apart = (manifest.entries().par_iter()).map(|entry| Apart::of(root, entry, known));
        let apart: Vec<Option<Apart>> = apart.collect();
        let mut entries: BTreeMap<PathBuf, EntryKind> = BTreeMap::new();
        for (entry, apart) in manifest.entries().iter().zip(apart) {
            let Some(apart) = apart else {
                entries.insert(entry.path.clone(), entry.kind.clone());
                continue;
            };
            apart.teach(memo);
            if let EntryKind::File { digest, .. } = apart.lean {
                let lean = || BlobSource::Lean(apart.file.clone());
                self.blobs.entry(digest).or_insert_with(lean);
            }
            if let EntryKind::OnDemand { digest, size } = apart.whole.kind {
                let path = root.join(&entry.path);
                let whole = || BlobSource::File { path, size };
                self.on_demand.entry(digest).or_insert_with(whole);
            }
            entries.insert(entry.path.clone(), apart.lean);
            entries.insert(apart.whole.path, apart.whole.kind);
        }
        let entries = entries.into_iter().map(|(path, kind)| Entry { path, kind });
        Ok(Manifest::new(entries.collect())?)
    }

    /// Packs `names` of a folder outside the target folder. Links are followed: what they point to may not be
    /// on the other machine.
    pub(super) fn pack_folder(
        &mut self,
        folder: &Path,
        names: BTreeSet<PathBuf>,
    ) -> Result<Digest, ShipError> {
        let snapshot = Snapshot::take(folder, names.into_iter().collect(), self.memos.files)?;
        let mut entries = Vec::new();
        for entry in snapshot.manifest().entries() {
            entries.push(self.followed(folder, entry)?);
        }
        let manifest = Manifest::new(entries)?;
        Ok(self.pack(folder, &manifest))
    }

    fn followed(&mut self, folder: &Path, entry: &Entry) -> Result<Entry, ShipError> {
        let EntryKind::Symlink { .. } = entry.kind else {
            return Ok(entry.clone());
        };
        let path = folder.join(&entry.path);
        let found = thresh_cas::digest_file(&path).map_err(SnapshotError::from)?;
        let kind = EntryKind::File {
            digest: found.digest,
            size: found.size,
            executable: true,
        };
        Ok(Entry {
            path: entry.path.clone(),
            kind,
        })
    }

    pub(super) fn pack(&mut self, root: &Path, manifest: &Manifest) -> Digest {
        for entry in manifest.entries() {
            if let EntryKind::File { digest, size, .. } = entry.kind {
                self.blobs.entry(digest).or_insert_with(|| BlobSource::File {
                    path: root.join(&entry.path),
                    size,
                });
            }
        }
        let bytes = manifest.encode();
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest, BlobSource::Bytes(bytes));
        digest
    }
}
