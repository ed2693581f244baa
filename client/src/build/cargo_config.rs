//! The parts of cargo's own configuration that matter when cases run: `[env]`, target runners, `build.target`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use serde::de::IgnoredAny;
use target_spec::{Platform, TargetSpecExpression};

use super::error::BuildError;
use crate::surroundings::Surroundings;

/// Cargo's configuration, from `--config`, the environment and `.cargo/config.toml` files.
#[derive(Debug, Default)]
pub struct CargoConfig {
    /// Highest first; environment variables stand between `--config` and the files that are found.
    sources: Vec<Source>,
}

/// Parts of flags of rustc that may make optimised code, or that stand for flags in a file.
const OPTIMISING: &[&str] = &["opt-level", "-O", "@", "-Z", "passes", "llvm-args", "inline"];

/// Wrappers of rustc that give it the flags that they are given.
const PLAIN_WRAPPERS: &[&str] = &["sccache", "cachepot", "ccache"];

#[derive(Debug)]
enum Source {
    Environment,
    Settings {
        /// `None` for `--config KEY=VALUE`.
        file: Option<Utf8PathBuf>,
        /// What relative paths are relative to.
        base: Utf8PathBuf,
        settings: Box<Settings>,
    },
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    /// Further files, which are not read here.
    include: Option<IgnoredAny>,
    #[serde(default)]
    build: BuildSettings,
    #[serde(default)]
    target: BTreeMap<String, TargetSettings>,
    #[serde(default)]
    env: BTreeMap<String, Variable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BuildSettings {
    target: Option<OneOrMore>,
    rustc: Option<String>,
    rustc_wrapper: Option<String>,
    rustc_workspace_wrapper: Option<String>,
    rustflags: Option<OneOrMore>,
}

#[derive(Debug, Default, Deserialize)]
struct TargetSettings {
    runner: Option<OneOrMore>,
    rustflags: Option<OneOrMore>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Variable {
    Plain(String),
    Detailed {
        value: String,
        force: Option<bool>,
        relative: Option<bool>,
    },
}

/// A target triple that was asked for, and what a path to its definition is relative to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AskedTarget {
    pub(super) triple: String,
    pub(super) base: Utf8PathBuf,
}

impl CargoConfig {
    /// Reads the configuration that cargo would use in the directory of `surroundings`. `given` holds the
    /// values of `--config`: paths, or `KEY=VALUE`.
    ///
    /// # Errors
    /// When a file cannot be read or does not parse.
    pub fn discover(given: &[String], surroundings: &Surroundings) -> Result<Self, BuildError> {
        let directory = &surroundings.directory;
        let (mut pairs, mut files) = (Vec::new(), Vec::new());
        for text in given {
            let path = directory.join(text);
            if path.exists() {
                files.push(read(&path)?);
            } else {
                let settings = parse(&format!("--config {text}"), text)?;
                pairs.push(Source::Settings {
                    file: None,
                    base: directory.clone(),
                    settings: Box::new(settings),
                });
            }
        }
        pairs.append(&mut files);
        pairs.push(Source::Environment);
        for path in files_above(surroundings) {
            pairs.push(read(&path)?);
        }
        Ok(Self { sources: pairs })
    }

    /// Returns the target that `--target`, the environment or a file asks for.
    pub(super) fn target(
        &self,
        option: Option<&str>,
        surroundings: &Surroundings,
    ) -> Result<Option<AskedTarget>, BuildError> {
        let here = |triple: &str| AskedTarget {
            triple: triple.to_owned(),
            base: surroundings.directory.clone(),
        };
        if let Some(triple) = option {
            return Ok(Some(here(triple)));
        }
        for source in &self.sources {
            match source {
                Source::Environment => {
                    if let Some(triple) = surroundings.text("CARGO_BUILD_TARGET") {
                        return Ok(Some(here(triple)));
                    }
                }
                Source::Settings { base, settings, file } => match &settings.build.target {
                    None => {}
                    Some(OneOrMore::One(triple)) => {
                        return Ok(Some(AskedTarget {
                            triple: triple.clone(),
                            base: base.clone(),
                        }));
                    }
                    Some(OneOrMore::More(triples)) => match &triples[..] {
                        [triple] => {
                            return Ok(Some(AskedTarget {
                                triple: triple.clone(),
                                base: base.clone(),
                            }));
                        }
                        _ => {
                            return Err(BuildError::CargoConfig {
                                place: place(file.as_deref()),
                                message: "more than one build.target is not supported".to_owned(),
                            });
                        }
                    },
                },
            }
        }
        Ok(None)
    }

    /// Whether it goes on in other files: then wrappers and flags may be set that are not known here.
    pub(super) fn has_includes(&self) -> bool {
        let includes = |source: &Source| match source {
            Source::Environment => false,
            Source::Settings { settings, .. } => settings.include.is_some(),
        };
        self.sources.iter().any(includes)
    }

