//! Why there are no test binaries.

use std::io;

use camino::Utf8PathBuf;
use nextest_metadata::NextestExitCode;
use thresh_core::fault::Fault;

/// The workspace could not be built, or what is known of it could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A program could not be started, or its output not read.
    #[error("run `{command}`: {source}{}", if source.kind() == io::ErrorKind::NotFound { "; cargo, which rustup installs, has to be on PATH" } else { "" })]
    Run {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// Cargo could not build the tests; it has said why itself.
    #[error("build the tests: `{command}` ended with {ended}")]
    Cargo {
        /// The command line.
        command: String,
        /// How it ended.
        ended: String,
    },
    /// `cargo metadata` failed.
    #[error("read the workspace: `{command}` ended with {ended}{}{stderr}", if .stderr.is_empty() { "" } else { "\n" })]
    Metadata {
        /// The command line.
        command: String,
        /// How it ended.
        ended: String,
        /// What it said, unless cargo has said the same on the terminal.
        stderr: String,
    },
    /// The output of `cargo metadata` describes no package graph.
    #[error("read the output of cargo metadata: {message}")]
    Graph {
        /// What is wrong with it.
        message: String,
    },
    /// Cargo named a package that `cargo metadata` did not.
    #[error("match cargo's messages with cargo metadata: unknown package `{package}`")]
    UnknownPackage {
        /// The package's id.
        package: String,
    },
    /// A cargo configuration file cannot be used.
    #[error("read cargo configuration {place}: {message}")]
    CargoConfig {
        /// The file, or `--config` and its value.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// The target platform is not known.
    #[error("find target platform `{triple}`: {message}")]
    Target {
        /// Its name.
        triple: String,
        /// Why.
        message: String,
    },
    /// An archive cannot be used.
    #[error("open archive {file}: {message}")]
    Archive {
        /// The archive.
        file: Utf8PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The workspace's sources are not where the archive says.
    #[error(
        "find the workspace's sources: there is no {manifest}; \
         check them out there, or name another folder with --workspace-remap"
    )]
    NoSources {
        /// The manifest that should exist.
        manifest: Utf8PathBuf,
    },
}

impl BuildError {
    /// Whose fault this is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Run { .. } => Fault::Environment,
            Self::Graph { .. } | Self::UnknownPackage { .. } => Fault::Internal,
            _ => Fault::Input,
        }
    }

    /// Returns the exit code that cargo-nextest has for this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Cargo { .. } => NextestExitCode::BUILD_FAILED,
            Self::Metadata { .. } | Self::Graph { .. } => NextestExitCode::CARGO_METADATA_FAILED,
            _ => NextestExitCode::SETUP_ERROR,
        }
    }
}
