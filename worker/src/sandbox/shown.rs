//! A program that sees some folders at other paths, and all else as it is.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::construct::before_exec;
use super::paths::c_path;
use super::plan::{Rights, own_mounts};
use super::step::Step;

/// Starts what `command` makes, in `cwd`, where each folder of `shown` (first) also appears at another path (second), over what
/// is there; with all that is written to it. Nobody else sees that, and it ends with the program and what that started.
///
/// # Errors
/// The machine allows no namespaces, a folder is not there, or the program cannot be started.
pub fn start_with_folders(
    command: impl Fn() -> Command,
    shown: &[(PathBuf, PathBuf)],
    cwd: &Path,
) -> io::Result<Child> {
    let start = |rights| {
        let mut steps = own_mounts(rights)?;
        for (from, at) in shown {
            steps.push(Step::Bind {
                from: c_path(from)?,
                at: c_path(at)?,
                optional: false,
            });
        }
        steps.push(Step::WorkIn { folder: c_path(cwd)? });
        let mut command = command();
        before_exec(&mut command, move || {
            steps
                .iter()
                .try_for_each(|step| step.run().map_err(io::Error::from))
        });
        command.spawn()
    };
    match start(Rights::Own) {
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => start(Rights::UserNamespace),
        started => started,
    }
}
