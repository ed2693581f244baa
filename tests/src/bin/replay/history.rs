//! A clone of a repository, and commits of it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A clone to check commits out in.
#[derive(Debug)]
pub(crate) struct History {
    root: PathBuf,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// Its name.
    pub(crate) hash: String,
    /// The name of its tree.
    pub(crate) tree: String,
    /// The first line of its message.
    pub(crate) subject: String,
}

impl History {
    /// Clones a repository to `root` and returns it with the last `count` commits up to `head`, oldest first.
    ///
    /// # Errors
    /// What git says.
    pub(crate) fn clone(
        source: &Path,
        root: PathBuf,
        head: &str,
        count: usize,
    ) -> Result<(Self, Vec<Commit>), String> {
        let revision = format!("{head}^{{commit}}");
        let head = git(source, &["rev-parse", "--verify", "--quiet", &revision])
            .map_err(|error| format!("{}: no commit {head:?} {error}", source.display()))?;
        let (from, to) = (source.to_string_lossy(), root.to_string_lossy());
        git(source, &["clone", "--quiet", "--no-checkout", &from, &to])?;
        let history = Self { root };
        let count = count.to_string();
        let log = [
            "log",
            "--first-parent",
            "--format=%H %T %s",
            "-n",
            &count,
            head.trim(),
        ];
        let lines = git(&history.root, &log)?;
        let commits = lines.lines().rev().filter_map(|line| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let (hash, tree) = (words.next()?, words.next()?);
            let subject = words.next().unwrap_or_default();
            Some(Commit { hash, tree, subject })
        });
        let commits = commits.collect();
        Ok((history, commits))
    }

    /// Makes the clone's files those of a commit. What git ignores stays.
    ///
    /// # Errors
    /// What git says.
    pub(crate) fn check_out(&self, commit: &Commit) -> Result<(), String> {
        git(
            &self.root,
            &["checkout", "--quiet", "--force", "--detach", &commit.hash],
        )?;
        git(&self.root, &["clean", "--quiet", "-d", "--force"]).map(drop)
    }
}

fn git(folder: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new("git").arg("-C").arg(folder).args(args).output();
    let output = output.map_err(|error| format!("git cannot be started: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thresh_tests::workspace::Workspace;

    #[test]
    fn commits_come_oldest_first_and_are_checked_out_whole() {
        let workspace = Workspace::git("basic");
        workspace.write("data/value.txt", "second\n");
        workspace.git_do(&["commit", "--quiet", "--all", "--message=second"]);
        workspace.write("data/new.txt", "third\n");
        workspace.git_do(&["add", "--all"]);
        workspace.git_do(&["commit", "--quiet", "--message=third"]);
        workspace.git_do(&["revert", "--no-edit", "HEAD"]);

        let clone = workspace.temp().join("clone");
        let (history, commits) =
            History::clone(&workspace.root(), clone.clone(), "HEAD", 3).expect("it can be cloned");
        let subjects: Vec<&str> = commits.iter().map(|commit| commit.subject.as_str()).collect();
        assert_eq!(subjects, ["second", "third", "Revert \"third\""]);
        assert_eq!(commits[0].tree, commits[2].tree);
        assert_ne!(commits[0].tree, commits[1].tree);
        history.check_out(&commits[1]).expect("it is a commit");
        assert!(clone.join("data/new.txt").exists());
        std::fs::write(clone.join("left"), "by a case").expect("the clone can be written");
        history.check_out(&commits[2]).expect("it is a commit");
        assert!(!clone.join("data/new.txt").exists() && !clone.join("left").exists());

        let other = workspace.temp().join("other");
        assert!(History::clone(&workspace.root(), other, "nosuch", 3).is_err());
    }
}
