//! A checkout of the repository as it was at a commit.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use thresh_cas::git_in;
use thresh_core::fault::Fault;

/// The repository as it was at a commit, in the state folder. While it lives, no other process checks anything out there.
#[derive(Debug)]
pub struct BaseTree {
    /// The repository's own root, where it is to be shown.
    pub top: PathBuf,
    /// Where it is.
    pub folder: PathBuf,
    /// The commit's full name.
    pub commit: String,
    /// Folders for cargo's output, if that does not lie in the repository: what it builds, and what it builds that from.
    pub outputs: [PathBuf; 2],
    _lock: File,
}

/// A commit could not be checked out.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// There is no repository.
    #[error("find the git repository of {workspace}: {said}; --base compares with a commit")]
    NoRepository {
        /// The workspace.
        workspace: String,
        /// What git said.
        said: String,
    },
    /// There is no such commit.
    #[error("find the commit `{revision}`: {said}; fetch it first, or name another")]
    NoCommit {
        /// As the user named it.
        revision: String,
        /// What git said.
        said: String,
    },
    /// git failed otherwise.
    #[error("check out {commit} into {folder}: {said}")]
    CheckOut {
        /// The commit.
        commit: String,
        /// Where.
        folder: String,
        /// What git said.
        said: String,
    },
    /// git could not be started.
    #[error("start git: {0}; install it, --base needs it")]
    Start(io::Error),
    /// The folder cannot be used.
    #[error("use {folder}: {cause}")]
    Folder {
        /// The folder.
        folder: String,
        /// Why not.
        cause: io::Error,
    },
}

impl BaseError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoRepository { .. } | Self::NoCommit { .. } => Fault::Input,
            Self::CheckOut { .. } | Self::Start(_) | Self::Folder { .. } => Fault::Environment,
        }
    }
}

impl BaseTree {
    /// Checks `revision` of the workspace's repository out below `state`, where only files that differ from the last one are
    /// written: cargo builds only what they concern. Submodules stay empty. Waits while another process does the same.
    ///
    /// # Errors
    /// There is no such commit, or git fails.
    pub fn check_out(workspace: &Path, state: &Path, revision: &str) -> Result<Self, BaseError> {
        let top = said(git_in(workspace).args(["rev-parse", "--show-toplevel"]))?;
        let top = top.map_err(|said| BaseError::NoRepository {
            workspace: workspace.display().to_string(),
            said,
        })?;
        let wanted = format!("{revision}^{{commit}}");
        let commit = said(git_in(workspace).args(["rev-parse", "--verify", "--end-of-options", &wanted]))?;
        let commit = commit.map_err(|said| BaseError::NoCommit {
            revision: revision.to_owned(),
            said,
        })?;
        let (folder, outputs) = (
            state.join("tree"),
            ["target", "build"].map(|name| state.join(name)),
        );
        let lock = lock(state)?;
        for output in &outputs {
            fs::create_dir_all(output).map_err(|cause| unusable(output, cause))?;
        }
        let tree = Self {
            top: top.into(),
            folder,
            commit,
            outputs,
            _lock: lock,
        };
        tree.fill(workspace)?;
        Ok(tree)
    }

    fn fill(&self, workspace: &Path) -> Result<(), BaseError> {
        let failed = |said| BaseError::CheckOut {
            commit: self.commit.clone(),
            folder: self.folder.display().to_string(),
            said,
        };
        if !self.folder.join(".git").exists() {
            // It borrows the objects: nothing is copied, and the user's repository does not know of it.
            let clone = ["clone", "--quiet", "--shared", "--no-checkout", "--"];
            said(git_in(&self.top).args(clone).arg(&self.top).arg(&self.folder))?.map_err(failed)?;
        }
        let check_out = ["checkout", "--quiet", "--force", "--detach", &self.commit];
        said(git_in(&self.folder).args(check_out))?.map_err(failed)?;
        // What a build of another commit has written beside the sources is no part of this one.
        let clean = ["clean", "--quiet", "--force", "-d", "--exclude=/target"];
        said(git_in(&self.folder).args(clean))?.map_err(failed)?;
        self.borrow_lock_file(workspace)
    }

