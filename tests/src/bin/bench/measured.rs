//! The real workspaces that are measured: those of `--suite`, else packages of the cargo registry.

use std::path::{Path, PathBuf};

use thresh_tests::packages;
use thresh_tests::workspace::Workspace;

use crate::Options;

/// A workspace that is measured. A copy is gone with it.
pub(crate) struct Suite {
    /// What figures call it.
    pub(crate) name: String,
    folder: PathBuf,
    copy: Option<Workspace>,
}

impl Suite {
    /// Its root.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same in a copy, which may be changed.
    pub(crate) fn copied(self) -> Self {
        match self.copy {
            Some(_) => self,
            None => Self::copy_of(self.name, &self.folder),
        }
    }

    fn copy_of(name: String, source: &Path) -> Self {
        let copy = Workspace::copy_of(source);
        Self {
            name,
            folder: copy.root(),
            copy: Some(copy),
        }
    }
}

/// The workspaces that were given, as they are, else copies of packages. Each is made when it is asked for.
pub(crate) fn suites<'o>(options: &'o Options, otherwise: &'o [&str]) -> impl Iterator<Item = Suite> + 'o {
    let given = options.suites.iter().map(|folder| Suite {
        name: folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        folder: folder.clone(),
        copy: None,
    });
    let otherwise = otherwise.iter().filter(|_| options.suites.is_empty());
    given.chain(otherwise.map(|package| {
        let (source, version) = packages::source(package);
        Suite::copy_of(format!("{package} {version}"), &source)
    }))
}
