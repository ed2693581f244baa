//! What the process finds around itself, taken once and handed on: nothing below reads the environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;

use camino::Utf8PathBuf;

/// Working directory, environment, number of cores.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Where cargo is started and where its configuration is looked for; absolute.
    pub directory: Utf8PathBuf,
    /// The environment.
    pub variables: BTreeMap<OsString, OsString>,
    /// How many cores there are.
    pub cpus: u32,
}

impl Surroundings {
    /// Returns those of this process.
    ///
    /// # Errors
    /// When the working directory is gone or its path is not UTF-8.
    pub fn of_process() -> io::Result<Self> {
        let directory = Utf8PathBuf::try_from(std::env::current_dir()?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            directory,
            variables: std::env::vars_os().collect(),
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        })
    }

    /// Returns the value of a variable.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Returns the value of a variable where it is UTF-8 and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.variable(name)?.to_str().filter(|text| !text.is_empty())
    }
}
