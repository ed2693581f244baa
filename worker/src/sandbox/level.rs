//! What the machine has in a folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::paths::Node;
use super::view::ViewError;

/// Entries of one folder that are bound one by one. Each is a mount, copied for every case.
const ENTRIES_MAX: usize = 4_096;

/// One entry of a folder.
#[derive(Debug)]
pub(super) enum Item {
    Folder(OsString),
    /// A file, socket, device or pipe.
    File(OsString),
    Link(OsString, PathBuf),
}

/// Whether every child of `node` is a folder (and no link to one) in the machine's folder `host`, so that
/// `host` can be shown as it is.
pub(super) fn has_places(node: &Node, host: &Path) -> bool {
    node.children
        .keys()
        .all(|name| fs::symlink_metadata(host.join(name)).is_ok_and(|metadata| metadata.is_dir()))
}

/// The folder that `path` is or leads to; `None` when there is none that can be reached.
pub(super) fn folder_behind(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().filter(|path| path.is_dir())
}

/// Lists `host` without the children of `node`. A folder that may not be listed counts as empty.
pub(super) fn items(node: &Node, host: &Path) -> Result<Vec<Item>, ViewError> {
    let Ok(entries) = fs::read_dir(host) else {
        return Ok(Vec::new());
    };
    let mut items = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else { continue };
        if node.children.contains_key(&name) {
            continue;
        }
        if items.len() == ENTRIES_MAX {
            return Err(ViewError::Crowded {
                path: host.to_owned(),
                entries_max: ENTRIES_MAX,
            });
        }
        if kind.is_dir() {
            items.push(Item::Folder(name));
        } else if !kind.is_symlink() {
            items.push(Item::File(name));
        } else if let Ok(to) = fs::read_link(entry.path()) {
            items.push(Item::Link(name, to));
        }
    }
    Ok(items)
}
