//! What must hold before the rest of a configuration is read: the nextest version and experimental features.

use cargo_metadata::semver::Version;

use super::ORACLE_VERSION;
use super::document::{Node, Value};
use super::error::{ConfigError, suggest};
use super::load::Layer;
use super::reader::{Reader, boolean, invalid, items, string, wrong_type};

/// The features that nextest calls experimental. `benchmarks` concerns `cargo nextest bench` alone.
const FEATURES: [&str; 3] = ["setup-scripts", "wrapper-scripts", "benchmarks"];

/// What the layers ask of nextest.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate {
    /// The newest version that a layer requires.
    pub(super) required: Option<Version>,
    /// The newest version that a layer recommends.
    pub(super) recommended: Option<Version>,
    /// The experimental features that the repository switches on.
    pub(super) features: Vec<&'static str>,
    /// What is worth saying.
    pub(super) warnings: Vec<String>,
}

impl Gate {
    /// Reads the gate of all layers.
    ///
    /// # Errors
    /// When a version or feature is not well formed, a required version is newer than the one followed
    /// (unless `any_version`), or a tool's layer switches on a feature.
    pub(super) fn new(layers: &[Layer], any_version: bool) -> Result<Self, ConfigError> {
        let followed = Version::parse(ORACLE_VERSION).expect("the followed version is well formed");
        let mut gate = Self::default();
        for layer in layers {
            let Value::Table(table) = &layer.root.value else {
                continue;
            };
            if let Some(node) = table.get("nextest-version") {
                let (required, recommended) = versions(node)?;
                if let Some(version) = required
                    .as_ref()
                    .filter(|version| **version > followed && !any_version)
                {
                    return Err(ConfigError::RequiredVersion {
                        place: node.spot.place(),
                        required: version.to_string(),
                        followed: ORACLE_VERSION,
                    });
                }
                if let Some(version) = recommended.as_ref().filter(|version| **version > followed) {
                    gate.warnings.push(format!(
                        "{}: nextest {version} is recommended; this version follows nextest {ORACLE_VERSION}",
                        node.spot.place()
                    ));
                }
                gate.required = gate.required.max(required);
                gate.recommended = gate.recommended.max(recommended);
            }
        }
        for layer in layers {
            let Value::Table(table) = &layer.root.value else {
                continue;
            };
            let Some(node) = table.get("experimental") else {
                continue;
            };
            let features = features(node)?;
            if layer.tool.is_some() && !features.is_empty() {
                return Err(invalid(
                    &node.spot,
                    "a tool's configuration cannot switch on experimental features",
                ));
            }
            gate.features.extend(features);
        }
        Ok(gate)
    }
}

fn versions(node: &Node) -> Result<(Option<Version>, Option<Version>), ConfigError> {
    match node.value {
        Value::String(_) => Ok((Some(version(node)?), None)),
        Value::Table(_) => {
            let mut reader = Reader::new(node, "nextest-version")?;
            let required = reader.get("required", version)?;
            let recommended = reader.get("recommended", version)?;
            reader.finish()?;
            if let (Some(required), Some(recommended)) = (&required, &recommended)
                && required > recommended
            {
                let message = format!("`required` ({required}) is newer than `recommended` ({recommended})");
                return Err(invalid(&node.spot, message));
            }
            Ok((required, recommended))
        }
        _ => Err(wrong_type(
            node,
            "a version, or a table with `required` and `recommended`",
        )),
    }
}

fn version(node: &Node) -> Result<Version, ConfigError> {
    let mut text = string(node)?;
    if text.contains(['-', '+']) {
        return Err(invalid(
            &node.spot,
            "pre-release and build parts are not supported in nextest-version",
        ));
    }
    if text.matches('.').count() == 1 {
        text.push_str(".0");
    }
    Version::parse(&text).map_err(|error| invalid(&node.spot, format!("`{text}` is not a version: {error}")))
}

fn features(node: &Node) -> Result<Vec<&'static str>, ConfigError> {
    match &node.value {
        Value::Array(_) => items(node)?
            .iter()
            .map(|item| feature(item, &string(item)?))
            .collect(),
        Value::Table(table) => {
            let mut switched_on = Vec::new();
            for entry in &table.0 {
                let name = feature(
                    &Node {
                        spot: entry.key_spot.clone(),
                        ..entry.node.clone()
                    },
                    &entry.key,
                )?;
                if boolean(&entry.node)? {
                    switched_on.push(name);
                }
            }
            Ok(switched_on)
        }
        _ => Err(wrong_type(
            node,
            "an array of features, or a table such as { setup-scripts = true }",
        )),
    }
}

fn feature(node: &Node, name: &str) -> Result<&'static str, ConfigError> {
    FEATURES
        .into_iter()
        .find(|feature| *feature == name)
        .ok_or_else(|| ConfigError::UnknownName {
            place: node.spot.place(),
            kind: "experimental feature",
            name: name.to_owned(),
            suggestion: suggest(name, FEATURES),
            known: FEATURES.map(str::to_owned).to_vec(),
        })
}
