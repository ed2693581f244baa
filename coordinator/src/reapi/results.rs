//! Results of actions, and whether all that they name is still there.

use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2::{self, ActionResult};
use prost::Message;
use thresh_cas::{BlobName, DigestFunction, PackStore};
use thresh_core::digest::{Digest, FieldHasher};
use tonic::Status;

use super::instance::Instance;
use super::state::{Reapi, blocking};

/// To look for so many blobs takes no longer than to hand that to another thread.
const FILES_AT_ONCE_MAX: usize = 16;
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
            let is_short =
                result.output_directories.is_empty() && result.output_files.len() <= FILES_AT_ONCE_MAX;
            let (is_whole, result) = if is_short {
                (is_whole(&blobs, function, &result), result)
            } else {
                blocking(move || Ok((is_whole(&blobs, function, &result), result))).await?
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
        let found = self.store.action_results(&[key], self.clock.now()).await;
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
        let encoded = result.encode_to_vec();
        if encoded.len() > RESULT_BYTES_MAX {
            let problem = format!(
                "a result has {RESULT_BYTES_MAX} bytes at most, this one {}",
                encoded.len()
            );
            return Err(Status::invalid_argument(problem));
        }
        let key = key(&instance.namespace(), action);
        let kept = self
            .store
            .put_action_result(key, encoded.clone(), self.clock.now())
            .await;
        kept.map_err(|error| crate::services::status_of_store(&error))?;
        self.recent.put(key, &encoded);
        Ok(())
    }
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
        let digest = blobs.locate(&BlobName::from_wire(function, tree)?)?;
        v2::Tree::decode(&blobs.read_whole(&digest).ok()?[..]).ok()
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
