//! From files to a configuration.

use std::collections::BTreeMap;
use std::io;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use cargo_metadata::semver::Version;
use guppy::graph::PackageGraph;
use nextest_filtering::ParseContext;

use super::check::{Names, is_identifier};
use super::compile::CompiledProfile;
use super::document::{self, Node, Value};
use super::error::{ConfigError, suggest};
use super::gate::Gate;
use super::profile::Profile;
use super::raw::{RawConfig, raw_config};
use super::reader::invalid;
use crate::build::Platforms;

/// Where a workspace keeps its configuration, from its root.
pub const CONFIG_PATH: &str = ".config/nextest.toml";

/// Which files to read.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// Instead of [`CONFIG_PATH`]; must exist.
    pub config_file: Option<Utf8PathBuf>,
    /// Configuration of tools, below the repository's; earlier ones above later ones.
    pub tool_files: Vec<ToolFile>,
    /// Go on where a newer nextest is required.
    pub override_version_check: bool,
    /// The number of cores, for negative thread counts.
    pub cpus: u32,
}

/// A tool's configuration: `TOOL:ABSOLUTE_PATH` on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolFile {
    /// The tool.
    pub tool: String,
    /// Its file.
    pub path: Utf8PathBuf,
}

impl FromStr for ToolFile {
    type Err = ConfigError;

    fn from_str(input: &str) -> Result<Self, ConfigError> {
        let fault = |reason| ConfigError::ToolFile {
            input: input.to_owned(),
            reason,
        };
        let (tool, path) = input.split_once(':').ok_or_else(|| fault("there is no colon"))?;
        if !is_identifier(tool) {
            return Err(fault("the tool's name is not an identifier"));
        }
        if !Utf8Path::new(path).is_absolute() {
            return Err(fault("the path is not absolute"));
        }
        Ok(Self {
            tool: tool.to_owned(),
            path: path.into(),
        })
    }
}

/// One file, parsed.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) tool: Option<String>,
    pub(super) path: Utf8PathBuf,
    pub(super) root: Node,
}

/// A workspace's nextest configuration: all layers, checked.
#[derive(Debug)]
pub struct NextestConfig {
    pub(super) workspace_root: Utf8PathBuf,
    /// The layers merged.
    pub(super) merged: RawConfig,
    /// What adds up over the layers, by profile.
    pub(super) compiled: BTreeMap<String, CompiledProfile>,
    warnings: Vec<String>,
    required: Option<Version>,
    recommended: Option<Version>,
}

impl NextestConfig {
    /// Reads the configuration of the workspace at `workspace_root`. `graph` is what filtersets are about.
    ///
    /// # Errors
    /// When a file cannot be read, holds what nextest or Thresh does not know, or contradicts itself.
    pub fn load(
        workspace_root: &Utf8Path,
        graph: &PackageGraph,
        sources: &ConfigSources,
    ) -> Result<Self, ConfigError> {
        let layers = read_layers(workspace_root, sources)?;
        let gate = Gate::new(&layers, sources.override_version_check)?;
        let defaults = document::parse(Utf8Path::new("(built-in)"), include_str!("defaults.toml"))?;
        let context = ParseContext::new(graph);
        let mut names = Names::default();
        let mut compiled: BTreeMap<String, CompiledProfile> = BTreeMap::new();
        let mut warnings = gate.warnings;
        let mut merged = defaults.clone();
        for layer in &layers {
            // Each layer is checked alone over the defaults, so that an error is found in its own file.
            let raw = raw_config(&over(&defaults, layer), sources.cpus)?;
            if raw.old_setup {
                check_old_setup(layer)?;
                warnings.push(format!(
                    "{}: `[script.*]` is deprecated: use `[scripts.setup.*]`",
                    layer.path
                ));
            }
            names.define(layer, &raw, &gate.features)?;
            for profile in &raw.profiles {
                let of_layer = CompiledProfile::new(profile, &context)?;
                let empty = names.check_uses(&of_layer)?;
                if empty > 0 {
                    warnings.push(format!(
                        "{}: {empty} of `[[profile.{}.scripts]]` bind no script",
                        layer.path, profile.name
                    ));
                }
                compiled
                    .entry(profile.name.clone())
                    .or_default()
                    .lay_over(of_layer);
            }
            merged = over(&merged, layer);
        }
        Ok(Self {
            workspace_root: workspace_root.to_owned(),
            merged: raw_config(&merged, sources.cpus)?,
            compiled,
            warnings,
            required: gate.required,
            recommended: gate.recommended,
        })
    }

    /// Returns what is worth saying about the configuration, ready to print.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns the nextest versions that the configuration requires and recommends.
    pub fn versions(&self) -> (Option<&Version>, Option<&Version>) {
        (self.required.as_ref(), self.recommended.as_ref())
    }

    /// Returns the profile called `name`, for a build for `platforms`.
    ///
    /// # Errors
    /// When there is no such profile.
    pub fn profile(&self, name: &str, platforms: &Platforms) -> Result<Profile, ConfigError> {
        if self.merged.profile(name).is_none() {
            let mut known: Vec<String> = self
                .merged
                .profiles
                .iter()
                .map(|profile| profile.name.clone())
                .collect();
            known.sort();
            return Err(ConfigError::UnknownProfile {
                name: name.to_owned(),
                suggestion: suggest(name, known.iter().map(String::as_str)),
                known,
            });
        }
        Profile::new(self, name, platforms)
    }
}

fn read_layers(workspace_root: &Utf8Path, sources: &ConfigSources) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = Vec::new();
    for tool_file in sources.tool_files.iter().rev() {
        let text = read(&tool_file.path)?;
        layers.push(Layer {
            tool: Some(tool_file.tool.clone()),
            root: document::parse(&tool_file.path, &text)?,
            path: tool_file.path.clone(),
        });
    }
    let path = sources
        .config_file
        .clone()
        .unwrap_or_else(|| workspace_root.join(CONFIG_PATH));
    let text = match read(&path) {
        Err(ConfigError::Read { source, .. })
            if sources.config_file.is_none() && source.kind() == io::ErrorKind::NotFound =>
        {
            String::new()
        }
        text => text?,
    };
    layers.push(Layer {
        tool: None,
        root: document::parse(&path, &text)?,
        path,
    });
    Ok(layers)
}

fn read(path: &Utf8Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        file: path.to_owned(),
        source,
    })
}

fn over(below: &Node, layer: &Layer) -> Node {
    let mut merged = below.clone();
    if let (Value::Table(merged), Value::Table(table)) = (&mut merged.value, &layer.root.value) {
        merged.lay_over(table);
    }
    merged
}

fn check_old_setup(layer: &Layer) -> Result<(), ConfigError> {
    match &layer.root.value {
        Value::Table(table) => match table.get("scripts") {
            Some(node) => Err(invalid(
                &node.spot,
                "`[scripts]` and the older `[script]` cannot both be used",
            )),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}
