//! The program under its other names: what cargo calls in place of rustc, and rustc in place of the linker.

use std::env;
use std::ffi::OsString;

use thresh_reach::{compile, is_compiler, is_wrapper, link};

/// Acts by the name that the program was called by; returns the exit code. `None`: it is Thresh itself.
pub(crate) fn act() -> Option<u8> {
    let mut arguments = env::args_os();
    let name = arguments.next()?;
    let variable = |name: &str| env::var_os(name);
    if is_compiler(&name) {
        let arguments: Vec<OsString> = arguments.collect();
        Some(compile(env::current_exe(), &arguments, variable))
    } else if is_wrapper(&name) {
        let arguments: Vec<OsString> = arguments.collect();
        Some(link(&arguments, variable))
    } else {
        None
    }
}
