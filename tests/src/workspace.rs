//! Copies of the fixture workspaces. Tests never run a fixture in place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use thresh_core::digest::Digest;
use walkdir::WalkDir;

use crate::thresh::{Thresh, repository};

/// A copy of a fixture in a temporary folder, with a state folder for `thresh` beside it.
#[derive(Debug)]
pub struct Workspace {
    folder: TempDir,
}

/// What cannot be compressed; two of one seed begin alike.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// What it is made of.
    pub seed: u64,
    /// How long it is, in bytes: a multiple of 32.
    pub bytes: u64,
}

impl Workspace {
    /// Copies `fixtures/NAME`.
    ///
    /// # Panics
    /// When the fixture cannot be copied.
    pub fn copy(name: &str) -> Self {
        Self::copy_of(&fixture(name))
    }

    /// Copies any workspace, without its target folder.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn copy_of(source: &Path) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("thresh-")
            .tempdir()
            .expect("a temp folder can be made");
        let workspace = Self { folder };
        sync(source, &workspace.root()).expect("a workspace can be copied");
        workspace
    }

    /// Copies `fixtures/NAME` and makes it a git repository with everything committed.
    ///
    /// # Panics
    /// When git is missing.
    pub fn git(name: &str) -> Self {
        let workspace = Self::copy(name);
        workspace.git_do(&["init", "--quiet"]);
        workspace.git_do(&["add", "--all"]);
        workspace.git_do(&["commit", "--quiet", "--message=first"]);
        workspace
    }

    /// Writes a file that cannot be compressed.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn add_noise(&self, path: &str, noise: Noise) {
        let mut content = Vec::with_capacity(usize::try_from(noise.bytes).expect("it fits in memory"));
        let blocks = (0..noise.bytes / 32)
            .map(|number| Digest::of(&[noise.seed, number].map(u64::to_le_bytes).concat()));
        blocks.for_each(|block| content.extend_from_slice(block.as_bytes()));
        fs::write(self.root().join(path), content).expect("the workspace can be written");
    }

    /// Calls git in the workspace.
    ///
    /// # Panics
    /// When git fails.
    pub fn git_do(&self, args: &[&str]) {
        let identity = [
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.org",
            "-c",
            "commit.gpgsign=false",
        ];
        let status = Command::new("git")
            .args(identity)
            .args(args)
            .current_dir(self.root())
            .status();
        assert!(status.is_ok_and(|status| status.success()), "git {args:?} failed");
    }

    /// Returns the workspace root, without symbolic links in it.
    pub fn root(&self) -> PathBuf {
        self.temp().join("workspace")
    }

    /// Returns the folder around the workspace, for whatever belongs to one test.
    pub fn temp(&self) -> PathBuf {
        self.folder
            .path()
            .canonicalize()
            .expect("the temp folder is there")
    }

    /// Returns a way to start `thresh` here, with its own state folder.
    pub fn thresh(&self) -> Thresh {
        Thresh::new(self.root(), self.temp().join("home"))
    }

    /// Writes a file, by its path below the root.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder can be made");
        fs::write(&path, content).expect("the file can be written");
    }

    /// Removes a file, by its path below the root.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.root().join(path)).expect("the file is there");
    }
}

/// Returns the folder of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A copy of a fixture that stays in this repository's target folder, so that it is built once and not once
/// per test. Whoever holds it has it alone.
#[derive(Debug)]
pub struct Kept {
    root: PathBuf,
    _lock: File,
}

impl Kept {
    /// Brings the copy of `fixtures/NAME` up to date and waits until nobody else holds it.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn hold(name: &str) -> Self {
        Self::hold_copy_of(&fixture(name), name)
    }

    /// The same for any workspace, under a name of its own.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn hold_copy_of(source: &Path, name: &str) -> Self {
        let folder = repository().join("target").join("thresh-fixtures");
        fs::create_dir_all(&folder).expect("the target folder can be written");
        let lock =
            File::create(folder.join(format!("{name}.lock"))).expect("the target folder can be written");
        lock.lock().expect("files can be locked");
        let root = folder.join(name);
        sync(source, &root).expect("a workspace can be copied");
        // Without this cargo takes a copied package for a lost member of the workspace around it.
        let manifest = root.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("a workspace has a manifest");
        if !text.lines().any(|line| line.trim_end() == "[workspace]") {
            fs::write(&manifest, text + "\n[workspace]\n").expect("the copy can be written");
        }
        Self { root, _lock: lock }
    }

    /// Returns the workspace root.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Makes `target` a copy of `source`, but for `target/` and `.git/` folders. Files that are right already keep
/// their times, so that cargo does not build them again.
///
/// # Errors
/// What the system says of a file.
pub fn sync(source: &Path, target: &Path) -> io::Result<()> {
    let skipped = |entry: &walkdir::DirEntry| {
        entry.depth() == 1 && (entry.file_name() == "target" || entry.file_name() == ".git")
    };
    for entry in WalkDir::new(source)
        .into_iter()
        .filter_entry(|entry| !skipped(entry))
    {
        let entry = entry?;
        let to = target.join(
            entry
                .path()
                .strip_prefix(source)
                .expect("an entry is below its root"),
        );
        let kind = entry.file_type();
        if kind.is_dir() {
            fs::create_dir_all(&to)?;
        } else if kind.is_symlink() {
            if to.symlink_metadata().is_err() {
                std::os::unix::fs::symlink(fs::read_link(entry.path())?, &to)?;
            }
        } else if fs::read(&to).ok() != Some(fs::read(entry.path())?) {
            fs::copy(entry.path(), &to)?;
        }
    }
    for entry in WalkDir::new(target)
        .into_iter()
        .filter_entry(|entry| !skipped(entry))
    {
        let entry = entry?;
        let from = source.join(
            entry
                .path()
                .strip_prefix(target)
                .expect("an entry is below its root"),
        );
        if !entry.file_type().is_dir() && from.symlink_metadata().is_err() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
