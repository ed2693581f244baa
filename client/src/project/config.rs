//! `thresh.toml`, at the root of the workspace.
//!
//! Every knob is optional. A key that is not known is an error, so that a misspelt one never goes unnoticed.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use thresh_core::environment::EnvironmentPolicy;
use thresh_core::fault::Fault;
use thresh_core::reuse::AuditShare;
use toml::de::{DeTable, DeValue};

/// The name of the file.
pub const CONFIG_FILE: &str = "thresh.toml";

/// What `thresh.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectConfig {
    /// Whose history this is; the default is made from git's `origin`.
    pub project: Option<String>,
    /// `[farm]`
    pub farm: FarmConfig,
    /// `[engine]`
    pub engine: EngineConfig,
    /// `[env]`
    pub env: EnvConfig,
    /// `[run]`
    pub run: RunConfig,
    /// `[reuse]`
    pub reuse: ReuseConfig,
}

/// `[farm]`: which machines run the cases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FarmConfig {
    /// The coordinator's address, for example `http://farm:8980`; without it this machine runs everything.
    pub url: Option<String>,
    /// How the debug sections of programs travel to workers.
    pub debug_sections: DebugSections,
    /// Whether what a case writes below the target folder is seen by later cases of the run on its worker.
    pub shared_target: bool,
}

/// `[engine]`: an engine of the Remote Execution API that runs the cases in a farm's place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Its address, `reapi://HOST:PORT[/INSTANCE]`.
    pub url: Option<String>,
    /// What its machines have to be, as it knows them: `OSFamily = "linux"`.
    pub properties: BTreeMap<String, String>,
}

/// How the debug sections of programs travel to workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebugSections {
    /// Apart, when something looks for the lines of a program there.
    #[default]
    Apart,
    /// With the program: for cases that read the sections of a program by themselves.
    Along,
}

/// `[env]`: what happens to environment variables. Names may end with `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnvConfig {
    /// Further variables that travel to workers on other machines.
    pub pass: Vec<String>,
    /// Volatile variables that are part of the reuse key all the same.
    pub key: Vec<String>,
}

/// `[run]`: how an embedded run runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// How many cases run at a time on this machine; the default is one per core.
    pub slots: Option<NonZeroU32>,
}

/// `[reuse]`: whether passes are looked up and stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ReuseConfig {
    /// `false` is `--no-reuse` for every run.
    pub enabled: bool,
    /// A cache of the Remote Execution API in which runs on this machine look up and store passes, too.
    pub from: Option<String>,
    /// The share of the reusable cases that run all the same, to see whether they still pass; `None`: what is
    /// [usual](AuditShare::usual).
    #[serde(deserialize_with = "audit_share")]
    pub audit: Option<AuditShare>,
    /// Which files a case depends on.
    pub files: ReuseFiles,
    /// Whether the line of a panic counts where no case can see it.
    #[serde(alias = "panic_locations")]
    pub panic_locations: PanicLocations,
}

/// Which files a case depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReuseFiles {
    /// Those that it is seen to read, where that can be seen.
    #[default]
    Seen,
    /// All of the workspace.
    Workspace,
}

/// Whether lines and columns of panics (`core::panic::Location`) are part of a case's code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PanicLocations {
    /// Only for cases whose code can observe one, and in what is built with optimisation.
    #[default]
    Ignore,
    /// For all cases.
    Exact,
}

impl Default for ReuseConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            from: None,
            audit: None,
            files: ReuseFiles::default(),
            panic_locations: PanicLocations::default(),
        }
    }
}

/// Every table with its keys; serde's structs above hold the same names.
const KEYS: &[(&str, &[&str])] = &[
    ("", &["project", "farm", "engine", "env", "run", "reuse"]),
    ("farm", &["url", "debug-sections", "shared-target"]),
    ("engine", &["url", "properties"]),
    ("env", &["pass", "key"]),
    ("run", &["slots"]),
    (
        "reuse",
        &[
            "audit",
            "enabled",
            "files",
            "from",
            "panic-locations",
            "panic_locations",
        ],
    ),
];

/// Why `thresh.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there, but cannot be read.
    #[error("read {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file's content is wrong.
    #[error("read {}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong, and what would be right.
        message: String,
    },
}

impl ConfigError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unreadable { .. } => Fault::Environment,
            Self::Invalid { .. } => Fault::Input,
        }
    }
}

impl ProjectConfig {
    /// Reads `thresh.toml` in `workspace_root`; a file that is not there is an empty one.
    ///
    /// # Errors
    /// The file cannot be read or is not valid.
    pub fn load(workspace_root: &Path) -> Result<Self, ConfigError> {
        let path = workspace_root.join(CONFIG_FILE);
        match std::fs::read(&path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Self::parse(&path, &text),
                Err(error) => {
                    let valid = error.utf8_error().valid_up_to();
                    let start = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                    Err(invalid(
                        &path,
                        &start,
                        valid,
                        "the file is not UTF-8 from here on",
                    ))
                }
            },
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(cause) => Err(ConfigError::Unreadable { path, cause }),
        }
    }

    /// Reads `text` as the content of `path`.
    ///
    /// # Errors
    /// The text is not valid; the error says where.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let at = |error: toml::de::Error| {
            invalid(
                path,
                text,
                error.span().map_or(0, |span| span.start),
                error.message(),
            )
        };
        let table = DeTable::parse(text).map_err(at)?;
        if let Some((offset, unknown)) = unknown_key("", table.get_ref()) {
            return Err(invalid(path, text, offset, unknown));
        }
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let key = key_at(table.get_ref(), start).map_or_else(String::new, |key| format!("{key}: "));
            invalid(path, text, start, key + error.message())
        })
    }

    /// What the project adds to the lists of environment variables.
    pub fn environment_policy(&self) -> EnvironmentPolicy {
        EnvironmentPolicy {
            pass: self.env.pass.clone(),
            key: self.env.key.clone(),
        }
    }
}

