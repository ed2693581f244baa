//! The variables that a case would have from cargo and rustup, had they started the client.
//!
//! `cargo nextest` is started by cargo, and cargo often by rustup: both leave variables that cases of a
//! nextest run see. Started directly, the client sets the same.

use std::ffi::OsString;

use camino::{Utf8Path, Utf8PathBuf};

use crate::build::{Toolchain, cargo_home};
use crate::surroundings::Surroundings;

/// The names of the variables that may be set. Their values are paths and names on the client's machine.
pub const LAUNCHER_VARIABLES: [&str; 4] = ["CARGO", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

/// What cargo and rustup would have left.
#[derive(Debug, Default)]
pub(super) struct Launcher {
    pub(super) variables: Vec<(String, OsString)>,
    /// The toolchain's library folder, which rustup puts into the library path.
    pub(super) library_folder: Option<Utf8PathBuf>,
}

impl Launcher {
    pub(super) fn new(toolchain: &Toolchain, surroundings: &Surroundings) -> Self {
        let mut launcher = Self::default();
        let Some(sysroot) = toolchain.sysroot.as_deref() else {
            return launcher;
        };
        // Started by cargo: everything is there already.
        if surroundings.variable("CARGO").is_some() {
            return launcher;
        }
        let cargo = sysroot.join("bin/cargo");
        if cargo.is_file() {
            launcher.set(surroundings, "CARGO", Some(cargo.as_str()));
        }
        if let Some((home, toolchain)) = rustup(sysroot) {
            launcher.set(surroundings, "RUSTUP_HOME", Some(home));
            launcher.set(surroundings, "RUSTUP_TOOLCHAIN", Some(toolchain));
            let cargo_home = cargo_home(surroundings);
            launcher.set(
                surroundings,
                "CARGO_HOME",
                cargo_home.as_ref().map(|home| home.as_str()),
            );
            launcher.library_folder = Some(sysroot.join("lib"));
        }
        launcher
    }

    fn set(&mut self, surroundings: &Surroundings, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|_| surroundings.variable(name).is_none()) {
            self.variables.push((name.to_owned(), value.into()));
        }
    }
}

/// Returns rustup's home and the toolchain's name, for a toolchain that rustup installed.
fn rustup(sysroot: &Utf8Path) -> Option<(&str, &str)> {
    let toolchains = sysroot
        .parent()
        .filter(|folder| folder.file_name() == Some("toolchains"))?;
    Some((toolchains.parent()?.as_str(), sysroot.file_name()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_added_below_cargo_and_nothing_present_is_changed() {
        let toolchain = Toolchain {
            version: String::new(),
            sysroot: Some("/r/toolchains/stable".into()),
        };
        let with = |variables: &[(&str, &str)]| Surroundings {
            variables: variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            ..Surroundings::default()
        };
        let launcher = Launcher::new(&toolchain, &with(&[("CARGO", "/c")]));
        assert!(launcher.variables.is_empty() && launcher.library_folder.is_none());

        let launcher = Launcher::new(&toolchain, &with(&[("RUSTUP_HOME", "/mine"), ("HOME", "/h")]));
        let expected = [("RUSTUP_TOOLCHAIN", "stable"), ("CARGO_HOME", "/h/.cargo")]
            .map(|(name, value)| (name.to_owned(), OsString::from(value)));
        assert_eq!(launcher.variables, expected);
        assert_eq!(
            launcher.library_folder.as_deref(),
            Some(Utf8Path::new("/r/toolchains/stable/lib"))
        );
    }
}
