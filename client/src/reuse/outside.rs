//! Files outside the workspace that its cases may read or start.
//!
//! A workspace reaches further than its folder: links lead elsewhere, packages lie elsewhere (members and path
//! dependencies), libraries come from the user's library path, and wrapper scripts and target runners may be
//! anywhere. What is there counts as if it were in the workspace.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use camino::Utf8Path;
use guppy::graph::PackageGraph;
use thresh_cas::{
    DigestError, DigestMemo, Digested, EntryKind, ListError, Manifest, digest_many, workspace_files,
};

use super::libraries::{LibraryError, NeededLibraries};
use crate::suite::Suite;
use crate::surroundings::Surroundings;

/// Beyond so many files nothing is reused: to hash them at every run would cost more than it saves.
const FILES_MAX: usize = 20_000;

/// It is not known what cases may use outside the workspace.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// There is too much.
    #[error(
        "look at all files outside the workspace that its links and packages lead to: they are more than {FILES_MAX}"
    )]
    TooMany,
    /// A package's folder could not be listed.
    #[error(transparent)]
    List(#[from] ListError),
    /// A file could not be hashed.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A library's headers could not be read.
    #[error(transparent)]
    Library(#[from] LibraryError),
}

/// The files outside the workspace, with their digests.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    pub(crate) files: Vec<Digested>,
}

/// What is searched for ways out of a workspace.
#[derive(Clone, Copy, Debug)]
pub struct OutsideInputs<'a> {
    /// The workspace's root, absolute.
    pub root: &'a Utf8Path,
    /// The workspace's files.
    pub manifest: &'a Manifest,
    /// What is no input wherever it is, absolute.
    pub excluded: &'a [PathBuf],
    /// The workspace's packages.
    pub graph: &'a PackageGraph,
    /// The suite.
    pub suite: &'a Suite,
    /// The client's environment.
    pub surroundings: &'a Surroundings,
}

impl Outside {
    /// Finds and hashes the files.
    ///
    /// # Errors
    /// They are too many, or one cannot be hashed.
    pub fn digest(inputs: &OutsideInputs<'_>, memo: &mut DigestMemo) -> Result<Self, OutsideError> {
        let mut search = Search::new(inputs);
        search.links()?;
        search.packages()?;
        search.starters();
        search.libraries()?;
        let files: Vec<PathBuf> = search.found.into_iter().collect();
        Ok(Self {
            files: digest_many(&files, memo)?,
        })
    }
}

struct Search<'a> {
    inputs: &'a OutsideInputs<'a>,
    /// Without links.
    root: PathBuf,
    excluded: Vec<PathBuf>,
    /// Folders that were looked into, without links.
    entered: BTreeSet<PathBuf>,
    found: BTreeSet<PathBuf>,
}

impl<'a> Search<'a> {
    fn new(inputs: &'a OutsideInputs<'a>) -> Self {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Self {
            root: real(inputs.root.as_std_path()),
            excluded: inputs.excluded.iter().map(|path| real(path)).collect(),
            inputs,
            entered: BTreeSet::new(),
            found: BTreeSet::new(),
        }
    }

    fn links(&mut self) -> Result<(), OutsideError> {
        for entry in self.inputs.manifest.entries() {
            if let EntryKind::Symlink { .. } = entry.kind {
                self.follow(self.inputs.root.as_std_path().join(&entry.path))?;
            }
        }
        Ok(())
    }

    /// Takes all files that are at or below `path`, through every link.
    fn follow(&mut self, path: PathBuf) -> Result<(), OutsideError> {
        let mut open = vec![path];
        while let Some(path) = open.pop() {
            // A link to nowhere, or to where this user may not look, shows its cases nothing either.
            let Ok(path) = fs::canonicalize(path) else {
                continue;
            };
            if self.is_known(&path) {
                continue;
            }
            if path.is_dir() {
                if self.entered.insert(path.clone()) {
                    let entries = path.read_dir().into_iter().flatten().flatten();
                    open.extend(
                        entries
                            .filter(|entry| entry.file_name() != ".git")
                            .map(|entry| entry.path()),
                    );
                }
            } else {
                self.take(path);
            }
            if self.found.len() + self.entered.len() + open.len() > FILES_MAX {
                return Err(OutsideError::TooMany);
            }
        }
        Ok(())
    }

    /// Whether the path (without links) is among the workspace's files, or holds some of them, or is no input.
    fn is_known(&self, path: &Path) -> bool {
        if self.excluded.iter().any(|folder| path.starts_with(folder)) {
            return true;
        }
        let Ok(relative) = path.strip_prefix(&self.root) else {
            return false;
        };
        let manifest = self.inputs.manifest;
        let below = [relative.as_os_str().as_bytes(), b"/"].concat();
        let entries = manifest.entries();
        let next = entries.partition_point(|entry| entry.path.as_os_str().as_bytes() < below.as_slice());
        relative.as_os_str().is_empty()
            || manifest.get(relative).is_some()
            || entries
                .get(next)
                .is_some_and(|entry| entry.path.starts_with(relative))
    }

    fn take(&mut self, path: PathBuf) {
        // Neither does a file that cannot be opened show anything; a pipe would block.
        if path.is_file() && File::open(&path).is_ok() {
            self.found.insert(path);
        }
    }

