//! Running a program in a mount namespace of its own.

use crate::nobody;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Something to do in the new namespace before the program starts.
#[derive(Clone, Debug)]
pub enum Mount {
    /// Put an empty folder over this one.
    Hide(PathBuf),
    /// Put an empty folder of at most so many KiB over this one.
    Small(PathBuf, u32),
    /// Make this folder read-only.
    ReadOnly(PathBuf),
    /// Let no further mount namespace be made from here, as on a machine without the right to.
    Last,
}

impl Mount {
    fn script(&self) -> String {
        let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        match self {
            Self::Hide(path) => format!("mount -t tmpfs -o size=64m,mode=755 tmpfs {}", quoted(path)),
            Self::Small(path, kib) => format!("mount -t tmpfs -o size={kib}k tmpfs {}", quoted(path)),
            Self::ReadOnly(path) => {
                let path = quoted(path);
                format!("mount --bind {path} {path} && mount -o remount,bind,ro {path}")
            }
            Self::Last => "echo 0 > /proc/sys/user/max_mnt_namespaces".to_owned(),
        }
    }
}

/// Whether this machine lets us make mount namespaces.
///
/// # Panics
/// As [`allows`].
pub fn available() -> bool {
    allows(&[])
}

/// Whether this machine lets us make a mount namespace with `mounts`.
///
/// # Panics
/// When it does not, and `CI` is set: there, no test may be left out for what is missing.
pub fn allows(mounts: &[Mount]) -> bool {
    let probe = command(mounts, Path::new("true"));
    succeeds(
        probe,
        &format!("does not let us make a mount namespace with {mounts:?}"),
    )
}

/// Whether this machine lets a user without rights make a user namespace, and a mount namespace in it.
///
/// # Panics
/// As [`allows`].
pub fn allows_nobody() -> bool {
    let mut probe = nobody::command("KILL", Path::new("unshare"));
    probe.args(["-U", "-r", "-m", "true"]);
    succeeds(probe, "does not let a user without rights make a user namespace")
}

fn succeeds(mut probe: Command, otherwise: &str) -> bool {
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    let allowed = probe.status().is_ok_and(|status| status.success());
    assert!(
        allowed || std::env::var_os("CI").is_none(),
        "this machine {otherwise}, which the tests in CI need"
    );
    allowed
}

/// Returns a command that starts `program` after `mounts` in a mount namespace of its own. The process that it
/// starts becomes the program, so its id is the program's.
pub fn command(mounts: &[Mount], program: &Path) -> Command {
    let mut script: Vec<String> = mounts.iter().map(Mount::script).collect();
    script.push("exec \"$@\"".to_owned());
    let mut command = Command::new("unshare");
    command
        .args(flags(mounts))
        .args(["sh", "-c"])
        .arg(script.join(" && "))
        .arg("sh")
        .arg(OsString::from(program));
    command
}

fn flags(mounts: &[Mount]) -> &'static [&'static str] {
    // The limit on namespaces is that of the user namespace: without one of our own it would be the machine's.
    let limits = mounts.iter().any(|mount| matches!(mount, Mount::Last));
    if rustix::process::geteuid().is_root() && !limits {
        &["--mount"]
    } else {
        &["-U", "-r", "-m"]
    }
}
