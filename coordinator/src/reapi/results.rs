//! Results of actions, and whether all that they name is still there.

use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2::{self, ActionResult};
use prost::Message;
use thresh_cas::{BlobName, DigestFunction, PackStore, entries_of_tree};
use thresh_core::digest::{Digest, FieldHasher};
use tonic::Status;

use super::instance::Instance;
use super::state::{Reapi, blocking};
use crate::store::Kept;

/// The longest `Tree` of an output in bytes, and the most entries in it: it is read whenever its result is asked for.
const TREE_BYTES_MAX: u64 = 64 << 20;
const TREE_ENTRIES_MAX: usize = 1_000_000;
/// Results whose trees are longer together are looked at a few at a time.
const TREES_BYTES_MAX: i64 = 1 << 20;
/// The longest result in bytes.
const RESULT_BYTES_MAX: usize = 4 << 20;

/// Under which key the result of an action is kept in a namespace.
pub(super) fn key(namespace: &str, action: &BlobName) -> Digest {
    let mut hasher = FieldHasher::new("thresh result of an action v1");
    let function = action.function.word().as_bytes();
    hasher
        .field(namespace.as_bytes())
        .field(function)
        .field(&action.hash);
    hasher.field(&action.size.to_le_bytes());
    hasher.finish()
}

impl Reapi {
    /// The result of an action that an instance may see, if everything that it names is there.
    pub(super) async fn result(
        &self,
        instance: &Instance,
        action: &BlobName,
    ) -> Result<Option<ActionResult>, Status> {
        let function = action.function;
        for namespace in instance.namespaces() {
            let key = key(&namespace, action);
            let Some(encoded) = self.encoded_result(key).await? else {
                continue;
            };
            // What cannot be read is as if it were not there: the action is executed again.
            let Ok(result) = ActionResult::decode(&encoded[..]) else {
                continue;
            };
            let blobs = self.blobs.clone();
            let is_large = trees(&result).fold(0, |sum: i64, tree| sum.saturating_add(tree.size_bytes))
                > TREES_BYTES_MAX;
            let look = move || Ok((is_whole(&blobs, function, &result), result));
            let (is_whole, result) = match is_large {
                true => self.expanding(look).await?,
                false => blocking(look).await?,
            };
            if is_whole {
                return Ok(Some(result));
            }
        }
        Ok(None)
    }

    async fn encoded_result(&self, key: Digest) -> Result<Option<Arc<[u8]>>, Status> {
        if let Some(result) = self.recent.get(&key) {
            return Ok(Some(result));
        }
        let found = self
            .store
            .kept(Kept::ActionResults, &[key], self.clock.now())
            .await;
        let found = found.map_err(|error| crate::services::status_of_store(&error))?;
        let found = found.into_iter().flatten().next();
        if let Some(result) = &found {
            self.recent.put(key, result);
        }
        Ok(found.map(Arc::from))
    }

    /// Keeps the result of an action for an instance.
    pub(super) async fn keep_result(
        &self,
        instance: &Instance,
        action: &BlobName,
        result: &ActionResult,
    ) -> Result<(), Status> {
        let encoded = encode(result)?;
        let key = key(&instance.namespace(), action);
        let kept = self
            .store
            .keep(Kept::ActionResults, &[(key, encoded.clone())], self.clock.now())
            .await;
        kept.map_err(|error| crate::services::status_of_store(&error))?;
        self.recent.put(key, &encoded);
        Ok(())
    }
}

/// Encodes a result, if it is one that is kept.
fn encode(result: &ActionResult) -> Result<Vec<u8>, Status> {
    let is_long = |tree: &&v2::Digest| u64::try_from(tree.size_bytes).is_ok_and(|size| size > TREE_BYTES_MAX);
    if let Some(tree) = trees(result).find(is_long) {
        let size = tree.size_bytes;
        let problem = format!("the tree of a folder has {TREE_BYTES_MAX} bytes at most, this one {size}");
        return Err(Status::invalid_argument(problem));
    }
    let encoded = result.encode_to_vec();
    if encoded.len() > RESULT_BYTES_MAX {
        let problem = format!(
            "a result has {RESULT_BYTES_MAX} bytes at most, this one {}",
            encoded.len()
        );
        return Err(Status::invalid_argument(problem));
    }
    Ok(encoded)
}

fn trees(result: &ActionResult) -> impl Iterator<Item = &v2::Digest> {
    let folders = result.output_directories.iter();
    folders.filter_map(|folder| folder.tree_digest.as_ref())
}

/// Whether all blobs of a result are there; they count as just used.
fn is_whole(blobs: &PackStore, function: DigestFunction, result: &ActionResult) -> bool {
    let is_there = |digest: &v2::Digest| {
        BlobName::from_wire(function, digest).is_some_and(|name| blobs.locate(&name).is_some())
    };
    let streams = [&result.stdout_digest, &result.stderr_digest];
    let files = result.output_files.iter().map(|file| file.digest.as_ref());
    streams.into_iter().flatten().all(is_there)
        && files.into_iter().all(|digest| digest.is_some_and(is_there))
        && result.output_directories.iter().all(|folder| {
            let tree = folder.tree_digest.as_ref();
            tree.is_some_and(|tree| is_tree_whole(blobs, function, tree))
        })
}

