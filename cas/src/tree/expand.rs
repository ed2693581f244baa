//! From `Directory` messages to a manifest.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2;
use prost::Message;
use thresh_core::digest::Digest;

use super::entries::entries;
use super::error::{NameDefect, TreeError};
use crate::manifest::{Entry, EntryKind, LEVELS_MAX, Manifest, PATH_BYTES_MAX};
use crate::packs::{BlobName, PackStore};

/// The most entries of a tree.
pub const ENTRIES_MAX: usize = 4_000_000;
/// The longest name of an entry in bytes (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;
/// The longest message in bytes, and all messages and all paths of a tree together.
const DIRECTORY_BYTES_MAX: u64 = 16 << 20;
/// The most entries of a message. An entry with the digest that it needs has over 64 bytes, so that a message of the
/// longest hardly has more; but an empty one has two, and takes a hundred times as much when it is read.
const DIRECTORY_ENTRIES_MAX: usize = 250_000;
const DIRECTORIES_BYTES_MAX: u64 = 256 << 20;
const PATHS_BYTES_MAX: usize = 256 << 20;

/// A folder that was read, and checked by itself.
type Folder = Arc<v2::Directory>;

/// Reads the tree with this root from the store: the paths and digests of all of its files.
///
/// # Errors
/// Something of it is missing in the store, or is not allowed.
pub fn expand(store: &PackStore, root: &BlobName) -> Result<Manifest, TreeError> {
    expand_within(store, root, (ENTRIES_MAX, PATHS_BYTES_MAX))
}

pub(super) fn expand_within(
    store: &PackStore,
    root: &BlobName,
    (entries_max, paths_bytes_max): (usize, usize),
) -> Result<Manifest, TreeError> {
    let mut expansion = Expansion {
        entries_max,
        paths_bytes_max,
        store,
        root: *root,
        folders: HashMap::new(),
        files: HashMap::new(),
        missing: BTreeSet::new(),
        entries: Vec::new(),
        folders_bytes: 0,
        paths_bytes: 0,
    };
    let mut next = vec![(PathBuf::new(), *root)];
    while let Some((at, name)) = next.pop() {
        expansion.folder(at, &name, &mut next)?;
    }
    if !expansion.missing.is_empty() {
        return Err(TreeError::Missing {
            root: *root,
            missing: expansion.missing.into_iter().collect(),
        });
    }
    Ok(Manifest::new(expansion.entries)?)
}

/// The folders of a tree, each once, the root first: no more of them is in memory than their names.
#[derive(Debug)]
pub struct Folders {
    store: PackStore,
    root: BlobName,
    seen: HashSet<BlobName>,
    next: VecDeque<(PathBuf, BlobName)>,
    bytes: u64,
    paths_bytes: usize,
}

/// Reads all folders of the tree with this root. After an error there are no more.
pub fn folders(store: &PackStore, root: &BlobName) -> Folders {
    Folders {
        store: store.clone(),
        root: *root,
        seen: HashSet::from([*root]),
        next: VecDeque::from([(PathBuf::new(), *root)]),
        bytes: 0,
        paths_bytes: 0,
    }
}

impl Iterator for Folders {
    /// Fails when one is missing, or is not allowed.
    type Item = Result<v2::Directory, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (at, name) = self.next.pop_front()?;
        let read = self.read(&at, &name);
        if read.is_err() {
            self.next.clear();
        }
        Some(read)
    }
}

impl Folders {
    fn read(&mut self, at: &Path, name: &BlobName) -> Result<v2::Directory, TreeError> {
        let root = self.root;
        let too_large = |what| Err(TreeError::TooLarge { root, what });
        self.bytes = self.bytes.saturating_add(name.size);
        if self.bytes > DIRECTORIES_BYTES_MAX {
            return too_large(format!("folders of more than {DIRECTORIES_BYTES_MAX} bytes"));
        }
        let folder = read_folder(&self.store, &root, at, name)?.ok_or_else(|| TreeError::Missing {
            root,
            missing: vec![*name],
        })?;
        for inner in &folder.directories {
            let name = name_of(&root, at, &inner.name, inner.digest.as_ref())?;
            if self.seen.insert(name) {
                let path = at.join(&inner.name);
                self.paths_bytes += path.as_os_str().len();
                if self.paths_bytes > PATHS_BYTES_MAX {
                    return too_large(format!("paths of more than {PATHS_BYTES_MAX} bytes together"));
                }
                self.next.push_back((path, name));
            }
        }
        if self.seen.len() > ENTRIES_MAX {
            return too_large(format!("more than {ENTRIES_MAX} folders"));
        }
        Ok(folder)
    }
}

