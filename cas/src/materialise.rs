//! A tree built from a manifest and a store, mostly of hard links.

use crate::hash::digest_file;
use crate::manifest::{EntryKind, Manifest};
use crate::stamp::FileStamp;
use crate::store::{BlobStore, StoreError, Variant, blob_time, is_disk_full};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

/// A tree could not be built. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// Blobs that the tree needs are not in the store, or were found damaged and removed: fetch them and try
    /// again.
    #[error("build {}: {} blobs are missing, the first is {}", path.display(), digests.len(), digests[0])]
    Missing {
        /// The tree.
        path: PathBuf,
        /// The blobs, sorted; at least one.
        digests: Vec<Digest>,
    },
    /// Something is at the destination already.
    #[error("build {}: it already exists", path.display())]
    Exists {
        /// The tree.
        path: PathBuf,
    },
    /// The disk, or the user's share of it, is full.
    #[error("build {}: the disk is full; free some space there", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// A blob could not be had.
    #[error("build {}: {cause}", path.display())]
    Store {
        /// The tree.
        path: PathBuf,
        /// Why.
        cause: StoreError,
    },
    /// Any other trouble with a file.
    #[error("build {}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl MaterialiseError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store { cause, .. } => cause.fault(),
            Self::Missing { .. } | Self::Exists { .. } | Self::DiskFull { .. } | Self::Io { .. } => {
                Fault::Environment
            }
        }
    }

    fn io(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        if is_disk_full(&cause) {
            Self::DiskFull { path }
        } else {
            Self::Io { path, cause }
        }
    }
}

/// How a tree was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Materialised {
    /// Files that share their blob's inode.
    pub files_linked: u64,
    /// Files that had to be copied: the store is on another device, or an inode has too many links.
    pub files_copied: u64,
}

/// Builds the tree of `manifest` at `destination`, which must not exist (an empty folder may), out of verified
/// blobs. It appears at once and whole, by rename from a folder beside it whose name begins with
/// `.thresh-tmp-`.
///
/// Files on demand are left out. Folders have mode 0755, files 0644 or, when executable, 0755. Files share their inodes with the store: where
/// something might write to the tree with the power to, mount it read-only or below an overlay.
///
/// # Errors
/// Blobs are missing, the destination exists, or the disk is full or cannot be written to.
pub fn materialise(
    manifest: &Manifest,
    store: &BlobStore,
    destination: &Path,
) -> Result<Materialised, MaterialiseError> {
    let failed = |cause| MaterialiseError::io(destination, cause);
    let parent = destination
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let tree = tempfile::Builder::new()
        .prefix(".thresh-tmp-")
        .tempdir_in(parent)
        .map_err(failed)?;
    make_folders(manifest, tree.path())?;
    let counts = make_files(manifest, store, tree.path(), destination)?;
    make_links(manifest, tree.path())?;
    fs::set_permissions(tree.path(), folder_mode()).map_err(failed)?;
    fs::rename(tree.path(), destination).map_err(|cause| match cause.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            MaterialiseError::Exists {
                path: destination.to_owned(),
            }
        }
        _ => failed(cause),
    })?;
    let _ = tree.keep();
    Ok(counts)
}

/// Whether the files of a tree that was built once still have the content that `manifest` says. A blob whose file has changed is
/// found damaged, and removed from the store; its links in trees stay.
pub fn is_intact(tree: &Path, manifest: &Manifest, store: &BlobStore) -> bool {
    group(manifest).par_iter().all(|places| {
        let blob = store.verified_as(&places.digest, Variant::of(places.executable));
        let blob =
            blob.and_then(|path| FileStamp::of(&path).map_err(|cause| StoreError::io("read", &path, cause)));
        places.paths.iter().all(|path| {
            let path = tree.join(path);
            let is_link = match (&blob, FileStamp::of(&path)) {
                (Ok(blob), Ok(own)) => (blob.dev, blob.ino) == (own.dev, own.ino),
                _ => false,
            };
            // A copy, or a link to a blob that has been dropped.
            is_link || digest_file(&path).is_ok_and(|read| read.digest == places.digest)
        })
    })
}

fn folder_mode() -> fs::Permissions {
    fs::Permissions::from_mode(0o755)
}

