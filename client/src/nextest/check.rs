//! Checks of one layer that need more than the layer: names defined elsewhere, features switched on.

use std::collections::BTreeMap;

use super::compile::CompiledProfile;
use super::document::Spot;
use super::error::{ConfigError, suggest};
use super::load::Layer;
use super::raw::{RawConfig, RawProfile};
use super::reader::{Spotted, invalid};

/// The profiles that nextest defines itself; `default-` is reserved for such.
const OWN_PROFILES: [&str; 2] = ["default", "default-miri"];

/// The name of the test group of all cases that are in no other.
const GLOBAL_GROUP: &str = "@global";

/// A kind of script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScriptKind {
    Setup,
    Wrapper,
}

/// The names that the layers so far define.
#[derive(Debug, Default)]
pub(super) struct Names {
    groups: Vec<String>,
    scripts: BTreeMap<String, ScriptKind>,
    profiles: Vec<String>,
}

impl Names {
    /// Checks the definitions of a layer and adds them.
    pub(super) fn define(
        &mut self,
        layer: &Layer,
        raw: &RawConfig,
        features: &[&str],
    ) -> Result<(), ConfigError> {
        for group in &raw.groups {
            check_name(
                "test group",
                &group.value.name,
                &group.spot,
                layer.tool.as_deref(),
            )?;
            self.groups.push(group.value.name.clone());
        }
        let setup = raw
            .setup
            .iter()
            .map(|script| (&script.value.name, &script.spot, ScriptKind::Setup));
        let wrappers = raw
            .wrappers
            .iter()
            .map(|script| (&script.value.name, &script.spot, ScriptKind::Wrapper));
        for (name, spot, kind) in setup.chain(wrappers) {
            let feature = match kind {
                ScriptKind::Setup => "setup-scripts",
                ScriptKind::Wrapper => "wrapper-scripts",
            };
            if !features.contains(&feature) {
                return Err(ConfigError::ExperimentalFeature {
                    place: spot.place(),
                    feature,
                });
            }
            check_name("script", name, spot, layer.tool.as_deref())?;
            if kind == ScriptKind::Wrapper && raw.setup.iter().any(|setup| setup.value.name == *name) {
                return Err(invalid(
                    spot,
                    format!("`{name}` is both a setup script and a wrapper script"),
                ));
            }
            self.scripts.insert(name.clone(), kind);
        }
        self.define_profiles(raw)
    }

    fn define_profiles(&mut self, raw: &RawConfig) -> Result<(), ConfigError> {
        for profile in &raw.profiles {
            let reserved = profile.name == "default" || profile.name.starts_with("default-");
            if reserved && !OWN_PROFILES.contains(&&*profile.name) {
                return Err(invalid(
                    &profile.spot,
                    format!(
                        "`{}` is not a profile of nextest, and names that begin with `default-` are reserved",
                        profile.name
                    ),
                ));
            }
            let Some(parent) = &profile.inherits else { continue };
            if reserved {
                return Err(invalid(
                    &parent.spot,
                    format!("profile `{}` cannot inherit", profile.name),
                ));
            }
            self.check_parent(raw, profile, parent)?;
        }
        self.profiles
            .extend(raw.profiles.iter().map(|profile| profile.name.clone()));
        Ok(())
    }

    fn check_parent(
        &self,
        raw: &RawConfig,
        profile: &RawProfile,
        parent: &Spotted,
    ) -> Result<(), ConfigError> {
        if raw.profile(&parent.text).is_none() && !self.profiles.contains(&parent.text) {
            let here = raw
                .profiles
                .iter()
                .map(|profile| &profile.name)
                .chain(&self.profiles);
            return Err(unknown("profile", parent, here));
        }
        let mut seen = vec![&profile.name];
        let mut next = Some(parent);
        while let Some(parent) = next {
            if seen.contains(&&parent.text) {
                let path: Vec<_> = seen.iter().map(|name| name.as_str()).collect();
                let message = format!(
                    "profiles inherit in a circle: {} → {}",
                    path.join(" → "),
                    parent.text
                );
                return Err(invalid(&parent.spot, message));
            }
            seen.push(&parent.text);
            next = raw
                .profile(&parent.text)
                .and_then(|profile| profile.inherits.as_ref());
        }
        Ok(())
    }