struct Expansion<'a> {
    entries_max: usize,
    paths_bytes_max: usize,
    store: &'a PackStore,
    root: BlobName,
    /// Those that were read; `None` for those that are missing.
    folders: HashMap<BlobName, Option<Folder>>,
    files: HashMap<BlobName, Option<Digest>>,
    missing: BTreeSet<BlobName>,
    entries: Vec<Entry>,
    folders_bytes: u64,
    paths_bytes: usize,
}

impl Expansion<'_> {
    /// Adds a folder's own entries; the folders in it are to come next.
    fn folder(
        &mut self,
        at: PathBuf,
        name: &BlobName,
        next: &mut Vec<(PathBuf, BlobName)>,
    ) -> Result<(), TreeError> {
        if at.components().count() > LEVELS_MAX || at.as_os_str().len() > PATH_BYTES_MAX {
            return Err(self.too_large(format!(
                "folders deeper than {LEVELS_MAX} or paths longer than {PATH_BYTES_MAX} bytes"
            )));
        }
        let Some(folder) = self.read(&at, name)? else {
            return Ok(());
        };
        let is_empty = folder.files.is_empty() && folder.directories.is_empty() && folder.symlinks.is_empty();
        if is_empty && !at.as_os_str().is_empty() {
            self.add(at, EntryKind::EmptyDir)?;
            return Ok(());
        }
        for file in &folder.files {
            let name = name_of(&self.root, &at, &file.name, file.digest.as_ref())?;
            if let Some(digest) = self.file(&name) {
                let (size, executable) = (name.size, file.is_executable);
                let kind = EntryKind::File {
                    digest,
                    size,
                    executable,
                };
                self.add(at.join(&file.name), kind)?;
            }
        }
        for link in &folder.symlinks {
            check_target(&at, link)?;
            let target = link.target.as_str().into();
            self.add(at.join(&link.name), EntryKind::Symlink { target })?;
        }
        for inner in &folder.directories {
            let name = name_of(&self.root, &at, &inner.name, inner.digest.as_ref())?;
            let path = at.join(&inner.name);
            self.count(&path)?;
            next.push((path, name));
        }
        if next.len() + self.entries.len() > self.entries_max {
            return Err(self.too_many());
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, kind: EntryKind) -> Result<(), TreeError> {
        if self.entries.len() == self.entries_max {
            return Err(self.too_many());
        }
        self.count(&path)?;
        self.entries.push(Entry { path, kind });
        Ok(())
    }

    /// Counts a path that stays in memory.
    fn count(&mut self, path: &Path) -> Result<(), TreeError> {
        self.paths_bytes += path.as_os_str().len();
        let most = self.paths_bytes_max;
        match self.paths_bytes > most {
            true => Err(self.too_large(format!("paths of more than {most} bytes together"))),
            false => Ok(()),
        }
    }

    fn too_many(&self) -> TreeError {
        self.too_large(format!("more than {} entries", self.entries_max))
    }

    fn too_large(&self, what: String) -> TreeError {
        TreeError::TooLarge {
            root: self.root,
            what,
        }
    }

    /// Where a file is in the store; it is noted when it is not there.
    fn file(&mut self, name: &BlobName) -> Option<Digest> {
        let (store, missing) = (self.store, &mut self.missing);
        *self.files.entry(*name).or_insert_with(|| {
            let found = store.locate(name);
            if found.is_none() {
                missing.insert(*name);
            }
            found
        })
    }

    /// Reads and checks a folder; `None` when it is missing, which is noted.
    fn read(&mut self, at: &Path, name: &BlobName) -> Result<Option<Folder>, TreeError> {
        if let Some(read) = self.folders.get(name) {
            return Ok(read.clone());
        }
        self.folders_bytes = self.folders_bytes.saturating_add(name.size);
        if self.folders_bytes > DIRECTORIES_BYTES_MAX {
            return Err(self.too_large(format!("folders of more than {DIRECTORIES_BYTES_MAX} bytes")));
        }
        let folder = read_folder(self.store, &self.root, at, name)?.map(|folder| Arc::new(bare(folder)));
        if folder.is_none() {
            self.missing.insert(*name);
        }
        self.folders.insert(*name, folder.clone());
        Ok(folder)
    }
}