    /// Returns the wrapper of rustc that cargo is to use, if there is one.
    pub(super) fn compiler_wrapper(&self, surroundings: &Surroundings) -> Option<OsString> {
        // Cargo asks for this variable before all else, and an empty one says that there is none.
        if let Some(wrapper) = surroundings.variable("RUSTC_WRAPPER") {
            return Some(wrapper.to_owned()).filter(|wrapper| !wrapper.is_empty());
        }
        let (wrapper, base) = self.sources.iter().find_map(|source| match source {
            Source::Environment => {
                let wrapper = surroundings.text("CARGO_BUILD_RUSTC_WRAPPER")?;
                Some((wrapper, &surroundings.directory))
            }
            Source::Settings { settings, base, .. } => {
                let wrapper = settings.build.rustc_wrapper.as_deref()?;
                Some((wrapper, base))
            }
        })?;
        let is_path = wrapper.contains('/');
        let wrapper = if is_path {
            base.join(wrapper).into_string()
        } else {
            wrapper.to_owned()
        };
        Some(wrapper.into()).filter(|wrapper: &OsString| !wrapper.is_empty())
    }

    /// Whether another compiler than rustc is called, or a wrapper that may give it flags of its own.
    fn is_compiled_by_others(&self, surroundings: &Surroundings) -> bool {
        let set = |variables: [&str; 2], key: fn(&BuildSettings) -> Option<&String>| -> Vec<OsString> {
            let by_variable = variables.iter().filter_map(|name| surroundings.variable(name));
            let by_file = self.sources.iter().filter_map(|source| match source {
                Source::Environment => None,
                Source::Settings { settings, .. } => key(&settings.build),
            });
            let by_variable = by_variable.map(ToOwned::to_owned);
            by_variable
                .chain(by_file.map(OsString::from))
                .filter(|program| !program.is_empty())
                .collect()
        };
        let compilers = set(["RUSTC", "CARGO_BUILD_RUSTC"], |build| build.rustc.as_ref());
        let mut wrappers = set(
            ["RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER"],
            |build| build.rustc_workspace_wrapper.as_ref(),
        );
        wrappers.extend(self.compiler_wrapper(surroundings));
        let is_one_of = |program: &OsString, known: &[&str]| {
            let name = Path::new(program).file_stem().and_then(OsStr::to_str);
            name.is_some_and(|name| known.contains(&name))
        };
        !compilers.iter().all(|compiler| is_one_of(compiler, &["rustc"]))
            || !wrappers.iter().all(|wrapper| is_one_of(wrapper, PLAIN_WRAPPERS))
    }

    /// Whether flags for rustc say, or may say, how much to optimise: then cargo's messages, which tell its profiles, do not.
    pub fn flags_optimise(&self, surroundings: &Surroundings) -> bool {
        let optimises = |flags: &str| OPTIMISING.iter().any(|part| flags.contains(part));
        let is_flags = |name: &str| name.ends_with("RUSTFLAGS");
        let by_environment = (surroundings.variables.iter())
            .any(|(name, value)| name.to_str().is_some_and(is_flags) && value.to_str().is_none_or(optimises));
        let by_file = |source: &Source| {
            let Source::Settings { settings, .. } = source else {
                return false;
            };
            let of_targets = settings.target.values().map(|target| &target.rustflags);
            let mut all = of_targets.chain([&settings.build.rustflags]).flatten();
            all.any(|flags| match flags {
                OneOrMore::One(flags) => optimises(flags),
                OneOrMore::More(flags) => flags.iter().any(|flag| optimises(flag)),
            })
        };
        self.has_includes()
            || self.is_compiled_by_others(surroundings)
            || by_environment
            || self.sources.iter().any(by_file)
    }

    /// Returns the program, with arguments, that runs binaries built for `platform`.
    ///
    /// # Errors
    /// When a runner is set and empty.
    pub fn runner(
        &self,
        platform: &Platform,
        surroundings: &Surroundings,
    ) -> Result<Option<Vec<String>>, BuildError> {
        let triple = platform.triple_str();
        let variable = format!(
            "CARGO_TARGET_{}_RUNNER",
            triple.to_ascii_uppercase().replace('-', "_")
        );
        for source in &self.sources {
            let (runner, base, named) = match source {
                Source::Environment => match surroundings.variable(&variable) {
                    None => continue,
                    Some(value) => {
                        let value = value.to_string_lossy().into_owned();
                        (OneOrMore::One(value), &surroundings.directory, variable.clone())
                    }
                },
                Source::Settings { settings, base, file } => match settings.runner(platform) {
                    None => continue,
                    Some(runner) => (runner.clone(), base, place(file.as_deref())),
                },
            };
            let mut argv = match runner {
                // Cargo splits at white space, too, whatever the quotes.
                OneOrMore::One(line) => line.split_whitespace().map(str::to_owned).collect(),
                OneOrMore::More(argv) => argv,
            };
            let Some(program) = argv.first_mut() else {
                let message = format!("the runner for {triple} is empty");
                return Err(BuildError::CargoConfig {
                    place: named,
                    message,
                });
            };
            if program.contains('/') {
                *program = base.join(&*program).into_string();
            }
            return Ok(Some(argv));
        }
        Ok(None)
    }

