//! The program that rustc calls in the linker's place.
//!
//! It calls the real linker with the same arguments and hands its exit status on; only then, and only if the link made an
//! executable, it analyses what was linked. Nothing that goes wrong in the analysis is seen by the build.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::analysis::analyse;

/// The environment variable that names the real linker. Empty or not set: [`LINKER_DEFAULT`].
pub const LINKER_VARIABLE: &str = "THRESH_LINKER";

/// The environment variable that names the folder in which analyses are kept.
pub const FOLDER_VARIABLE: &str = "THRESH_REACH_DIR";

/// What rustc calls when nothing is configured.
pub const LINKER_DEFAULT: &str = "cc";

/// How the file name begins under which the program is called as a linker.
pub const WRAPPER_PREFIX: &str = "thresh-linker";

/// The exit code of a set-up error.
pub(crate) const SETUP: u8 = 96;

/// The exit code when a program cannot be started, as shells have it.
pub(crate) const NOT_STARTED: u8 = 127;

/// The file name for a wrapper of this linker. rustc tells by the end of a linker's name how to speak to it.
pub fn wrapper_name(linker: &Path) -> OsString {
    let mut name = OsString::from(format!("{WRAPPER_PREFIX}-"));
    name.push(linker.file_name().unwrap_or(OsStr::new(LINKER_DEFAULT)));
    name
}

/// Whether a program that is called by this name is to act as a linker.
pub fn is_wrapper(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| name.starts_with(WRAPPER_PREFIX))
}

/// Links, then analyses. `arguments` are without the program's own name; `variable` looks up the environment.
/// Returns the exit code.
pub fn link(arguments: &[OsString], variable: impl Fn(&str) -> Option<OsString>) -> u8 {
    let Some(folder) = variable(FOLDER_VARIABLE).filter(|folder| !folder.is_empty()) else {
        say(&format!(
            "{WRAPPER_PREFIX} is called by cargo, during `thresh run`; {FOLDER_VARIABLE} is not set"
        ));
        return SETUP;
    };
    let linker = variable(LINKER_VARIABLE).filter(|linker| !linker.is_empty());
    let linker = linker.unwrap_or_else(|| OsString::from(LINKER_DEFAULT));
    if is_wrapper(&linker) {
        say(&format!("{LINKER_VARIABLE} names {WRAPPER_PREFIX} itself"));
        return SETUP;
    }
    match Command::new(&linker).args(arguments).status() {
        Err(cause) => {
            say(&format!(
                "failed to start the linker {}: {cause}",
                linker.display()
            ));
            NOT_STARTED
        }
        Ok(status) if status.success() => {
            let folder = PathBuf::from(folder);
            // One thread less to start and to wait for. Where threads cannot be had there is no analysis.
            let _ = rayon::ThreadPoolBuilder::new()
                .use_current_thread()
                .build_global();
            // A binary without an analysis is one whose digest is its key.
            let _ = catch_unwind(AssertUnwindSafe(|| analyse(arguments, &folder)));
            0
        }
        Ok(status) => {
            let signal = status.signal().map(|signal| signal + 128);
            let code = status.code().or(signal).unwrap_or(1);
            u8::try_from(code).unwrap_or(u8::MAX)
        }
    }
}

pub(crate) fn say(message: &str) {
    // There is nowhere left to say that standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {message}");
}
