//! Where cases find dynamic libraries.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};

use super::launcher::Launcher;
use crate::build::{Build, Workspace};
use crate::surroundings::Surroundings;

/// The variable that holds the library path.
const VARIABLE: &str = if cfg!(target_os = "macos") {
    "DYLD_FALLBACK_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// A folder's name cannot be part of a library path.
#[derive(Debug, thiserror::Error)]
#[error("set {VARIABLE}: {0}")]
pub struct LibraryPathError(#[from] std::env::JoinPathsError);

/// Returns the library path's folders of a build: those of build scripts, of cargo's outputs, of the toolchain.
pub fn library_folders(workspace: &Workspace, build: &Build) -> Vec<Utf8PathBuf> {
    let meta = &build.binaries.rust_build_meta;
    let linked = meta
        .linked_paths
        .iter()
        .map(|path| build.build_directory().join(path));
    let outputs = meta.base_output_directories.iter().flat_map(|base| {
        [
            meta.target_directory.join(base),
            build.build_directory().join(base).join("deps"),
        ]
    });
    let libdirs = workspace.platforms.libdirs().map(Utf8Path::to_owned);
    let mut seen = BTreeSet::new();
    linked
        .filter(|path| path.exists())
        .chain(outputs)
        .chain(libdirs)
        .filter(|path| seen.insert(path.clone()))
        .collect()
}

/// Returns the variables about dynamic libraries that a case gets. Each is repeated under a name that macOS
/// does not take away when a shell is started.
pub(super) fn library_variables(
    workspace: &Workspace,
    build: &Build,
    launcher: &Launcher,
    surroundings: &Surroundings,
) -> Result<Vec<(String, OsString)>, LibraryPathError> {
    let present = surroundings
        .variable(VARIABLE)
        .map(|value| std::env::split_paths(value).collect());
    let present: Vec<PathBuf> = present.unwrap_or_default();
    let folders = library_folders(workspace, build)
        .into_iter()
        .chain(launcher.library_folder.clone())
        .map(Utf8PathBuf::into_std_path_buf)
        .chain(present);
    let path = std::env::join_paths(folders)?;
    let mut variables = vec![
        (format!("NEXTEST_{VARIABLE}"), path.clone()),
        (VARIABLE.to_owned(), path),
    ];
    for (name, value) in &surroundings.variables {
        if let Some(name) = name.to_str()
            && (name.starts_with("LD_") || name.starts_with("DYLD_"))
            && name != VARIABLE
        {
            variables.push((format!("NEXTEST_{name}"), value.clone()));
        }
    }
    Ok(variables)
}
