//! Where cases were observed: with the client's own files, or on workers that were shown some of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where the cases of a run are observed. What was seen in one of these places says nothing of the other: on a worker a case
/// finds the files that were shipped, with other modes and times, and the worker's own system around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the client's machine, with its files.
    Here,
    /// On workers.
    Workers,
}

impl Place {
    /// The kind of its records. The number rises with the meaning of their words.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Here => "seen v4",
            Self::Workers => "seen on workers v2",
        }
    }
}

/// What workers were shown of the client's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shipped {
    /// Folders, in which a worker shows what was shipped and nothing else. All else is a worker's own.
    pub(crate) folders: Vec<PathBuf>,
    /// Paths in them at which the client has something else now.
    pub(crate) changed: BTreeSet<PathBuf>,
    /// Files elsewhere that count for the workspace and were not shipped: workers have their own.
    pub(crate) outside: BTreeSet<PathBuf>,
}

impl Shipped {
    /// Whether what is at a path comes from the client.
    pub(super) fn shows(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| path.starts_with(folder))
    }

    /// Whether a path that is not shown leads to files that count for the workspace.
    pub(super) fn leads_outside(&self, path: &Path) -> bool {
        let next = self.outside.range(path.to_owned()..).next();
        !self.shows(path) && next.is_some_and(|file| file.starts_with(path))
    }
}
