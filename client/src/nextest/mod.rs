//! nextest's configuration: `.config/nextest.toml`, `--config-file` and `--tool-config-file` over built-in
//! defaults, read and judged as nextest does.
//!
//! Files are parsed to trees that know their places (`document`), merged, read strictly (`reader`, `raw`),
//! checked (`check`), compiled (`compile`) and asked through a [`Profile`]. One thing differs from nextest on
//! purpose: a key that is not known is an error, not a warning. The settings of `cargo nextest bench` and
//! `cargo nextest archive` are checked and, as in a nextest run, have no effect.

use crate::surroundings::Surroundings;

mod check;
mod compile;
mod display;
mod document;
mod elements;
mod error;
mod filterset;
mod gate;
mod load;
mod profile;
mod raw;
mod reader;
mod scripts;
#[cfg(test)]
mod tests;

pub use display::{
    FinalStatusLevel, FlakyFailStatus, JunitSettings, OutputDisplay, ReportSettings, ReportSkipped,
    StatusLevel,
};
pub use document::Place;
pub use error::ConfigError;
pub use filterset::{FiltersetError, FiltersetProblem, parse_filterset};
pub use load::{CONFIG_PATH, ConfigSources, NextestConfig, ToolFile};
pub use profile::{Overrides, Profile};
pub use scripts::{RelativeTo, ScriptCommand, SetupDefinition, TargetRunnerMode, WrapperDefinition};

/// The version of nextest whose behaviour is followed, and which cases see in `NEXTEST_VERSION`.
pub const ORACLE_VERSION: &str = "0.9.143";

/// Returns the profile that is used where none is asked for.
pub fn default_profile_name(surroundings: &Surroundings) -> &'static str {
    if surroundings.variable("MIRI_SYSROOT").is_some() {
        "default-miri"
    } else {
        "default"
    }
}