    /// Libraries often have git ignore their lock file: with other versions of what they use all cases would differ.
    fn borrow_lock_file(&self, workspace: &Path) -> Result<(), BaseError> {
        let own = workspace.join("Cargo.lock");
        let real = workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned());
        let within = real
            .strip_prefix(&self.top)
            .unwrap_or(Path::new(""))
            .join("Cargo.lock");
        let tracked = said(
            git_in(&self.folder)
                .args(["ls-files", "--error-unmatch"])
                .arg(&within),
        )?;
        let theirs = self.folder.join(&within);
        let has_place = theirs.parent().is_some_and(Path::is_dir);
        if tracked.is_ok() || !own.exists() || !has_place {
            return Ok(());
        }
        let same = fs::read(&own).ok() == fs::read(&theirs).ok();
        if !same {
            fs::copy(&own, &theirs).map_err(|cause| unusable(&theirs, cause))?;
        }
        Ok(())
    }
}

fn lock(state: &Path) -> Result<File, BaseError> {
    let path = state.join("lock");
    let lock = || {
        fs::create_dir_all(state)?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|cause| unusable(&path, cause))
}

fn unusable(folder: &Path, cause: io::Error) -> BaseError {
    BaseError::Folder {
        folder: folder.display().to_string(),
        cause,
    }
}

/// What git printed, or what it said when it failed.
fn said(command: &mut Command) -> Result<Result<String, String>, BaseError> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().map_err(BaseError::Start)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok(if status.success() {
        Ok(text(stdout))
    } else {
        let said = text(stderr);
        Err(said.strip_prefix("fatal: ").unwrap_or(&said).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &["init", "--quiet"]);
        for text in ["one", "two"] {
            fs::write(folder.path().join("file"), text).unwrap();
            fs::write(folder.path().join(text), text).unwrap();
            commit(folder.path(), text);
        }
        folder
    }

    fn run(folder: &Path, args: &[&str]) {
        said(git_in(folder).args(args)).unwrap().unwrap();
    }

    fn commit(folder: &Path, message: &str) {
        run(folder, &["add", "--all"]);
        let who = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
        run(
            folder,
            &[&who[..], &["commit", "--quiet", "-m", message]].concat(),
        );
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".git")
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_goes_to_and_fro_and_leaves_the_repository_alone() {
        let repository = repository();
        let state = tempfile::tempdir().unwrap();
        fs::write(repository.path().join("file"), "not committed").unwrap();
        fs::write(repository.path().join("Cargo.lock"), "versions").unwrap();
        for (revision, expected, text) in [
            ("HEAD~1", &["Cargo.lock", "file", "one"][..], "one"),
            ("HEAD", &["Cargo.lock", "file", "one", "two"], "two"),
            ("HEAD~1", &["Cargo.lock", "file", "one"], "one"),
        ] {
            let base = BaseTree::check_out(repository.path(), state.path(), revision).unwrap();
            assert_eq!(names(&base.folder), expected, "{revision}");
            assert_eq!(fs::read_to_string(base.folder.join("file")).unwrap(), text);
            assert_eq!(base.commit.len(), 40);
            fs::write(base.folder.join("left by a build"), "").unwrap();
        }
        let here = fs::read_to_string(repository.path().join("file")).unwrap();
        assert_eq!(here, "not committed");
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let repository = repository();
        let state = tempfile::tempdir().unwrap();
        let error = BaseTree::check_out(repository.path(), state.path(), "nosuch").unwrap_err();
        assert!(matches!(&error, BaseError::NoCommit { revision, .. } if revision == "nosuch"));
        assert_eq!(error.fault(), Fault::Input);
        // An option is no commit.
        assert!(BaseTree::check_out(repository.path(), state.path(), "--help").is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        let error = BaseTree::check_out(elsewhere.path(), state.path(), "HEAD").unwrap_err();
        assert!(matches!(error, BaseError::NoRepository { .. }), "{error}");
    }
}
