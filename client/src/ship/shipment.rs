//! The manifests of a run's inputs, and where their blobs come from.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use thresh_cas::{ListError, ManifestError, Snapshot, SnapshotError, folder_files};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

use super::apart::LeanFile;
use super::content::Content;
use super::packer::{Memos, Packer};
use super::upload::UploadError;
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
    /// In a file, without its debug sections.
    Lean(LeanFile),
    /// Here.
    Bytes(Vec<u8>),
}

impl BlobSource {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Lean(file) => file.size(),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Begins to read it.
    ///
    /// # Errors
    /// Its file cannot be read, or changed after it was hashed; the error names it.
    pub fn open(&self) -> Result<Box<dyn Read + '_>, UploadError> {
        Content::of(self).map(Content::into_reader)
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        self.path()
            .map_or_else(|| "a list of files".to_owned(), |path| path.display().to_string())
    }

    /// The file that it comes from.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Lean(file) => Some(file.path()),
            Self::Bytes(_) => None,
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
    /// Further blobs, which are sent when a worker asks for them: programs with their debug sections.
    pub on_demand: BTreeMap<Digest, BlobSource>,
}

impl Shipment {
    /// Names the inputs of `suite`, whose files are `files` and whose workspace is `snapshot`.
    /// With `memos.lean`, debug sections travel apart.
    ///
    /// # Errors
    /// A file cannot be read, or the files make no tree.
    pub fn new(
        suite: &Suite,
        files: &SuiteFiles,
        snapshot: &Snapshot,
        memos: Memos<'_>,
    ) -> Result<Self, ShipError> {
        let mut packer = Packer::new(suite.target_directory.as_std_path(), memos);
        let sources = packer.pack(suite.workspace_root.as_std_path(), snapshot.manifest());
        let mut elsewhere = Elsewhere::default();
        let common = common_files(suite, files)?;
        let (target, _) = packer.pack_files(common.iter(), &mut elsewhere)?;
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
            let (manifest, bytes) = packer.pack_files(own.iter(), &mut elsewhere)?;
            binaries.push(Some(manifest));
            binary_bytes.push(bytes);
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
            on_demand: packer.on_demand,
        })
    }

    /// The digests of all its manifests.
    pub fn manifests(&self) -> BTreeSet<Digest> {
        let of_binaries = self.binaries.iter().copied().flatten();
        let of_folders = self.folders.iter().map(|(_, manifest)| *manifest);
        [self.sources, self.target]
            .into_iter()
            .chain(of_binaries)
            .chain(of_folders)
            .collect()
    }

    /// Bytes of all blobs that are sent beforehand.
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
pub(super) struct Elsewhere {
    by_folder: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
}

impl Elsewhere {
    pub(super) fn add(&mut self, path: &Path) {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            self.by_folder
                .entry(folder.to_owned())
                .or_default()
                .insert(name.into());
        }
    }
}
