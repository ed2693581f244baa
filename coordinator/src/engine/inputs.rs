//! The input roots of a run's actions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bazel_remote_apis::build::bazel::remote::execution::v2::{Directory, DirectoryNode, FileNode};
use prost::Message;
use prost::bytes::Bytes;
use thresh_cas::{BlobName, BuildError, Manifest, build};
use thresh_core::digest::Digest;
use thresh_proto::convert::digest_from_wire;
use thresh_proto::v1::{PlacedTree, RunHeader};

use super::blobs::{Blobs, Together};
use super::error::EngineError;

/// The runner's name in an input root.
pub(super) const RUNNER: &str = "thresh";
/// The run's brief.
pub(super) const RUN: &str = "run";
/// The shard's.
pub(super) const SHARD: &str = "shard";
/// So many target folders are remembered: one for each set of binaries that were together in a shard.
const TARGETS_MAX: usize = 64;
/// The folder of the run's trees there.
const TREES: &str = "trees";
/// Engines to which the input root is the whole root of the file system show parts of their machine in it, which need a place.
const PLACES: [&str; 9] = ["bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "tmp", "usr"];

/// A tree on the engine.
#[derive(Debug)]
pub(super) struct Tree {
    root: BlobName,
    /// All that is in it, folders included.
    pub(super) blobs: Together,
}

/// An input root, and everything in it.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) name: BlobName,
    /// Its folders.
    pub(super) own: Vec<BlobName>,
    pub(super) trees: Vec<Arc<Tree>>,
}

/// What the runner needs besides trees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    pub(super) runner: BlobName,
    pub(super) run: BlobName,
    pub(super) shard: BlobName,
}

/// Makes input roots. What runs and shards have in common is made once.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    manifests: Mutex<BTreeMap<Digest, Bytes>>,
    /// By the manifest.
    trees: Mutex<BTreeMap<Digest, Arc<Tree>>>,
    /// By the manifests that are joined in it.
    targets: Mutex<BTreeMap<Vec<Digest>, Arc<Tree>>>,
}

impl Inputs {
    /// Takes encoded manifests.
    pub(super) fn add(&self, manifests: Vec<Vec<u8>>) {
        let mut known = lock(&self.manifests);
        for manifest in manifests {
            known.insert(Digest::of(&manifest), manifest.into());
        }
    }

    /// Whether a manifest was taken.
    pub(super) fn has(&self, manifest: &Digest) -> bool {
        lock(&self.manifests).contains_key(manifest)
    }

    /// Where the trees of a run are in its input roots.
    pub(super) fn places(header: &RunHeader) -> Vec<PlacedTree> {
        let paths = paths(header).into_iter().enumerate();
        paths
            .map(|(index, path)| PlacedTree {
                path: path.to_owned(),
                at: format!("{TREES}/{index}"),
            })
            .collect()
    }

    /// The input root of a shard that has cases of these binaries. Blocks.
    pub(super) fn root(
        &self,
        blobs: &Blobs,
        header: &RunHeader,
        binaries: &BTreeSet<u32>,
        files: Files,
    ) -> Result<Root, EngineError> {
        let inputs = header.inputs.clone().unwrap_or_default();
        let own = binaries.iter().filter_map(|at| header.binaries.get(*at as usize));
        let target = [&inputs.target_manifest]
            .into_iter()
            .chain(own.map(|binary| &binary.manifest));
        let mut trees = vec![
            self.tree(blobs, &inputs.source_manifest)?,
            self.target(blobs, digests(target)?)?,
        ];
        for folder in &inputs.folders {
            trees.push(self.tree(blobs, &folder.manifest)?);
        }
        let roots = trees.iter().map(|tree| tree.root).enumerate();
        let mut folders: Vec<_> = roots.map(|(index, root)| (index.to_string(), root)).collect();
        // The API wants names in the order of their bytes: 10 before 2.
        folders.sort();
        let inner = blobs.add_bytes(directory(Vec::new(), folders).encode_to_vec());
        let nothing = blobs.add_bytes(Directory::default().encode_to_vec());
        let places = PLACES.iter().map(|place| ((*place).to_owned(), nothing));
        let mut folders: Vec<_> = places.chain([(TREES.to_owned(), inner)]).collect();
        folders.sort();
        let files = vec![
            file(RUN, files.run, false),
            file(SHARD, files.shard, false),
            file(RUNNER, files.runner, true),
        ];
        let name = blobs.add_bytes(directory(files, folders).encode_to_vec());
        Ok(Root {
            name,
            own: vec![inner, nothing, name],
            trees,
        })
    }

