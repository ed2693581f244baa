//! Running a program in a mount namespace of its own.

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
        }
    }
}

/// Whether this machine lets us make mount namespaces.
pub fn available() -> bool {
    let mut probe = Command::new("unshare");
    probe
        .args(flags())
        .arg("true")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Returns a command that starts `program` after `mounts` in a mount namespace of its own. The process that it
/// starts becomes the program, so its id is the program's.
pub fn command(mounts: &[Mount], program: &Path) -> Command {
    let mut script: Vec<String> = mounts.iter().map(Mount::script).collect();
    script.push("exec \"$@\"".to_owned());
    let mut command = Command::new("unshare");
    command
        .args(flags())
        .args(["sh", "-c"])
        .arg(script.join(" && "))
        .arg("sh")
        .arg(OsString::from(program));
    command
}

fn flags() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() {
        &["--mount"]
    } else {
        &["-U", "-r", "-m"]
    }
}