    /// Returns the variables of `[env]` that a case gets, each with the value that it has for the case: the
    /// one of `surroundings` where it is set there and not forced.
    pub fn variables(&self, surroundings: &Surroundings) -> Vec<(String, OsString)> {
        struct Found<'a> {
            value: &'a str,
            file: Option<&'a Utf8Path>,
            force: Option<bool>,
            relative: Option<bool>,
        }
        let mut found: BTreeMap<&str, Found<'_>> = BTreeMap::new();
        for source in &self.sources {
            let Source::Settings { file, settings, .. } = source else {
                continue;
            };
            for (name, variable) in &settings.env {
                let (value, force, relative) = match variable {
                    Variable::Plain(value) => (value, None, None),
                    Variable::Detailed {
                        value,
                        force,
                        relative,
                    } => (value, *force, *relative),
                };
                let first = found.entry(name).or_insert(Found {
                    value,
                    file: file.as_deref(),
                    force,
                    relative,
                });
                first.force = first.force.or(force);
                first.relative = first.relative.or(relative);
            }
        }
        let value = |(name, found): (&str, Found<'_>)| {
            let present = surroundings.variable(name).filter(|_| found.force != Some(true));
            let value = present.map_or_else(
                || {
                    let root = found.file.and_then(Utf8Path::parent).and_then(Utf8Path::parent);
                    match root.filter(|_| found.relative == Some(true)) {
                        Some(root) => root.join(found.value).into_string().into(),
                        None => found.value.into(),
                    }
                },
                ToOwned::to_owned,
            );
            (name.to_owned(), value)
        };
        found.into_iter().map(value).collect()
    }
}

impl Settings {
    fn runner(&self, platform: &Platform) -> Option<&OneOrMore> {
        let exact = self
            .target
            .get(platform.triple_str())
            .and_then(|target| target.runner.as_ref());
        let matching = || {
            self.target
                .iter()
                .filter(|(name, _)| name.starts_with("cfg("))
                .find_map(|(name, target)| {
                    let runner = target.runner.as_ref()?;
                    let expression = TargetSpecExpression::new(name).ok()?;
                    (expression.eval(platform) == Some(true)).then_some(runner)
                })
        };
        exact.or_else(matching)
    }
}

fn place(file: Option<&Utf8Path>) -> String {
    file.map_or_else(|| "--config".to_owned(), |file| file.to_string())
}

/// Returns the configuration files that hold in the directory, nearest first, then the home's.
fn files_above(surroundings: &Surroundings) -> Vec<Utf8PathBuf> {
    let start = surroundings
        .directory
        .canonicalize_utf8()
        .unwrap_or_else(|_| surroundings.directory.clone());
    let mut paths: Vec<_> = start
        .ancestors()
        .filter_map(|directory| config_in(&directory.join(".cargo")))
        .collect();
    if let Some(path) = cargo_home(surroundings).and_then(|home| config_in(&home))
        && !paths.contains(&path)
    {
        paths.push(path);
    }
    paths
}

/// Returns the configuration file in a `.cargo` folder; like cargo, prefers the older name.
fn config_in(folder: &Utf8Path) -> Option<Utf8PathBuf> {
    ["config", "config.toml"]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.exists())
}

/// Returns cargo's home folder.
pub(crate) fn cargo_home(surroundings: &Surroundings) -> Option<Utf8PathBuf> {
    match surroundings.text("CARGO_HOME") {
        Some(home) => Some(surroundings.directory.join(home)),
        None => surroundings
            .text("HOME")
            .map(|home| Utf8Path::new(home).join(".cargo")),
    }
}

fn read(path: &Utf8Path) -> Result<Source, BuildError> {
    let fault = |message: String| BuildError::CargoConfig {
        place: path.to_string(),
        message,
    };
    let path = path
        .canonicalize_utf8()
        .map_err(|error| fault(error.to_string()))?;
    let text = std::fs::read_to_string(&path).map_err(|error| fault(error.to_string()))?;
    let settings = parse(path.as_str(), &text)?;
    let base = path
        .parent()
        .and_then(Utf8Path::parent)
        .unwrap_or(&path)
        .to_owned();
    Ok(Source::Settings {
        file: Some(path),
        base,
        settings: Box::new(settings),
    })
}

fn parse(place: &str, text: &str) -> Result<Settings, BuildError> {
    toml::from_str(text).map_err(|error| BuildError::CargoConfig {
        place: place.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })
}

#[cfg(test)]
mod tests;