    /// The tree of a manifest; without one an empty tree.
    fn tree(&self, blobs: &Blobs, manifest: &Bytes) -> Result<Arc<Tree>, EngineError> {
        let manifests = digests([manifest])?;
        let Some(digest) = manifests.first() else {
            return self.build(blobs, &manifests);
        };
        if let Some(tree) = lock(&self.trees).get(digest) {
            return Ok(tree.clone());
        }
        let tree = self.build(blobs, &manifests)?;
        lock(&self.trees).insert(*digest, tree.clone());
        Ok(tree)
    }

    /// The target folder of a shard.
    fn target(&self, blobs: &Blobs, manifests: Vec<Digest>) -> Result<Arc<Tree>, EngineError> {
        if let Some(tree) = lock(&self.targets).get(&manifests) {
            return Ok(tree.clone());
        }
        let tree = self.build(blobs, &manifests)?;
        let mut targets = lock(&self.targets);
        if targets.len() >= TARGETS_MAX {
            targets.clear();
        }
        targets.insert(manifests, tree.clone());
        Ok(tree)
    }

    /// Makes the tree of these manifests together.
    fn build(&self, blobs: &Blobs, manifests: &[Digest]) -> Result<Arc<Tree>, EngineError> {
        let mut entries = Vec::new();
        for digest in manifests {
            let bytes = lock(&self.manifests).get(digest).cloned();
            let bytes = bytes.ok_or(EngineError::Undelivered(*digest))?;
            let manifest = Manifest::parse(&bytes).map_err(|error| EngineError::Tree(error.to_string()))?;
            entries.extend(manifest.entries().iter().cloned());
        }
        // Binaries share libraries.
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries.dedup();
        let manifest = Manifest::new(entries).map_err(|error| EngineError::Tree(error.to_string()))?;
        let mut names = Vec::new();
        let built = build(&manifest, blobs.function(), |digest, _| {
            let name = blobs.name_of(digest)?;
            names.push(name);
            Ok(name)
        });
        let built = built.map_err(|error: BuildError<EngineError>| match error {
            BuildError::Name(error) => error,
            error @ BuildError::NotText(_) => EngineError::Tree(error.to_string()),
        })?;
        for folder in built.tree.children.iter().chain(&built.tree.root) {
            names.push(blobs.add_bytes(folder.encode_to_vec()));
        }
        Ok(Arc::new(Tree {
            root: built.root_name,
            blobs: Together::of(names),
        }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The absolute paths of a run's trees: sources, target folder, others.
fn paths(header: &RunHeader) -> Vec<&str> {
    let Some(inputs) = &header.inputs else {
        return Vec::new();
    };
    let others = inputs.folders.iter().map(|folder| folder.path.as_str());
    [inputs.source_root.as_str(), inputs.target_root.as_str()]
        .into_iter()
        .chain(others)
        .collect()
}

/// An empty one is an empty tree.
fn digests<'a>(manifests: impl IntoIterator<Item = &'a Bytes>) -> Result<Vec<Digest>, EngineError> {
    let named = manifests.into_iter().filter(|digest| !digest.is_empty());
    named
        .map(|digest| {
            digest_from_wire("manifest", digest).map_err(|error| EngineError::Tree(error.to_string()))
        })
        .collect()
}

fn directory(files: Vec<FileNode>, folders: Vec<(String, BlobName)>) -> Directory {
    let folder = |(name, digest): (String, BlobName)| DirectoryNode {
        name,
        digest: Some(digest.to_wire()),
    };
    Directory {
        files,
        directories: folders.into_iter().map(folder).collect(),
        ..Directory::default()
    }
}

fn file(name: &str, digest: BlobName, is_executable: bool) -> FileNode {
    FileNode {
        name: name.to_owned(),
        digest: Some(digest.to_wire()),
        is_executable,
        node_properties: None,
    }
}
