//! Trees that are on this machine already, brought by somebody else: an engine that executes a shard as an action.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thresh_cas::digest_reader;

use super::error::PrepareError;
use super::fetch::blocking;
use super::fill::make_folders;
use super::place::{Place, RunFolder};
use super::remap::Remap;
use super::shipped::Built;
use crate::sandbox::{Folder, Isolator, Support, View, ViewSpec};
use crate::session::GivenTree;

/// How cases get trees that are here already.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// Below overlays at the client's paths.
    Below(Arc<[GivenTree]>),
    /// As copies, at the client's paths where the map is empty.
    Copied(Remap),
}

impl Given {
    /// Decides how. Without mount namespaces trees are copied: to the client's paths where the root of the file system is the
    /// action's own (`root_is_own`) and nothing is in the way, else into `folder`. Blocks.
    pub(super) fn arrange(
        trees: &[GivenTree],
        views: &Support,
        root_is_own: bool,
        folder: &Path,
    ) -> io::Result<Self> {
        if matches!(views, Support::Namespaces) {
            return Ok(Self::Below(trees.into()));
        }
        let mut trees = trees.to_vec();
        // A tree comes before those that lie in it.
        trees.sort_by(|one, other| one.path.cmp(&other.path));
        if root_is_own && copy_home(&trees)? {
            return Ok(Self::Copied(Remap::default()));
        }
        let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (index, tree) in trees.iter().enumerate() {
            let around = moved
                .iter()
                .rev()
                .find_map(|(path, to)| Some(to.join(tree.path.strip_prefix(path).ok()?)));
            let to = around.unwrap_or_else(|| folder.join(format!("tree-{index}")));
            copy_tree(&tree.from, &to)?;
            moved.push((tree.path.clone(), to));
        }
        Ok(Self::Copied(Remap::new(moved)))
    }

    /// Whether cases see the trees at other paths than on the client.
    pub(super) fn is_moved(&self) -> bool {
        matches!(self, Self::Copied(remap) if !remap.is_empty())
    }

    /// Makes a run's place of them.
    pub(super) async fn build(
        &self,
        folder: Arc<RunFolder>,
        isolator: Option<Arc<Isolator>>,
        shared: Option<&Path>,
    ) -> Result<Built, PrepareError> {
        let trees = match self {
            Self::Copied(remap) => {
                let path = folder.path().to_owned();
                fs::create_dir_all(&path).map_err(|cause| PrepareError::io("create", &path, &cause))?;
                let remap = remap.clone();
                let place = Arc::new(Place::Remapped {
                    folder: folder.clone(),
                    remap,
                });
                return Ok(Built::new(place, folder, path));
            }
            Self::Below(trees) => trees,
        };
        let folders = trees.iter().map(|tree| Folder {
            at: tree.path.clone(),
            from: tree.from.clone(),
            live: false,
            shared: shared == Some(&tree.path),
        });
        let spec = ViewSpec {
            folders: folders.collect(),
            temp_dirs: Vec::new(),
            scratch: folder.path().join("view"),
        };
        let holder = folder.clone();
        let view = blocking(move || {
            let view = View::build_isolated(&spec, isolator);
            drop(holder);
            view
        });
        let view = view
            .await?
            .map_err(|error| PrepareError::other(error.fault(), error.to_string()))?;
        for note in view.notes() {
            tracing::info!("{note}");
        }
        let path = folder.path().to_owned();
        folder.set_view(view);
        Ok(Built::new(Arc::new(Place::View(folder.clone())), folder, path))
    }
}

