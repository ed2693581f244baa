//! The rules of a manifest.

use super::{Entry, EntryKind, ManifestError, PathDefect};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest path in bytes (`PATH_MAX`).
pub(crate) const PATH_BYTES_MAX: usize = 4_095;
/// The most names in a path. Who walks a tree may go a level deeper into its own stack for each.
pub(crate) const LEVELS_MAX: usize = 512;

/// Checks everything that makes entries a manifest.
pub(super) fn check(entries: &[Entry]) -> Result<(), ManifestError> {
    for entry in entries {
        check_entry(entry)?;
    }
    for pair in entries.windows(2) {
        let path = || pair[1].path.clone();
        match bytes(&pair[0].path).cmp(bytes(&pair[1].path)) {
            Ordering::Less => {}
            Ordering::Equal => return Err(ManifestError::Duplicate { path: path() }),
            Ordering::Greater => return Err(ManifestError::Unsorted { path: path() }),
        }
    }
    check_nesting(entries)
}

pub(super) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

fn check_entry(entry: &Entry) -> Result<(), ManifestError> {
    if let Some(defect) = path_defect(bytes(&entry.path)) {
        return Err(ManifestError::Path {
            path: entry.path.clone(),
            defect,
        });
    }
    match &entry.kind {
        EntryKind::Symlink { target } if target.as_os_str().is_empty() || bytes(target).contains(&0) => {
            Err(ManifestError::Target {
                path: entry.path.clone(),
            })
        }
        _ => Ok(()),
    }
}

fn path_defect(path: &[u8]) -> Option<PathDefect> {
    if path.is_empty() {
        return Some(PathDefect::Empty);
    }
    if path[0] == b'/' {
        return Some(PathDefect::Absolute);
    }
    if path.contains(&0) {
        return Some(PathDefect::Nul);
    }
    if path.len() > PATH_BYTES_MAX {
        return Some(PathDefect::TooLong);
    }
    path.split(|byte| *byte == b'/')
        .enumerate()
        .find_map(|(level, component)| match component {
            _ if level == LEVELS_MAX => Some(PathDefect::TooDeep),
            b".." => Some(PathDefect::Parent),
            b"." | b"" => Some(PathDefect::NotNormal),
            _ => None,
        })
}

fn check_nesting(entries: &[Entry]) -> Result<(), ManifestError> {
    let paths: HashSet<&[u8]> = entries.iter().map(|entry| bytes(&entry.path)).collect();
    // Neighbours mostly share their folder: each folder's ancestors are looked up once.
    let mut folder_before: &[u8] = &[];
    for entry in entries {
        let folder = parent(bytes(&entry.path));
        if folder == folder_before {
            continue;
        }
        folder_before = folder;
        let mut above = folder;
        while !above.is_empty() {
            if paths.contains(above) {
                let above = PathBuf::from(OsStr::from_bytes(above));
                return Err(ManifestError::Below {
                    path: entry.path.clone(),
                    above,
                });
            }
            above = parent(above);
        }
    }
    Ok(())
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter()
        .rposition(|byte| *byte == b'/')
        .map_or(&[], |slash| &path[..slash])
}
