//! Which files belong to a workspace: those that git does not ignore, or all where there is no git.

use super::git;
use rayon::prelude::*;
use std::cmp::Ordering;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use thresh_core::fault::Fault;

/// A folder's files could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("list {}: {cause}", path.display())]
pub struct ListError {
    /// The file or folder that could not be read.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

impl ListError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        Fault::Environment
    }
}

/// Lists every file and link below `root` that git does not ignore, relative to `root` and sorted bytewise:
/// tracked or not, in submodules and nested repositories too, never anything named `.git`, never below
/// `exclude` (absolute, or relative to `root`). `Cargo.lock` is listed even when it is ignored.
///
/// Where `root` is in no git work tree, or is itself ignored by the one around it, or no git program can list
/// it, everything counts as not ignored, empty folders included.
///
/// # Errors
/// A folder cannot be read.
pub fn workspace_files(root: &Path, exclude: &[PathBuf]) -> Result<Vec<PathBuf>, ListError> {
    Ok(list_workspace(root, exclude)?
        .into_iter()
        .map(|listed| listed.path)
        .collect())
}

/// Lists every file, link and empty folder below `root`, relative to it and sorted bytewise, ignored or not.
///
/// # Errors
/// A folder cannot be read.
pub fn folder_files(root: &Path) -> Result<Vec<PathBuf>, ListError> {
    let mut files = walk(root, Path::new(""), &[])?;
    files.sort_by(|a, b| by_bytes(a, b));
    Ok(files)
}

/// The order of manifests. Paths themselves compare by component.
pub(super) fn by_bytes(a: &Path, b: &Path) -> Ordering {
    a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes())
}

/// A path (relative to the root) and what is there.
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
}

/// As [`workspace_files`], with what each path is.
pub(super) fn list_workspace(root: &Path, exclude: &[PathBuf]) -> Result<Vec<Listed>, ListError> {
    let mut files = list(root, Path::new(""), &relative_to(root, exclude))?;
    files.extend(look_at(root, vec![PathBuf::from("Cargo.lock")])?);
    files.sort_by(|a, b| by_bytes(&a.path, &b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

/// Looks at many paths below `root` at once. What is gone is left out, and so is what is neither file, link
/// nor folder.
pub(super) fn look_at(root: &Path, paths: Vec<PathBuf>) -> Result<Vec<Listed>, ListError> {
    let looked = paths.into_par_iter().filter_map(|path| {
        let full = root.join(&path);
        match fs::symlink_metadata(&full) {
            Ok(metadata) if metadata.is_file() || metadata.is_symlink() || metadata.is_dir() => {
                Some(Ok(Listed { path, metadata }))
            }
            Ok(_) => None,
            Err(cause) if is_gone(&cause) => None,
            Err(cause) => Some(Err(ListError { path: full, cause })),
        }
    });
    looked.collect()
}

/// Rewrites excluded folders as relative to `root`; those elsewhere drop out.
fn relative_to(root: &Path, exclude: &[PathBuf]) -> Vec<PathBuf> {
    let real_root = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let relative = |path: &PathBuf| {
        if path.is_relative() {
            return Some(path.clone());
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let below = path.strip_prefix(root).or_else(|_| real.strip_prefix(&real_root));
        below.ok().map(Path::to_owned)
    };
    exclude
        .iter()
        .filter_map(relative)
        .filter(|path| !path.as_os_str().is_empty())
        .collect()
}

fn is_excluded(path: &Path, exclude: &[PathBuf]) -> bool {
    exclude.iter().any(|folder| path.starts_with(folder))
}

/// Lists `root/below`, with paths relative to `root`.
fn list(root: &Path, below: &Path, exclude: &[PathBuf]) -> Result<Vec<Listed>, ListError> {
    let Some(named) = git::ls_files(&root.join(below)) else {
        return look_at(root, walk(root, below, exclude)?);
    };
    let named = named.into_iter().map(|path| below.join(path));
    let named = named.filter(|path| !is_excluded(path, exclude)).collect();
    // A folder is a submodule or a nested repository: the git around it names nothing below.
    let (nested, mut files): (Vec<Listed>, Vec<Listed>) = look_at(root, named)?
        .into_iter()
        .partition(|listed| listed.metadata.is_dir());
    for folder in nested {
        files.extend(list(root, &folder.path, exclude)?);
    }
    Ok(files)
}

fn walk(root: &Path, below: &Path, exclude: &[PathBuf]) -> Result<Vec<PathBuf>, ListError> {
    let start = root.join(below);
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let entries = walkdir::WalkDir::new(&start)
        .min_depth(1)
        .into_iter()
        .filter_entry(|entry| {
            entry.file_name() != ".git"
                && (exclude.is_empty() || !is_excluded(&relative(entry.path()), exclude))
        });
    let mut files = Vec::new();
    let mut maybe_empty: Option<walkdir::DirEntry> = None;
    for entry in entries {
        let entry = entry.map_err(|error| ListError {
            path: error.path().unwrap_or(&start).to_owned(),
            cause: error.into(),
        })?;
        // A folder's own entries, if any, come right after it.
        if let Some(folder) = maybe_empty
            .take()
            .filter(|folder| folder.depth() >= entry.depth())
        {
            files.push(relative(folder.path()));
        }
        let file_type = entry.file_type();
        if file_type.is_dir() {
            maybe_empty = Some(entry);
        } else if file_type.is_file() || file_type.is_symlink() {
            files.push(relative(entry.path()));
        }
    }
    files.extend(maybe_empty.map(|folder| relative(folder.path())));
    Ok(files)
}

/// Whether nothing is at a path: also when one of its folders has become something else.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
