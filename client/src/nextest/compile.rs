//! Overrides and script bindings with their platforms and filtersets compiled.

use std::sync::Arc;

use guppy::graph::cargo::BuildPlatform;
use nextest_filtering::{
    BinaryQuery, CompiledExpr, EvalContext, Filterset, FiltersetKind, KnownGroups, ParseContext, TestQuery,
};
use target_spec::{Platform, TargetSpec};

use super::error::ConfigError;
use super::filterset::parse_filterset;
use super::raw::{RawCondition, RawOverride, RawProfile, RawScripts};
use super::reader::{Spotted, invalid};
use crate::build::Platforms;

/// What the layers say in lists, which add up, of one profile; what comes first wins.
#[derive(Clone, Debug, Default)]
pub(super) struct CompiledProfile {
    pub(super) default_filter: Option<CompiledExpr>,
    pub(super) overrides: Vec<Arc<CompiledOverride>>,
    pub(super) scripts: Vec<Arc<CompiledScripts>>,
}

/// An override.
#[derive(Debug)]
pub(super) struct CompiledOverride {
    pub(super) condition: Condition,
    pub(super) default_filter: Option<CompiledExpr>,
    pub(super) raw: RawOverride,
}

/// A binding of scripts to cases.
#[derive(Debug)]
pub(super) struct CompiledScripts {
    pub(super) condition: Condition,
    pub(super) raw: RawScripts,
}

/// Which cases something is for.
#[derive(Debug)]
pub(super) struct Condition {
    host: Option<TargetSpec>,
    target: Option<TargetSpec>,
    filter: Option<Filterset>,
}

impl CompiledProfile {
    /// Compiles what one layer says of a profile.
    pub(super) fn new(raw: &RawProfile, context: &ParseContext<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            default_filter: default_filter(raw.default_filter.as_ref(), context)?,
            overrides: raw
                .overrides
                .iter()
                .map(|raw| compile_override(raw, context).map(Arc::new))
                .collect::<Result<_, _>>()?,
            scripts: raw
                .scripts
                .iter()
                .map(|raw| {
                    let condition = Condition::new(&raw.condition, FiltersetKind::DefaultFilter, context)?;
                    if raw.condition.is_empty() {
                        return Err(invalid(
                            &raw.condition.spot,
                            "at least one of `filter` and `platform` is needed",
                        ));
                    }
                    Ok(Arc::new(CompiledScripts {
                        condition,
                        raw: raw.clone(),
                    }))
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// Puts what a higher layer says in front.
    pub(super) fn lay_over(&mut self, mut higher: Self) {
        higher.fall_back_to(self);
        *self = higher;
    }

    /// Appends what `lower` says.
    pub(super) fn fall_back_to(&mut self, lower: &Self) {
        if self.default_filter.is_none() {
            self.default_filter.clone_from(&lower.default_filter);
        }
        self.overrides.extend(lower.overrides.iter().cloned());
        self.scripts.extend(lower.scripts.iter().cloned());
    }
}

fn compile_override(raw: &RawOverride, context: &ParseContext<'_>) -> Result<CompiledOverride, ConfigError> {
    let spot = &raw.condition.spot;
    if raw.condition.is_empty() {
        let message = if raw.default_filter.is_some() {
            "`default-filter` in an override needs a `platform`"
        } else {
            "at least one of `filter` and `platform` is needed"
        };
        return Err(invalid(spot, message));
    }
    if raw.condition.filter.is_some() && raw.default_filter.is_some() {
        return Err(invalid(
            spot,
            "`filter` and `default-filter` cannot stand in the same override",
        ));
    }
    Ok(CompiledOverride {
        condition: Condition::new(&raw.condition, FiltersetKind::OverrideFilter, context)?,
        default_filter: default_filter(raw.default_filter.as_ref(), context)?,
        raw: raw.clone(),
    })
}

fn default_filter(
    text: Option<&Spotted>,
    context: &ParseContext<'_>,
) -> Result<Option<CompiledExpr>, ConfigError> {
    let parsed = text
        .map(|text| filterset(text, FiltersetKind::DefaultFilter, context))
        .transpose()?;
    Ok(parsed.map(|filterset| filterset.compiled))
}

fn filterset(
    text: &Spotted,
    kind: FiltersetKind,
    context: &ParseContext<'_>,
) -> Result<Filterset, ConfigError> {
    parse_filterset(&text.text, context, kind, &KnownGroups::Unavailable).map_err(|error| {
        ConfigError::Filterset {
            place: text.spot.place(),
            error,
        }
    })
}

impl RawCondition {
    fn is_empty(&self) -> bool {
        self.host.is_none() && self.target.is_none() && self.filter.is_none()
    }
}

impl Condition {
    fn new(raw: &RawCondition, kind: FiltersetKind, context: &ParseContext<'_>) -> Result<Self, ConfigError> {
        let spec = |text: &Option<Spotted>| {
            text.as_ref()
                .map(|text| {
                    TargetSpec::new(text.text.clone()).map_err(|error| {
                        invalid(&text.spot, format!("`{}` is not a platform: {error}", text.text))
                    })
                })
                .transpose()
        };
        Ok(Self {
            host: spec(&raw.host)?,
            target: spec(&raw.target)?,
            filter: raw
                .filter
                .as_ref()
                .map(|text| filterset(text, kind, context))
                .transpose()?,
        })
    }

    /// Returns the predicates of the filter that need a case to be judged, as text.
    pub(super) fn case_predicates(&self) -> Vec<String> {
        self.filter.as_ref().map_or_else(Vec::new, |filter| {
            filter
                .parsed
                .runtime_only_leaves()
                .iter()
                .map(ToString::to_string)
                .collect()
        })
    }

    /// Says on which platforms the condition can hold.
    pub(super) fn reach(&self, platforms: &Platforms) -> Reach {
        // A platform expression that cannot be decided holds.
        let holds = |spec: &Option<TargetSpec>, platform: &Platform| {
            spec.as_ref()
                .is_none_or(|spec| spec.eval(platform).unwrap_or(true))
        };
        let host = holds(&self.host, &platforms.host);
        Reach {
            host: host && holds(&self.target, &platforms.host),
            target: host && holds(&self.target, platforms.target()),
        }
    }

    /// Whether the condition holds for a case, given where it can hold.
    pub(super) fn holds_for_case(
        &self,
        reach: Reach,
        case: &TestQuery<'_>,
        context: &EvalContext<'_>,
    ) -> bool {
        reach.includes(case.binary_query.platform)
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches_test(case, context))
    }

    /// Whether the condition holds for a whole binary, given where it can hold.
    pub(super) fn holds_for_binary(
        &self,
        reach: Reach,
        binary: &BinaryQuery<'_>,
        context: &EvalContext<'_>,
    ) -> bool {
        reach.includes(binary.platform)
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches_binary(binary, context) == Some(true))
    }
}

/// Where a condition can hold: for binaries built for the host (tests of procedural macros), and for those
/// built for the target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    host: bool,
    pub(super) target: bool,
}

impl Reach {
    fn includes(self, platform: BuildPlatform) -> bool {
        match platform {
            BuildPlatform::Host => self.host,
            BuildPlatform::Target => self.target,
        }
    }
}
