//! The manifests of a run's inputs, and where their blobs come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use thresh_cas::{
    DigestMemo, Entry, EntryKind, ListError, Manifest, ManifestError, Snapshot, SnapshotError, folder_files,
};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

use crate::reuse::SuiteFiles;
use crate::reuse::out_dirs;
use crate::suite::Suite;

/// A run's inputs could not be named.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// Files could not be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A folder could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// The files make no tree.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl ShipError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Snapshot(error) => error.fault(),
            Self::List(error) => error.fault(),
            Self::Manifest(error) => error.fault(),
        }
    }
}

/// Where the content of a blob is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobSource {
    /// In a file of `size` bytes.
    File {
        /// The file.
        path: PathBuf,
        /// Its length in bytes when it was hashed.
        size: u64,
    },
    /// Here.
    Bytes(Vec<u8>),
}

impl BlobSource {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// All that the cases of a run need on another machine.
#[derive(Clone, Debug)]
pub struct Shipment {
    /// Manifest of the workspace's files.
    pub sources: Digest,
    /// Manifest of what every case needs below the target folder: programs, outputs of build scripts.
    pub target: Digest,
    /// For each test binary the manifest of what its cases need besides; none for one without a selected case.
    pub binaries: Vec<Option<Digest>>,
    /// What each of these manifests names, in bytes; 0 where there is none.
    pub binary_bytes: Vec<u64>,
    /// Further folders (absolute) with their manifests: toolchain libraries, a build folder elsewhere.
    pub folders: Vec<(PathBuf, Digest)>,
    /// Every blob, manifests included.
    pub blobs: BTreeMap<Digest, BlobSource>,
}

impl Shipment {
    /// Names the inputs of `suite`, whose files are `files` and whose workspace is `snapshot`.
    ///
    /// # Errors
    /// A file cannot be read, or the files make no tree.
    pub fn new(
        suite: &Suite,
        files: &SuiteFiles,
        snapshot: &Snapshot,
        memo: &mut DigestMemo,
    ) -> Result<Self, ShipError> {
        let mut packer = Packer {
            root: suite.target_directory.as_std_path(),
            memo,
            blobs: BTreeMap::new(),
        };
        let sources = packer.pack(suite.workspace_root.as_std_path(), snapshot.manifest());
        let mut elsewhere = Elsewhere::default();
        let common = common_files(suite, files)?;
        let target = packer.pack_files(common.iter(), &mut elsewhere)?;
        let mut binaries = Vec::with_capacity(suite.binaries.len());
        let mut binary_bytes = Vec::with_capacity(suite.binaries.len());
        for (position, binary) in suite.binaries.iter().enumerate() {
            if files.binary(position).is_none() {
                binaries.push(None);
                binary_bytes.push(0);
                continue;
            }
            let own: BTreeSet<PathBuf> = std::iter::once(binary.path.clone().into_std_path_buf())
                .chain(files.libraries(position).iter().cloned())
                // What every case gets is there already; no file may be named twice.
                .filter(|path| !common.contains(path))
                .collect();
            binary_bytes.push(own.iter().map(|path| bytes_of(path)).sum());
            binaries.push(Some(packer.pack_files(own.iter(), &mut elsewhere)?));
        }
        let folders = elsewhere
            .by_folder
            .into_iter()
            .map(|(folder, names)| Ok((folder.clone(), packer.pack_folder(&folder, names)?)))
            .collect::<Result<_, ShipError>>()?;
        Ok(Self {
            sources,
            target,
            binaries,
            binary_bytes,
            folders,
            blobs: packer.blobs,
        })
    }

    /// Bytes of all blobs.
    pub fn size_bytes(&self) -> u64 {
        self.blobs.values().map(BlobSource::size).sum()
    }
}

/// Programs and all that build scripts left, links and empty folders included.
fn common_files(suite: &Suite, files: &SuiteFiles) -> Result<BTreeSet<PathBuf>, ListError> {
    let mut common: BTreeSet<PathBuf> = files.programs().map(Path::to_owned).collect();
    // Cargo makes this folder and tells integration tests of it at compile time (CARGO_TARGET_TMPDIR).
    let scratch = suite.target_directory.join("tmp").into_std_path_buf();
    if scratch.is_dir() {
        common.insert(scratch);
    }
    for folder in out_dirs(suite) {
        common.extend(folder_files(&folder)?.into_iter().map(|file| folder.join(file)));
    }
    Ok(common)
}

/// Files outside the target folder, by the folder that holds them.
#[derive(Default)]
struct Elsewhere {
    by_folder: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Elsewhere {
    fn add(&mut self, path: &Path) {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            self.by_folder
                .entry(folder.to_owned())
                .or_default()
                .insert(name.into());
        }
    }
}

/// The size of a file; 0 where it cannot be told, since it only serves to weigh one way against another.
fn bytes_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

struct Packer<'a> {
    root: &'a Path,
    memo: &'a mut DigestMemo,
    blobs: BTreeMap<Digest, BlobSource>,
}

impl Packer<'_> {
    /// Packs those of `paths` that are below the target folder, and notes the others.
    fn pack_files<'p>(
        &mut self,
        paths: impl Iterator<Item = &'p PathBuf>,
        elsewhere: &mut Elsewhere,
    ) -> Result<Digest, ShipError> {
        let mut inside = Vec::new();
        for path in paths {
            match path.strip_prefix(self.root) {
                Ok(relative) => inside.push(relative.to_owned()),
                Err(_) => elsewhere.add(path),
            }
        }
        let root = self.root;
        let snapshot = Snapshot::take(root, inside, self.memo)?;
        Ok(self.pack(root, snapshot.manifest()))
    }

    /// Packs `names` of a folder outside the target folder. Links are followed: what they point to may not be
    /// on the other machine.
    fn pack_folder(&mut self, folder: &Path, names: BTreeSet<PathBuf>) -> Result<Digest, ShipError> {
        let snapshot = Snapshot::take(folder, names.into_iter().collect(), self.memo)?;
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

    fn pack(&mut self, root: &Path, manifest: &Manifest) -> Digest {
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