    /// The folders of members and path dependencies that are elsewhere.
    fn packages(&mut self) -> Result<(), OutsideError> {
        let local = |source: guppy::graph::PackageSource<'_>| source.is_workspace() || source.is_path();
        let packages = self
            .inputs
            .graph
            .packages()
            .filter(|package| local(package.source()));
        for package in packages {
            let Some(folder) = package.manifest_path().parent() else {
                continue;
            };
            let Ok(folder) = fs::canonicalize(folder) else {
                continue;
            };
            if folder.starts_with(&self.root) && self.is_known(&folder) {
                continue;
            }
            // Cargo's output, where the package was built by itself.
            let excluded = [self.excluded.as_slice(), &[folder.join("target")]].concat();
            for file in workspace_files(&folder, &excluded)? {
                self.follow(folder.join(file))?;
            }
        }
        Ok(())
    }

    /// Target runners, wrapper scripts, and files among their arguments.
    fn starters(&mut self) {
        let commands = &self.inputs.suite.commands;
        let mut words = BTreeSet::new();
        for command in commands {
            // The binary itself and `--exact` come last.
            let count = command.before.len().saturating_sub(2);
            for (at, word) in command.before[..count].iter().enumerate() {
                words.insert((&command.cwd, word, at == 0 && !word.contains('/')));
            }
        }
        let path = self.inputs.surroundings.variable("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(path).collect();
        for (cwd, word, is_bare_program) in words {
            let place = if is_bare_program {
                folders
                    .iter()
                    .map(|folder| folder.join(word))
                    .find(|path| path.is_file())
            } else {
                Some(cwd.as_std_path().join(word))
            };
            let place = place.and_then(|path| fs::canonicalize(path).ok());
            if let Some(place) = place.filter(|path| path.is_file()) {
                self.take(place);
            }
        }
    }

    /// Libraries that binaries find in the user's own library path.
    fn libraries(&mut self) -> Result<(), OutsideError> {
        let Some(path) = self.inputs.surroundings.variable("LD_LIBRARY_PATH") else {
            return Ok(());
        };
        let folders: Vec<PathBuf> = std::env::split_paths(path).collect();
        let suite = self.inputs.suite;
        let binaries: BTreeSet<usize> = suite.cases.iter().map(|case| case.binary).collect();
        let binaries: Vec<PathBuf> = binaries
            .into_iter()
            .map(|at| suite.binaries[at].path.clone().into_std_path_buf())
            .collect();
        for library in NeededLibraries::find(&binaries, &folders)?.all() {
            self.take(library.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use camino::Utf8PathBuf;
    use thresh_cas::Snapshot;

    use super::*;
    use crate::command::CommandTemplate;
    use crate::reuse::keys::tests::suite;

    fn write(path: &Path, content: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn command(before: &[&str], cwd: &Path) -> CommandTemplate {
        CommandTemplate {
            before: before.iter().map(|word| (*word).to_owned()).collect(),
            after: Vec::new(),
            cwd: Utf8PathBuf::try_from(cwd.to_owned()).unwrap(),
            env: Vec::new(),
            setup_scripts: Vec::new(),
        }
    }

    /// The files that are found, by their path below `folder`.
    fn found(folder: &Path, commands: Vec<CommandTemplate>) -> Vec<String> {
        let folder = folder.canonicalize().unwrap();
        let root = Utf8PathBuf::try_from(folder.join("w")).unwrap();
        let excluded = vec![folder.join("w/target")];
        let mut memo = DigestMemo::default();
        let snapshot = Snapshot::of_workspace(root.as_std_path(), &excluded, &mut memo).unwrap();
        let mut suite = suite(&root.join("target"));
        suite.commands = commands;
        let surroundings = Surroundings {
            variables: [("PATH".into(), folder.join("bin").into())].into(),
            ..Surroundings::default()
        };
        let inputs = OutsideInputs {
            root: &root,
            manifest: snapshot.manifest(),
            excluded: &excluded,
            graph: &crate::build::sample::graph(),
            suite: &suite,
            surroundings: &surroundings,
        };
        let outside = Outside::digest(&inputs, &mut memo).unwrap();
        let below = |file: &Digested| file.path.strip_prefix(&folder).unwrap().display().to_string();
        outside.files.iter().map(below).collect()
    }

    #[test]
    fn links_are_followed_out_of_the_workspace_and_not_within() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for file in [
            "w/src/lib.rs",
            "w/src-2/lib.rs",
            "w/target/debug/x",
            "data/a",
            "data/in/b",
            "far/c",
            "one",
        ] {
            write(&at(file), file);
        }
        symlink(at("far"), at("data/far")).unwrap();
        symlink("..", at("data/in/loop")).unwrap();
        for (target, link) in [
            ("../data", "w/data"),
            ("../one", "w/one"),
            ("src", "w/inside"),
            ("target/debug", "w/built"),
            (".", "w/self"),
            ("/nowhere/at/all", "w/dangling"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        assert_eq!(
            found(folder.path(), Vec::new()),
            ["data/a", "data/in/b", "far/c", "one"]
        );
    }

    #[test]
    fn what_starts_cases_counts_and_the_binary_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for file in [
            "w/src/lib.rs",
            "w/target/it",
            "bin/runner",
            "bin/other",
            "wrap.sh",
            "w/config",
        ] {
            write(&at(file), file);
        }
        let binary = at("w/target/it").display().to_string();
        let wrap = at("wrap.sh").display().to_string();
        let commands = vec![
            command(
                &["runner", "other", "--config", "config", &binary, "--exact"],
                &at("w"),
            ),
            command(&["../wrap.sh", &binary, "--exact"], &at("w")),
            command(&[&wrap, &binary, "--exact"], &at("w")),
            command(&[&binary, "--exact"], &at("w")),
        ];
        assert_eq!(
            found(folder.path(), commands),
            ["bin/runner", "w/config", "wrap.sh"]
        );
    }
}
