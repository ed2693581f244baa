//! Asks the git program. Whatever it cannot or will not tell counts as "no git": then more files are listed,
//! never fewer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Lists what git does not ignore below `folder`, relative to it, in no order and with repetition; a submodule
/// or nested repository is one path. None if `folder` is in no work tree, is ignored or a submodule that is not
/// checked out, or git does not run.
pub(super) fn ls_files(folder: &Path) -> Option<Vec<PathBuf>> {
    let real = std::fs::canonicalize(folder).ok()?;
    let top = real
        .ancestors()
        .find(|ancestor| ancestor.join(".git").symlink_metadata().is_ok())?;
    if top != real && is_ignored(&real) {
        return None;
    }
    let listed = run(
        &real,
        &["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
    )?;
    let paths = listed.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    // A submodule that is not checked out: the repository around it lists its folder and nothing below.
    if paths.clone().any(|path| path == b"./") {
        return None;
    }
    Some(
        paths
            .map(|path| PathBuf::from(OsStr::from_bytes(path.strip_suffix(b"/").unwrap_or(path))))
            .collect(),
    )
}

/// Whether the repository around `folder` ignores it as a whole: then git would list nothing in it.
fn is_ignored(folder: &Path) -> bool {
    run(folder, &["check-ignore", "--quiet", "."]).is_some()
}

/// Runs git and returns its output; none if it fails or its answer is no (exit code 1). If it fails, it is
/// tried once more without the settings of the user and the machine, which may be what it fails on.
fn run(folder: &Path, args: &[&str]) -> Option<Vec<u8>> {
    let output = git_in(folder).args(args).output().ok()?;
    match output.status.code() {
        Some(0) => return Some(output.stdout),
        Some(1) => return None,
        _ => {}
    }
    let plain = [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")];
    let output = git_in(folder).args(args).envs(plain).output().ok()?;
    output.status.success().then_some(output.stdout)
}

/// A call of git in a folder, whoever owns it. A caller's environment that points git elsewhere is left out.
pub fn git_in(folder: &Path) -> Command {
    let mut git = Command::new("git");
    // A hook's environment points git at one repository and index; the files on disk are what counts here.
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.as_bytes().starts_with(b"GIT_") && !is_config_choice(name)) {
        git.env_remove(name);
    }
    git.arg("-C").arg(folder);
    // The tree may belong to someone else: listing is harmless, as long as no monitor program is started.
    for setting in ["safe.directory=*", "core.fsmonitor=false", "core.quotePath=false"] {
        git.args(["-c", setting]);
    }
    git.env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_DISCOVERY_ACROSS_FILESYSTEM", "1")
        .stdin(Stdio::null());
    git
}

fn is_config_choice(name: &OsStr) -> bool {
    ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"]
        .iter()
        .any(|choice| name == *choice)
}
