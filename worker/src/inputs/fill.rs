//! Files of a manifest, brought into a folder that may hold others already.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use thresh_cas::{BlobStore, Entry, EntryKind, Manifest, StoreError};
use thresh_core::digest::Digest;

use super::error::PrepareError;

/// How a file comes into a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It shares no inode with the store, and may be written to.
    Copy,
    /// It shares its blob's inode where that can be had: nobody may write to the folder.
    Link,
}

/// Adds what `folder` does not have yet, files on demand excepted; what it has is left alone.
///
/// Returns the blobs that are missing or were found damaged: fetch them and call again.
pub(super) fn add_files(
    manifest: &Manifest,
    store: &BlobStore,
    folder: &Path,
    way: Way,
) -> Result<Vec<Digest>, PrepareError> {
    let mut missing = Vec::new();
    for entry in manifest.entries() {
        match add_entry(entry, store, folder, way) {
            Ok(()) => {}
            Err(AddError::Store(StoreError::Missing { digest } | StoreError::Damaged { digest })) => {
                missing.push(digest);
            }
            Err(AddError::Store(error)) => return Err(error.into()),
            Err(AddError::Io(cause)) => {
                return Err(PrepareError::io("write", &folder.join(&entry.path), &cause));
            }
        }
    }
    Ok(missing)
}

enum AddError {
    Store(StoreError),
    Io(io::Error),
}

impl From<io::Error> for AddError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

fn add_entry(entry: &Entry, store: &BlobStore, folder: &Path, way: Way) -> Result<(), AddError> {
    let path = folder.join(&entry.path);
    if fs::symlink_metadata(&path).is_ok() {
        return Ok(());
    }
    let parent = path.parent().expect("an entry lies in the folder");
    DirBuilder::new().recursive(true).create(folder)?;
    make_folders(folder, parent)?;
    match &entry.kind {
        EntryKind::OnDemand { .. } => {}
        EntryKind::EmptyDir => fs::create_dir(&path)?,
        EntryKind::Symlink { target } => symlink(target, &path)?,
        EntryKind::File {
            digest, executable, ..
        } => {
            if way == Way::Link && store.link(digest, *executable, &path).map_err(AddError::Store)? {
                return Ok(());
            }
            let blob = store.path_verified(digest).map_err(AddError::Store)?;
            let copy = tempfile::Builder::new()
                .prefix(".thresh-tmp-")
                .tempfile_in(parent)?
                .into_temp_path();
            fs::copy(blob, &copy)?;
            fs::set_permissions(
                &copy,
                Permissions::from_mode(if *executable { 0o755 } else { 0o644 }),
            )?;
            // Appears at once and whole: a case may look into the folder meanwhile.
            copy.persist(&path).map_err(|error| error.error)?;
        }
    }
    Ok(())
}

/// Makes the folders below `base` down to `folder`. A symbolic link among them, which another manifest or a case
/// may have left there, is refused: it could lead anywhere.
pub(super) fn make_folders(base: &Path, folder: &Path) -> io::Result<()> {
    let below = folder.strip_prefix(base).map_err(io::Error::other)?;
    let mut at = base.to_owned();
    for name in below {
        at.push(name);
        match fs::create_dir(&at) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
            _ => {}
        }
        if !fs::symlink_metadata(&at)?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is no folder", at.display()),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;

    fn file(path: &str, content: &[u8], executable: bool) -> Entry {
        let kind = EntryKind::File {
            digest: Digest::of(content),
            size: content.len() as u64,
            executable,
        };
        Entry {
            path: PathBuf::from(path),
            kind,
        }
    }

    #[test]
    fn links_do_not_lead_copies_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(&dir.path().join("blobs")).unwrap();
        store.put_bytes(b"content").unwrap();
        let (folder, outside) = (dir.path().join("target"), dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        let link = Entry {
            path: "debug".into(),
            kind: EntryKind::Symlink {
                target: outside.clone(),
            },
        };
        let link = Manifest::new(vec![link]).unwrap();
        let below = Manifest::new(vec![file("debug/deps/file", b"content", false)]).unwrap();
        assert_eq!(add_files(&link, &store, &folder, Way::Copy).unwrap(), []);
        let error = add_files(&below, &store, &folder, Way::Link).unwrap_err();
        assert!(error.to_string().contains("debug is no folder"), "{error}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn copies_are_writable_and_the_store_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(&dir.path().join("blobs")).unwrap();
        let digest = store.put_bytes(b"program").unwrap();
        let link = Entry {
            path: "debug/link".into(),
            kind: EntryKind::Symlink {
                target: "prog".into(),
            },
        };
        let empty = Entry {
            path: "debug/empty".into(),
            kind: EntryKind::EmptyDir,
        };
        let manifest = Manifest::new(vec![
            file("debug/prog", b"program", true),
            file("debug/absent", b"absent", false),
            link,
            empty,
        ])
        .unwrap();
        let folder = dir.path().join("target");
        assert_eq!(
            add_files(&manifest, &store, &folder, Way::Copy).unwrap(),
            [Digest::of(b"absent")]
        );
        let program = folder.join("debug/prog");
        let metadata = fs::metadata(&program).unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.nlink()), (0o755, 1));
        assert_eq!(
            fs::read_link(folder.join("debug/link")).unwrap(),
            Path::new("prog")
        );
        assert!(folder.join("debug/empty").is_dir());

        fs::write(&program, "changed").unwrap();
        store.put_bytes(b"absent").unwrap();
        assert_eq!(add_files(&manifest, &store, &folder, Way::Copy).unwrap(), []);
        assert_eq!(fs::read(&program).unwrap(), b"changed");
        assert_eq!(
            fs::read(store.path_verified(&digest).unwrap()).unwrap(),
            b"program"
        );
    }
}
