//! Which paths a view presents, and which lies in which.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::view::{ViewError, ViewSpec};

/// Folders of the kernel, which stay the host's.
const RESERVED: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Always private.
pub(super) const TMP: &str = "/tmp";

/// Where a view shows its folders once more, by their positions, until a case's own `/tmp` hides it.
pub(super) const FOLDERS: &str = "/tmp/.folders";

/// Where a view has room for what a case writes, if that is kept in memory.
pub(super) const LAYERS: &str = "/tmp/.layers";

/// What a view shows at a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The folder with this index.
    Folder(usize),
    /// The private temp folder with this index.
    Temp(usize),
}

/// All presented paths, as a tree of their components.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) kind: Option<Kind>,
    pub(super) children: BTreeMap<OsString, Node>,
}

/// A private temp folder and what of the view lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Temp {
    pub(super) at: PathBuf,
    /// Presented paths in it, relative; each case's private folder needs them too.
    pub(super) presented: Vec<PathBuf>,
    /// Further temp folders in it, relative: plain folders, being private already.
    pub(super) inner: Vec<PathBuf>,
}

/// All presented paths of a view, checked.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) root: Node,
    /// Outer ones first.
    pub(super) temps: Vec<Temp>,
}

impl Layout {
    pub(super) fn new(spec: &ViewSpec) -> Result<Self, ViewError> {
        let mut temp_paths: Vec<PathBuf> = spec.temp_dirs.clone();
        temp_paths.push(PathBuf::from(TMP));
        temp_paths.sort();
        temp_paths.dedup();
        for path in spec.folders.iter().map(|folder| &folder.at).chain(&temp_paths) {
            check(path)?;
        }
        let folders: Vec<&Path> = spec.folders.iter().map(|folder| folder.at.as_path()).collect();
        let mut root = Node::default();
        for (index, path) in folders.iter().enumerate() {
            root.insert(path, Kind::Folder(index))?;
        }
        let mut temps: Vec<Temp> = Vec::new();
        for path in temp_paths {
            let outer = temps.iter_mut().rfind(|temp| path.starts_with(&temp.at));
            match outer {
                Some(outer) if !is_between(&folders, &outer.at, &path) => {
                    outer.inner.push(relative(&path, &outer.at));
                }
                _ => {
                    root.insert(&path, Kind::Temp(temps.len()))?;
                    let presented = outermost_in(&folders, &path);
                    temps.push(Temp {
                        at: path,
                        presented,
                        inner: Vec::new(),
                    });
                }
            }
        }
        Ok(Self { root, temps })
    }
}

impl Node {
    fn insert(&mut self, path: &Path, kind: Kind) -> Result<(), ViewError> {
        let node = path
            .components()
            .filter(|component| *component != Component::RootDir)
            .fold(self, |node, component| {
                node.children.entry(component.as_os_str().to_owned()).or_default()
            });
        match node.kind.replace(kind) {
            None => Ok(()),
            Some(_) => Err(ViewError::Path {
                path: path.to_owned(),
                why: "it is presented twice",
            }),
        }
    }
}

fn check(path: &Path) -> Result<(), ViewError> {
    let refuse = |why| {
        Err(ViewError::Path {
            path: path.to_owned(),
            why,
        })
    };
    if !path.is_absolute() {
        return refuse("it is not absolute");
    }
    let normal = path
        .components()
        .skip(1)
        .all(|component| matches!(component, Component::Normal(_)));
    if !normal || path.as_os_str().as_bytes().contains(&0) {
        return refuse("it holds `..` or a zero byte");
    }
    if path == Path::new("/") || RESERVED.iter().any(|reserved| path.starts_with(reserved)) {
        return refuse("the root, /proc, /sys and /dev stay the machine's");
    }
    Ok(())
}

/// Whether one of `folders` is in `outer` and around (or at) `inner`.
fn is_between(folders: &[&Path], outer: &Path, inner: &Path) -> bool {
    folders
        .iter()
        .any(|folder| folder.starts_with(outer) && inner.starts_with(folder))
}

/// The folders in `outer` that are in no other of them, relative to it.
fn outermost_in(folders: &[&Path], outer: &Path) -> Vec<PathBuf> {
    let inside = || {
        folders
            .iter()
            .filter(|folder| folder.starts_with(outer) && **folder != outer)
    };
    inside()
        .filter(|folder| !inside().any(|other| other != *folder && folder.starts_with(other)))
        .map(|folder| relative(folder, outer))
        .collect()
}

fn relative(path: &Path, outer: &Path) -> PathBuf {
    path.strip_prefix(outer)
        .expect("only called with a path in `outer`")
        .to_owned()
}

/// Makes a path what the kernel takes.
///
/// # Errors
///
/// When it holds a zero byte.
pub(super) fn c_path(path: impl AsRef<OsStr>) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Folder;

    fn layout(folders: &[&str], temps: &[&str]) -> Result<Layout, ViewError> {
        Layout::new(&ViewSpec {
            folders: folders
                .iter()
                .map(|at| Folder {
                    at: at.into(),
                    from: "/".into(),
                    live: false,
                    shared: false,
                })
                .collect(),
            temp_dirs: temps.iter().map(PathBuf::from).collect(),
            scratch: PathBuf::new(),
        })
    }

    #[test]
    fn temp_folders_know_what_lies_in_them() {
        let layout = layout(
            &["/tmp/a", "/tmp/a/target", "/b"],
            &["/tmp/x", "/b/tmp", "/tmp/a/t", "/tmp"],
        )
        .unwrap();
        let expected = [
            ("/b/tmp", vec![], vec![]),
            ("/tmp", vec!["a"], vec!["x"]),
            ("/tmp/a/t", vec![], vec![]),
        ];
        let expected = expected.map(|(at, presented, inner): (_, Vec<&str>, Vec<&str>)| Temp {
            at: at.into(),
            presented: presented.into_iter().map(PathBuf::from).collect(),
            inner: inner.into_iter().map(PathBuf::from).collect(),
        });
        assert_eq!(layout.temps, expected);
    }

    #[test]
    fn refuses_paths_that_cannot_be_presented() {
        for paths in [
            &["relative"][..],
            &["/a/../b"],
            &["/"],
            &["/dev/shm"],
            &["/a", "/a"],
            &["/tmp"],
        ] {
            let error = layout(paths, &[]).unwrap_err();
            assert!(matches!(error, ViewError::Path { .. }), "{paths:?}: {error}");
        }
    }
}