/// Copies trees to where their client has them. `false` when something else is there, or may not be made.
fn copy_home(trees: &[GivenTree]) -> io::Result<bool> {
    let mut copied: Vec<&Path> = Vec::new();
    for tree in trees {
        let is_within = copied.iter().any(|folder| tree.path.starts_with(folder));
        if !is_within && fs::symlink_metadata(&tree.path).is_ok() {
            if is_there(&tree.from, &tree.path)? {
                continue;
            }
            return Ok(false);
        }
        match copy_tree(&tree.from, &tree.path) {
            Ok(()) => copied.push(&tree.path),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Whether all of a tree is at another place, too.
fn is_there(tree: &Path, other: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(tree)? {
        let entry = entry?;
        let there = other.join(entry.file_name());
        let (here, Ok(found)) = (entry.metadata()?, fs::symlink_metadata(&there)) else {
            return Ok(false);
        };
        let is_same = match (here.is_dir(), found.is_dir()) {
            (true, true) => is_there(&entry.path(), &there)?,
            (false, false) if here.is_symlink() && found.is_symlink() => {
                fs::read_link(entry.path())? == fs::read_link(&there)?
            }
            (false, false) => found.is_file() && has_same_content(&entry.path(), &there)?,
            _ => false,
        };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let digest = |path: &Path| {
        let mut file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        digest_reader(&mut file, size).map(|(digest, _)| digest)
    };
    Ok(digest(one)? == digest(other)?)
}

/// Copies a folder with everything in it; `to` may be there.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        make_folders(to, &to.join(&below))?;
        for entry in fs::read_dir(from.join(&below))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, below.join(entry.file_name()));
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, to.join(&path))?;
            } else {
                copy_file(&entry.path(), &to.join(&path))?;
            }
        }
    }
    Ok(())
}

/// The copy can be written to, as what a checkout leaves.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::copy(from, to)?;
    let mode = fs::metadata(to)?.permissions().mode();
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(folder: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let tree = folder.join(name);
        for (path, content) in files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        tree
    }

    fn given(path: &Path, from: &Path) -> GivenTree {
        GivenTree {
            path: path.to_owned(),
            from: from.to_owned(),
        }
    }

    #[test]
    fn without_namespaces_trees_go_home_where_nothing_is_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (
            tree(folder.path(), "in/source", &[("src/lib.rs", "code")]),
            tree(folder.path(), "in/target", &[("deps/bin", "binary")]),
        );
        symlink("lib.rs", source.join("src/link.rs")).unwrap();
        let home = folder.path().join("home/ws");
        let none = Support::None("forbidden".into());
        // In the wrong order: the target folder lies in the other.
        let trees = [given(&home.join("target"), &target), given(&home, &source)];
        let scratch = folder.path().join("scratch");
        let arranged = Given::arrange(&trees, &none, true, &scratch).unwrap();
        assert!(!arranged.is_moved());
        assert_eq!(fs::read_to_string(home.join("src/link.rs")).unwrap(), "code");
        assert_eq!(
            fs::read_to_string(home.join("target/deps/bin")).unwrap(),
            "binary"
        );

        // Everything is there already: as good as a copy.
        let only = [given(&home.join("src"), &source.join("src"))];
        assert!(!Given::arrange(&only, &none, true, &scratch).unwrap().is_moved());

        // Something else is in the way.
        fs::write(home.join("src/lib.rs"), "other code").unwrap();
        let arranged = Given::arrange(&trees, &none, true, &scratch).unwrap();
        let Given::Copied(remap) = &arranged else {
            panic!("{arranged:?}");
        };
        assert!(arranged.is_moved());
        let there = PathBuf::from(remap.apply(home.join("target/deps/bin").as_os_str()));
        assert!(there.starts_with(PathBuf::from(remap.apply(home.as_os_str()))));
        assert_eq!(fs::read_to_string(there).unwrap(), "binary");
        assert_eq!(fs::read_to_string(home.join("src/lib.rs")).unwrap(), "other code");

        // Where the root is others', too, nothing of it is touched.
        let elsewhere = folder.path().join("home/elsewhere");
        let only = [given(&elsewhere, &source)];
        let arranged = Given::arrange(&only, &none, false, &folder.path().join("second")).unwrap();
        assert!(arranged.is_moved() && !elsewhere.exists());
    }
}
