//! The linker wrapper as a program of its own, for replays and tests of this crate.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(thresh_reach::link(&arguments, |name| std::env::var_os(name)))
}