/// Reads and checks a folder of the tree with this root; `None` when it is missing.
fn read_folder(
    store: &PackStore,
    root: &BlobName,
    at: &Path,
    name: &BlobName,
) -> Result<Option<v2::Directory>, TreeError> {
    let Some(digest) = store.locate(name) else {
        return Ok(None);
    };
    if name.size > DIRECTORY_BYTES_MAX {
        let what = format!("a folder of more than {DIRECTORY_BYTES_MAX} bytes");
        return Err(TreeError::TooLarge { root: *root, what });
    }
    let unreadable = |cause| TreeError::Unreadable {
        at: at.to_owned(),
        name: *name,
        cause,
    };
    let content = store.read_whole(&digest)?;
    if entries(&content) > DIRECTORY_ENTRIES_MAX {
        let what = format!("a folder of more than {DIRECTORY_ENTRIES_MAX} entries");
        return Err(TreeError::TooLarge { root: *root, what });
    }
    let folder = v2::Directory::decode(&content[..]).map_err(unreadable)?;
    check_names(at, &folder)?;
    Ok(Some(folder))
}

/// A folder without what manifests do not have.
fn bare(mut folder: v2::Directory) -> v2::Directory {
    folder.node_properties = None;
    for file in &mut folder.files {
        file.node_properties = None;
    }
    for link in &mut folder.symlinks {
        link.node_properties = None;
    }
    folder
}

fn name_of(
    root: &BlobName,
    at: &Path,
    name: &str,
    digest: Option<&v2::Digest>,
) -> Result<BlobName, TreeError> {
    let read = digest.and_then(|digest| BlobName::from_wire(root.function, digest));
    read.ok_or_else(|| TreeError::Digest {
        at: at.to_owned(),
        name: name.to_owned(),
    })
}

fn check_names(at: &Path, folder: &v2::Directory) -> Result<(), TreeError> {
    let refuse = |name: &str, defect| {
        Err(TreeError::Name {
            at: at.to_owned(),
            name: name.to_owned(),
            defect,
        })
    };
    let files: Vec<&str> = folder.files.iter().map(|node| node.name.as_str()).collect();
    let folders: Vec<&str> = folder.directories.iter().map(|node| node.name.as_str()).collect();
    let links: Vec<&str> = folder.symlinks.iter().map(|node| node.name.as_str()).collect();
    let mut all = HashSet::new();
    for names in [files, folders, links] {
        for (index, name) in names.iter().enumerate() {
            if matches!(*name, "" | "." | "..") || name.contains(['/', '\0']) || name.len() > NAME_BYTES_MAX {
                return refuse(name, NameDefect::NoName);
            }
            if !all.insert(*name) {
                return refuse(name, NameDefect::Repeated);
            }
            if index > 0 && names[index - 1] > *name {
                return refuse(name, NameDefect::Unsorted);
            }
        }
    }
    Ok(())
}

/// Refuses links that lead out of the tree as they stand.
fn check_target(at: &Path, link: &v2::SymlinkNode) -> Result<(), TreeError> {
    let mut depth = at.components().count();
    let mut leads_outside =
        link.target.is_empty() || link.target.contains('\0') || link.target.len() > PATH_BYTES_MAX;
    for component in Path::new(&link.target).components() {
        match component {
            Component::RootDir | Component::Prefix(_) => leads_outside = true,
            Component::ParentDir => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => leads_outside = true,
            },
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
        }
    }
    if leads_outside {
        return Err(TreeError::Outside {
            at: at.to_owned(),
            name: link.name.clone(),
            target: link.target.clone(),
        });
    }
    Ok(())
}
