//! Running a program as a user without rights.

use rustix::process::geteuid;
use std::path::Path;
use std::process::Command;

/// The user and group "nobody".
pub const NOBODY: u32 = 65_534;

/// Returns a command that starts `program` as somebody who is not root: as nobody where this is root. It gets
/// `signal` when the thread that starts it ends. The process becomes the program, so its id is the program's.
pub fn command(signal: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--pdeathsig={signal}"));
    if geteuid().is_root() {
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
        command.arg("--clear-groups");
    }
    command.arg(program);
    command
}

/// Gives a folder to whom [`command`] runs programs as.
///
/// # Panics
/// When that is impossible.
pub fn give(folder: &Path) {
    if geteuid().is_root() {
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).expect("root may give a folder away");
    }
}
