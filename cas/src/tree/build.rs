//! From a manifest to `Directory` messages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bazel_remote_apis::build::bazel::remote::execution::v2;
use prost::Message;
use thresh_core::digest::Digest;

use crate::manifest::{EntryKind, Manifest};
use crate::packs::{BlobName, DigestFunction};

/// A manifest has no such tree.
#[derive(Debug, thiserror::Error)]
pub enum BuildError<E> {
    /// The Remote Execution API has only names that are UTF-8.
    #[error("name {}: the Remote Execution API has only names that are UTF-8; rename it", .0.display())]
    NotText(PathBuf),
    /// A file has no name by the digest function.
    #[error(transparent)]
    Name(E),
}

/// A tree of messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// The root's name.
    pub root_name: BlobName,
    /// All of its folders, each once: the root, then the others in no order that matters.
    pub tree: v2::Tree,
}

/// Makes the messages of a manifest. `name_of` names a file's content by the digest function.
///
/// # Errors
/// A path is not UTF-8, or a file cannot be named.
pub fn build<E>(
    manifest: &Manifest,
    function: DigestFunction,
    mut name_of: impl FnMut(&Digest, u64) -> Result<BlobName, E>,
) -> Result<Built, BuildError<E>> {
    let mut root = Node::default();
    for entry in manifest.entries() {
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| BuildError::NotText(entry.path.clone()))
        };
        let (folder, name) = match &entry.kind {
            EntryKind::EmptyDir => (Some(entry.path.as_path()), String::new()),
            _ => (
                entry.path.parent(),
                text(entry.path.file_name().unwrap_or_default().as_ref())?,
            ),
        };
        let node = root.at(&text(folder.unwrap_or(Path::new("")))?);
        match &entry.kind {
            EntryKind::EmptyDir => {}
            EntryKind::Symlink { target } => node.own.symlinks.push(v2::SymlinkNode {
                name,
                target: text(target)?,
                node_properties: None,
            }),
            EntryKind::File { digest, size, .. } | EntryKind::OnDemand { digest, size } => {
                let digest = name_of(digest, *size).map_err(BuildError::Name)?;
                node.own.files.push(v2::FileNode {
                    name,
                    digest: Some(digest.to_wire()),
                    is_executable: matches!(entry.kind, EntryKind::File { executable: true, .. }),
                    node_properties: None,
                });
            }
        }
    }
    let mut children = BTreeMap::new();
    let (root_name, root) = root.finish(function, &mut children);
    let tree = v2::Tree {
        root: Some(root),
        children: children.into_values().collect(),
    };
    Ok(Built { root_name, tree })
}

#[derive(Default)]
struct Node {
    own: v2::Directory,
    folders: BTreeMap<String, Node>,
}

impl Node {
    fn at(&mut self, path: &str) -> &mut Self {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(self, |node, name| {
            node.folders.entry(name.to_owned()).or_default()
        })
    }

    /// Its message and name; those of the folders in it are added to `all`.
    fn finish(
        mut self,
        function: DigestFunction,
        all: &mut BTreeMap<BlobName, v2::Directory>,
    ) -> (BlobName, v2::Directory) {
        for (name, node) in self.folders {
            let (digest, message) = node.finish(function, all);
            all.insert(digest, message);
            self.own.directories.push(v2::DirectoryNode {
                name,
                digest: Some(digest.to_wire()),
            });
        }
        // A manifest is sorted by whole paths, which is the order of names within a folder, too.
        let name = BlobName::of(function, &self.own.encode_to_vec());
        (name, self.own)
    }
}
