//! What can be wrong with a configuration.

use std::io;

use camino::Utf8PathBuf;
use nextest_metadata::NextestExitCode;
use thresh_core::fault::Fault;

use super::document::Place;
use super::filterset::FiltersetError;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("read nextest configuration {file}: {source}")]
    Read {
        /// The file.
        file: Utf8PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tool's configuration is not named as `TOOL:ABSOLUTE_PATH`.
    #[error("read tool configuration `{input}`: {reason}; expected TOOL:ABSOLUTE_PATH")]
    ToolFile {
        /// What was given.
        input: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something in a file is not as it should be.
    #[error("read nextest configuration: {place}: {message}")]
    Invalid {
        /// Where.
        place: Box<Place>,
        /// What.
        message: String,
    },
    /// A key that nextest does not know.
    #[error("read nextest configuration: {place}: unknown key `{key}` in {table}{}", hint(.suggestion))]
    UnknownKey {
        /// Where.
        place: Box<Place>,
        /// The key.
        key: String,
        /// The table that holds it.
        table: String,
        /// The most similar key that the table may hold.
        suggestion: Option<String>,
    },
    /// A name that is defined nowhere.
    #[error(
        "read nextest configuration: {place}: unknown {kind} `{name}`{} (known: {})",
        hint(.suggestion), list(.known)
    )]
    UnknownName {
        /// Where the name is used.
        place: Box<Place>,
        /// What it should name.
        kind: &'static str,
        /// The name.
        name: String,
        /// The most similar defined name.
        suggestion: Option<String>,
        /// All defined names.
        known: Vec<String>,
    },
    /// A filterset does not parse.
    #[error("read nextest configuration: {place}: {error}")]
    Filterset {
        /// Where the filterset stands.
        place: Box<Place>,
        /// What is wrong with it.
        error: FiltersetError,
    },
    /// A feature is used that must be switched on first.
    #[error(
        "read nextest configuration: {place}: `{feature}` is experimental; \
         add `experimental = [\"{feature}\"]` at the top of the repository's nextest.toml"
    )]
    ExperimentalFeature {
        /// Where it is used.
        place: Box<Place>,
        /// The feature.
        feature: &'static str,
    },
    /// The repository asks for a newer nextest than the one whose behaviour is followed.
    #[error(
        "use this workspace's nextest configuration: {place}: it requires nextest {required}, \
         and this version follows nextest {followed}"
    )]
    RequiredVersion {
        /// Where it is asked.
        place: Box<Place>,
        /// The version asked for.
        required: String,
        /// The version followed.
        followed: &'static str,
    },
    /// The profile asked for is defined nowhere.
    #[error("find nextest profile `{name}`{} (known: {})", hint(.suggestion), list(.known))]
    UnknownProfile {
        /// The name asked for.
        name: String,
        /// The most similar profile.
        suggestion: Option<String>,
        /// All profiles.
        known: Vec<String>,
    },
}

impl ConfigError {
    /// Whose fault this is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { source, .. } if source.kind() != io::ErrorKind::NotFound => Fault::Environment,
            _ => Fault::Input,
        }
    }

    /// Returns the exit code that cargo-nextest has for this error.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::ExperimentalFeature { .. } => NextestExitCode::EXPERIMENTAL_FEATURE_NOT_ENABLED,
            Self::RequiredVersion { .. } => NextestExitCode::REQUIRED_VERSION_NOT_MET,
            _ => NextestExitCode::SETUP_ERROR,
        }
    }
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion
        .as_ref()
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Returns the candidate most similar to `name`, when one is similar enough to be a misspelling of it.
pub(crate) fn suggest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate.to_owned())
}