fn make_folders(manifest: &Manifest, tree: &Path) -> Result<(), MaterialiseError> {
    let mut folders: BTreeSet<&Path> = BTreeSet::new();
    for entry in manifest.entries() {
        let own = matches!(entry.kind, EntryKind::EmptyDir).then_some(entry.path.as_path());
        let above = entry.path.ancestors().skip(1);
        for folder in own
            .into_iter()
            .chain(above)
            .take_while(|folder| !folder.as_os_str().is_empty())
        {
            if !folders.insert(folder) {
                break;
            }
        }
    }
    // Sorted, so that each folder comes after the one it lies in.
    for folder in folders {
        let path = tree.join(folder);
        // The mode is set apart, since the umask takes from what a folder is made with.
        let made = fs::create_dir(&path).and_then(|()| fs::set_permissions(&path, folder_mode()));
        made.map_err(|cause| MaterialiseError::io(&path, cause))?;
    }
    Ok(())
}

/// All places of one blob in the tree.
struct Places<'a> {
    digest: Digest,
    executable: bool,
    paths: Vec<&'a Path>,
}

fn make_files(
    manifest: &Manifest,
    store: &BlobStore,
    tree: &Path,
    destination: &Path,
) -> Result<Materialised, MaterialiseError> {
    let places = group(manifest);
    let (linked, copied) = (AtomicU64::new(0), AtomicU64::new(0));
    let missing = places
        .par_iter()
        .filter_map(|places| match place(places, store, tree) {
            Ok(counts) => {
                linked.fetch_add(counts.files_linked, Ordering::Relaxed);
                copied.fetch_add(counts.files_copied, Ordering::Relaxed);
                None
            }
            Err(PlaceError::Store(StoreError::Missing { digest } | StoreError::Damaged { digest })) => {
                Some(Ok(digest))
            }
            Err(PlaceError::Store(StoreError::DiskFull { path })) => {
                Some(Err(MaterialiseError::DiskFull { path }))
            }
            Err(PlaceError::Store(cause)) => Some(Err(MaterialiseError::Store {
                path: destination.to_owned(),
                cause,
            })),
            Err(PlaceError::Tree(error)) => Some(Err(error)),
        });
    let mut digests = missing.collect::<Result<Vec<Digest>, MaterialiseError>>()?;
    if digests.is_empty() {
        return Ok(Materialised {
            files_linked: linked.into_inner(),
            files_copied: copied.into_inner(),
        });
    }
    digests.sort_unstable();
    digests.dedup();
    Err(MaterialiseError::Missing {
        path: destination.to_owned(),
        digests,
    })
}

fn group(manifest: &Manifest) -> Vec<Places<'_>> {
    let mut files: Vec<(Digest, bool, &Path)> = Vec::new();
    for entry in manifest.entries() {
        if let EntryKind::File {
            digest, executable, ..
        } = entry.kind
        {
            files.push((digest, executable, &entry.path));
        }
    }
    files.sort_unstable();
    let same = |a: &(Digest, bool, &Path), b: &(Digest, bool, &Path)| (a.0, a.1) == (b.0, b.1);
    let places = files.chunk_by(same).map(|chunk| Places {
        digest: chunk[0].0,
        executable: chunk[0].1,
        paths: chunk.iter().map(|(_, _, path)| *path).collect(),
    });
    places.collect()
}

fn make_links(manifest: &Manifest, tree: &Path) -> Result<(), MaterialiseError> {
    for entry in manifest.entries() {
        if let EntryKind::Symlink { target } = &entry.kind {
            let path = tree.join(&entry.path);
            symlink(target, &path).map_err(|cause| MaterialiseError::io(&path, cause))?;
        }
    }
    Ok(())
}

enum PlaceError {
    Store(StoreError),
    Tree(MaterialiseError),
}

fn place(places: &Places<'_>, store: &BlobStore, tree: &Path) -> Result<Materialised, PlaceError> {
    let Places {
        digest, executable, ..
    } = places;
    let mut counts = Materialised::default();
    for path in &places.paths {
        let path = tree.join(path);
        if store
            .link(digest, *executable, &path)
            .map_err(PlaceError::Store)?
        {
            counts.files_linked += 1;
            continue;
        }
        let blob = store.verified_as(digest, Variant::of(*executable));
        copy(&blob.map_err(PlaceError::Store)?, &path, digest)?;
        counts.files_copied += 1;
    }
    Ok(counts)
}

fn copy(blob: &Path, path: &Path, digest: &Digest) -> Result<(), PlaceError> {
    let failed = |cause: io::Error| match blob.symlink_metadata() {
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
            PlaceError::Store(StoreError::Missing { digest: *digest })
        }
        _ => PlaceError::Tree(MaterialiseError::io(path, cause)),
    };
    fs::copy(blob, path).map_err(failed)?;
    // `copy` has carried over the mode; a file may be given times whatever its mode by its owner.
    let file = fs::File::open(path).map_err(failed)?;
    file.set_modified(blob_time()).map_err(failed)
}

#[cfg(test)]
mod tests;
