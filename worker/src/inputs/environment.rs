//! The variables that processes get from the worker itself.

use std::ffi::OsString;

use crate::exec::{Block, Environment};

/// What a farm's worker passes on of its own variables. Nothing else: a case must not see the operator's
/// secrets, nor depend on how one worker happens to be set up.
const PASSED_ON: [&str; 15] = [
    "CARGO_HOME",
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "PATH",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
];

/// A variable's name and value.
pub(crate) type Variable = (OsString, OsString);

/// The environment that the run's variables are laid over: in place the whole of this process's, otherwise a
/// small part of it.
pub(super) fn base(in_place: bool) -> Environment {
    if in_place {
        return Environment {
            common: Block::inherited().into(),
            set: Vec::new(),
        };
    }
    let passed_on = |name: &&str| std::env::var_os(name).map(|value| (OsString::from(*name), value));
    Environment {
        set: PASSED_ON.iter().filter_map(passed_on).collect(),
        ..Environment::default()
    }
}