fn is_tree_whole(blobs: &PackStore, function: DigestFunction, tree: &v2::Digest) -> bool {
    let read = || {
        let name = BlobName::from_wire(function, tree).filter(|name| name.size <= TREE_BYTES_MAX)?;
        let content = blobs.read_whole(&blobs.locate(&name)?).ok()?;
        let is_sound = entries_of_tree(&content) <= TREE_ENTRIES_MAX;
        is_sound.then(|| v2::Tree::decode(&content[..]).ok()).flatten()
    };
    read().is_some_and(|tree| {
        let folders = tree.root.iter().chain(&tree.children);
        let mut files = folders.flat_map(|folder| &folder.files);
        files.all(|file| {
            let name = file
                .digest
                .as_ref()
                .and_then(|digest| BlobName::from_wire(function, digest));
            name.is_some_and(|name| blobs.locate(&name).is_some())
        })
    })
}

#[cfg(test)]
mod tests {
    use thresh_proto::testing::fuzz;

    use super::*;

    /// A store and a tree in it.
    fn stored(content: &[u8]) -> (tempfile::TempDir, PackStore, v2::Digest) {
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let name = BlobName::of(DigestFunction::Sha256, content);
        store.ingest(&name, content).unwrap();
        (folder, store, name.to_wire())
    }

    #[test]
    fn results_with_endless_trees_are_not_kept() {
        let result = |size_bytes| ActionResult {
            output_directories: vec![v2::OutputDirectory {
                tree_digest: Some(v2::Digest {
                    size_bytes,
                    ..v2::Digest::default()
                }),
                ..v2::OutputDirectory::default()
            }],
            ..ActionResult::default()
        };
        assert!(encode(&result(64 << 20)).is_ok());
        let refused = encode(&result((64 << 20) + 1)).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains("67108864 bytes at most"), "{refused}");
    }

    #[test]
    fn a_tree_is_whole_when_it_can_be_read_and_its_files_are_there() {
        let tree = v2::Tree {
            root: Some(v2::Directory::default()),
            ..v2::Tree::default()
        };
        let (_folder, store, digest) = stored(&tree.encode_to_vec());
        assert!(is_tree_whole(&store, DigestFunction::Sha256, &digest));
        // Folders without end, of two bytes each.
        let (_folder, store, digest) = stored(&[0x12, 0].repeat(TREE_ENTRIES_MAX + 1));
        assert!(!is_tree_whole(&store, DigestFunction::Sha256, &digest));
    }

    /// A result with everything that one can name, all of it in a store, and a tree of it.
    fn named(store: &PackStore) -> (ActionResult, v2::Tree) {
        let put = |content: &[u8]| {
            let name = BlobName::of(DigestFunction::Sha256, content);
            store.ingest(&name, content).unwrap();
            Some(name.to_wire())
        };
        let file = v2::FileNode {
            name: "file".to_owned(),
            digest: put(b"content"),
            ..v2::FileNode::default()
        };
        let folder = v2::Directory {
            files: vec![file],
            ..v2::Directory::default()
        };
        let tree = v2::Tree {
            root: Some(folder.clone()),
            children: vec![folder],
        };
        let result = ActionResult {
            output_files: vec![v2::OutputFile {
                path: "out".to_owned(),
                digest: put(b"out"),
                ..v2::OutputFile::default()
            }],
            output_directories: vec![v2::OutputDirectory {
                path: "all".to_owned(),
                tree_digest: put(&tree.encode_to_vec()),
                ..v2::OutputDirectory::default()
            }],
            stdout_digest: put(b"said"),
            stderr_digest: put(b"said in anger"),
            ..ActionResult::default()
        };
        (result, tree)
    }

    /// Whether a store has what this names, by what is said of it nowhere else.
    fn is_stored(store: &PackStore, digest: Option<&v2::Digest>) -> bool {
        let name = digest.and_then(|digest| BlobName::from_wire(DigestFunction::Sha256, digest));
        name.is_some_and(|name| {
            let content = store.locate(&name).map(|found| store.read_whole(&found).unwrap());
            digest == Some(&name.to_wire())
                && content.is_some_and(|content| BlobName::of(DigestFunction::Sha256, &content) == name)
        })
    }

    #[test]
    fn a_result_is_kept_as_it_is_and_whole_when_all_that_it_names_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let (valid, _) = named(&store);
        assert!(is_whole(&store, DigestFunction::Sha256, &valid));
        fuzz(5_000, &valid.encode_to_vec(), |bytes| {
            let Ok(result) = ActionResult::decode(bytes) else {
                return;
            };
            if let Ok(encoded) = encode(&result) {
                assert_eq!(ActionResult::decode(&encoded[..]).unwrap(), result);
            }
            if is_whole(&store, DigestFunction::Sha256, &result) {
                let files = result.output_files.iter().map(|file| file.digest.as_ref());
                let trees = result.output_directories.iter();
                let trees = trees.map(|folder| folder.tree_digest.as_ref());
                let streams = [&result.stdout_digest, &result.stderr_digest];
                let streams = streams.into_iter().filter(|digest| digest.is_some());
                for digest in files.chain(trees).chain(streams.map(Option::as_ref)) {
                    assert!(is_stored(&store, digest), "{digest:?}");
                }
            }
        });
    }

    #[test]
    fn a_tree_that_is_whole_names_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        let (_, valid) = named(&store);
        let look = |bytes: &[u8]| {
            let name = BlobName::of(DigestFunction::Sha256, bytes);
            store.ingest(&name, bytes).unwrap();
            is_tree_whole(&store, DigestFunction::Sha256, &name.to_wire())
        };
        assert!(look(&valid.encode_to_vec()));
        fuzz(2_000, &valid.encode_to_vec(), |bytes| {
            if look(bytes) {
                let tree = v2::Tree::decode(bytes).unwrap();
                let folders = tree.root.iter().chain(&tree.children);
                for file in folders.flat_map(|folder| &folder.files) {
                    assert!(is_stored(&store, file.digest.as_ref()), "{file:?}");
                }
            }
        });
    }
}