    /// Checks that what a layer says of a profile uses defined names, each as what it is. Returns how many of
    /// its script bindings bind nothing.
    pub(super) fn check_uses(&self, compiled: &CompiledProfile) -> Result<usize, ConfigError> {
        for used in compiled
            .overrides
            .iter()
            .filter_map(|over| over.raw.test_group.as_ref())
        {
            if used.text != GLOBAL_GROUP && !self.groups.contains(&used.text) {
                let global = GLOBAL_GROUP.to_owned();
                return Err(unknown("test group", used, self.groups.iter().chain([&global])));
            }
        }
        let mut empty = 0;
        for scripts in &compiled.scripts {
            let raw = &scripts.raw;
            for used in &raw.setup {
                self.check_script(used, "setup", ScriptKind::Setup)?;
            }
            if let Some(used) = &raw.list_wrapper {
                self.check_script(used, "list-wrapper", ScriptKind::Wrapper)?;
                let predicates = scripts.condition.case_predicates();
                if !predicates.is_empty() {
                    let message = format!(
                        "a list wrapper is for whole binaries, and the filter asks for cases: {}",
                        predicates.join(", ")
                    );
                    return Err(invalid(&used.spot, message));
                }
            }
            if let Some(used) = &raw.run_wrapper {
                self.check_script(used, "run-wrapper", ScriptKind::Wrapper)?;
            }
            empty +=
                usize::from(raw.setup.is_empty() && raw.list_wrapper.is_none() && raw.run_wrapper.is_none());
        }
        Ok(empty)
    }

    fn check_script(&self, used: &Spotted, role: &str, expected: ScriptKind) -> Result<(), ConfigError> {
        match self.scripts.get(&used.text) {
            Some(kind) if *kind == expected => Ok(()),
            Some(ScriptKind::Setup) => Err(invalid(
                &used.spot,
                format!("`{}` is a setup script, not a {role}", used.text),
            )),
            Some(ScriptKind::Wrapper) => Err(invalid(
                &used.spot,
                format!("`{}` is a wrapper script, not a {role} script", used.text),
            )),
            None => Err(unknown("script", used, self.scripts.keys())),
        }
    }
}

fn unknown<'a>(
    kind: &'static str,
    used: &Spotted,
    known: impl IntoIterator<Item = &'a String>,
) -> ConfigError {
    let mut known: Vec<String> = known.into_iter().cloned().collect();
    known.sort();
    known.dedup();
    ConfigError::UnknownName {
        place: used.spot.place(),
        kind,
        name: used.text.clone(),
        suggestion: suggest(&used.text, known.iter().map(String::as_str)),
        known,
    }
}

/// Checks the name of a test group or script: an identifier that may hold hyphens; in a tool's layer, and only
/// there, behind `@tool:TOOL:`.
fn check_name(kind: &str, name: &str, spot: &Spot, tool: Option<&str>) -> Result<(), ConfigError> {
    let own = match (name.strip_prefix("@tool:"), tool) {
        (Some(rest), Some(tool)) => rest
            .split_once(':')
            .filter(|(named, _)| *named == tool)
            .map(|(_, own)| own),
        (None, None) => Some(name),
        _ => None,
    };
    match (own, tool) {
        (Some(own), _) if is_identifier(own) => Ok(()),
        (None, Some(tool)) => Err(invalid(
            spot,
            format!("a {kind} that a tool defines must be called `@tool:{tool}:NAME`, not `{name}`"),
        )),
        (None, None) => Err(invalid(
            spot,
            format!("a {kind} called `@tool:…` can only be defined by a tool"),
        )),
        (Some(_), _) => Err(invalid(
            spot,
            format!("`{name}` cannot name a {kind}: expected a letter, then letters, digits, `_` and `-`"),
        )),
    }
}

/// Whether `text` is a letter followed by letters, digits, `_` and `-`.
pub(super) fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(char::is_alphabetic)
        && characters.all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}
