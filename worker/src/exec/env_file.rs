//! The variables that a setup script leaves for the cases after it.

use std::io;
use std::path::{Path, PathBuf};

use thresh_core::fault::Fault;

/// Why the file at `NEXTEST_ENV` was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EnvFileError {
    /// It could not be read.
    #[error("read the setup script's environment file {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A line is not `KEY=VALUE`.
    #[error("parse line {line} of the setup script's environment file {}: expected KEY=VALUE, found {text:?}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A name may not be set by a setup script.
    #[error("accept line {line} of the setup script's environment file {}: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with the name.
        why: String,
    },
}

impl EnvFileError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { cause, .. } if cause.kind() != io::ErrorKind::InvalidData => Fault::Environment,
            Self::Read { .. } | Self::Line { .. } | Self::Key { .. } => Fault::Input,
        }
    }
}

/// Reads the `KEY=VALUE` lines that a setup script wrote to `path`, in their order. A later line of the same
/// name wins.
///
/// # Errors
///
/// When the file cannot be read or is not UTF-8, a line has no `=`, or a name is no name for a variable or
/// begins with `NEXTEST`.
pub fn read_env_file(path: &Path) -> Result<Vec<(String, String)>, EnvFileError> {
    let text = std::fs::read_to_string(path).map_err(|cause| EnvFileError::Read {
        path: path.to_owned(),
        cause,
    })?;
    text.lines()
        .enumerate()
        .map(|(index, text)| {
            let (path, line) = (path.to_owned(), index + 1);
            let Some((key, value)) = text.split_once('=') else {
                return Err(EnvFileError::Line {
                    path,
                    line,
                    text: text.to_owned(),
                });
            };
            match fault_of_key(key) {
                Some(why) => Err(EnvFileError::Key { path, line, why }),
                None => Ok((key.to_owned(), value.to_owned())),
            }
        })
        .collect()
}

fn fault_of_key(key: &str) -> Option<String> {
    let starts_well = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well {
        return Some(format!(
            "the name {key:?} starts with neither a letter nor an underscore"
        ));
    }
    if !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Some(format!(
            "the name {key:?} holds more than letters, digits and underscores"
        ));
    }
    key.starts_with("NEXTEST")
        .then(|| format!("the name {key:?} begins with NEXTEST, which is reserved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<(String, String)>, EnvFileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, content).unwrap();
        read_env_file(&path)
    }

    #[test]
    fn values_may_hold_anything_but_a_line_break() {
        let read = read("A=1\n_b2= x=y \r\nEMPTY=").unwrap();
        let expected = [("A", "1"), ("_b2", " x=y "), ("EMPTY", "")];
        assert_eq!(
            read,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert!(read_env_file(Path::new("/nonexistent/env")).unwrap_err().fault() == Fault::Environment);
    }

    #[test]
    fn bad_lines_are_named() {
        for (content, message) in [
            ("A=1\nnonsense\n", "parse line 2"),
            ("A=1\n\nB=2\n", "parse line 2"),
            ("=x", "starts with neither"),
            ("1A=x", "starts with neither"),
            ("A B=x", "holds more than"),
            ("NEXTEST_RUN_ID=x", "reserved"),
        ] {
            let error = read(content).unwrap_err();
            assert!(error.to_string().contains(message), "{content:?}: {error}");
            assert_eq!(error.fault(), Fault::Input);
        }
    }
}