fn audit_share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AuditShare>, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let text = value
        .as_str()
        .ok_or_else(|| serde::de::Error::custom("expected a percentage, like \"5%\""))?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// The key whose value has this place in the text, with those of the tables around it.
fn key_at(table: &DeTable<'_>, at: usize) -> Option<String> {
    let (key, value) = table.iter().find(|(key, value)| match value.get_ref() {
        // A table's own place is that of its head only.
        DeValue::Table(inner) => key_at(inner, at).is_some(),
        _ => value.span().contains(&at) || key.span().contains(&at),
    })?;
    let inner = value.get_ref().as_table().and_then(|inner| key_at(inner, at));
    let inner = inner.map_or_else(String::new, |inner| format!(".{inner}"));
    Some(format!("{}{inner}", key.get_ref()))
}

fn invalid(path: &Path, text: &str, offset: usize, message: impl fmt::Display) -> ConfigError {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    ConfigError::Invalid {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: message.to_string().trim_end().replace('\n', "; "),
    }
}

/// Finds the first key that no knob has, with its offset in the text.
fn unknown_key(table_name: &str, table: &DeTable<'_>) -> Option<(usize, String)> {
    let (_, known) = KEYS.iter().find(|(name, _)| *name == table_name)?;
    let mut keys: Vec<_> = table.iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in keys {
        let name: &str = key.get_ref();
        if !known.contains(&name) {
            return Some((key.span().start, describe_unknown(table_name, name, known)));
        }
        if let (true, DeValue::Table(inner)) = (table_name.is_empty(), value.get_ref())
            && let Some(found) = unknown_key(name, inner)
        {
            return Some(found);
        }
    }
    None
}

fn describe_unknown(table_name: &str, name: &str, known: &[&str]) -> String {
    let place = if table_name.is_empty() {
        String::new()
    } else {
        format!(" in [{table_name}]")
    };
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 2);
    match nearest {
        Some((_, candidate)) => format!("unknown key `{name}`{place}, did you mean `{candidate}`?"),
        None => format!("unknown key `{name}`{place}, known are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        ProjectConfig::parse(Path::new("/w/thresh.toml"), text)
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn every_knob_is_read() {
        let text = "project = 'p'\n[farm]\nurl = 'http://farm:8980'\ndebug-sections = 'along'\nshared-target = true\n[env]\npass = ['A_*']\nkey = ['B']\n\
                    [run]\nslots = 3\n[reuse]\nenabled = false\naudit = '2.5%'\n";
        let config = ProjectConfig::parse(Path::new("thresh.toml"), text).unwrap();
        assert_eq!(config.project.as_deref(), Some("p"));
        assert_eq!(config.farm.url.as_deref(), Some("http://farm:8980"));
        assert_eq!(config.farm.debug_sections, DebugSections::Along);
        assert!(config.farm.shared_target);
        assert_eq!(config.run.slots, NonZeroU32::new(3));
        assert!(!config.reuse.enabled);
        assert_eq!(config.reuse.audit.map(AuditShare::as_ppm), Some(25_000));
        assert!(config.environment_policy().travels("A_X"));
    }

    #[test]
    fn unknown_keys_are_refused_with_place_and_suggestion() {
        assert_eq!(
            error("# ü\n[farm]\nulr = 'x'\n"),
            "read /w/thresh.toml:3:1: unknown key `ulr` in [farm], did you mean `url`?"
        );
        assert_eq!(
            error("\n  frm.url = 'x'"),
            "read /w/thresh.toml:2:3: unknown key `frm`, did you mean `farm`?"
        );
        assert_eq!(
            error("[run]\nslots = 1\nsomething_else = 2"),
            "read /w/thresh.toml:3:1: unknown key `something_else` in [run], known are: slots"
        );
    }

    #[test]
    fn wrong_values_are_refused_with_place() {
        assert!(
            error("[run]\nslots = 0").starts_with("read /w/thresh.toml:2:9: "),
            "{}",
            error("[run]\nslots = 0")
        );
        assert!(error("[run]\nslots = 'ü', x").starts_with("read /w/thresh.toml:2:12: "));
        assert!(error("[reuse]\nenabled = 'yes'").starts_with("read /w/thresh.toml:2:11: "));
        let audit = error("[reuse]\naudit = '5'");
        assert!(
            audit.starts_with("read /w/thresh.toml:2:9: reuse.audit: expected a percentage"),
            "{audit}"
        );
        let number = error("[reuse]\naudit = 5");
        assert!(
            number.starts_with("read /w/thresh.toml:2:9: reuse.audit: expected a percentage"),
            "{number}"
        );
        let slots = error("run.slots = '2'");
        assert!(
            slots.starts_with("read /w/thresh.toml:1:13: run.slots: invalid type"),
            "{slots}"
        );
        assert!(error("[env]\npass = [1]").starts_with("read /w/thresh.toml:2:9: "));
    }

    #[test]
    fn a_file_that_is_absent_is_empty_and_one_that_is_not_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            ProjectConfig::load(folder.path()).unwrap(),
            ProjectConfig::default()
        );
        std::fs::write(folder.path().join(CONFIG_FILE), b"# a\n# \xff").unwrap();
        let error = ProjectConfig::load(folder.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("thresh.toml:2:3: the file is not UTF-8 from here on"),
            "{error}"
        );
        assert_eq!(error.fault(), Fault::Input);
    }
}
