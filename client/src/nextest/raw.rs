//! One layer of configuration, read but not yet looked up: names are unresolved, filtersets are text.

use thresh_core::case::{
    FlakyResult, LeakTimeout, MaxFail, RetryPolicy, SlowTimeout, TestGroup, ThreadsRequired,
};

use super::display::{FinalStatusLevel, FlakyFailStatus, OutputDisplay, ReportSkipped, StatusLevel};
use super::document::{Entry, Node, Spot, Value};
use super::elements;
use super::error::ConfigError;
use super::reader::{Reader, Spotted, boolean, integer, invalid, spotted, string, strings, word, wrong_type};
use super::scripts::{Defined, SetupDefinition, WrapperDefinition, setup_definition, wrapper_definition};

/// Everything that one layer says.
#[derive(Clone, Debug)]
pub(super) struct RawConfig {
    pub(super) store_dir: Option<String>,
    pub(super) groups: Vec<Defined<TestGroup>>,
    pub(super) setup: Vec<Defined<SetupDefinition>>,
    /// Whether setup scripts stand in the older `[script]` table.
    pub(super) old_setup: bool,
    pub(super) wrappers: Vec<Defined<WrapperDefinition>>,
    pub(super) profiles: Vec<RawProfile>,
}

impl RawConfig {
    /// Returns the profile called `name`.
    pub(super) fn profile(&self, name: &str) -> Option<&RawProfile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}

/// A profile.
#[derive(Clone, Debug)]
pub(super) struct RawProfile {
    pub(super) name: String,
    pub(super) spot: Spot,
    pub(super) inherits: Option<Spotted>,
    pub(super) default_filter: Option<Spotted>,
    pub(super) test_threads: Option<ThreadsRequired>,
    pub(super) max_fail: Option<MaxFail>,
    pub(super) global_timeout: Option<std::time::Duration>,
    pub(super) status_level: Option<StatusLevel>,
    pub(super) final_status_level: Option<FinalStatusLevel>,
    pub(super) junit_path: Option<String>,
    pub(super) junit_report_name: Option<String>,
    pub(super) fields: CaseFields,
    pub(super) overrides: Vec<RawOverride>,
    pub(super) scripts: Vec<RawScripts>,
}

/// The settings that a profile and each of its overrides may make for a case.
#[derive(Clone, Debug, Default)]
pub(super) struct CaseFields {
    pub(super) threads_required: Option<ThreadsRequired>,
    pub(super) run_extra_args: Option<Vec<String>>,
    pub(super) retries: Option<RetryPolicy>,
    pub(super) flaky_result: Option<FlakyResult>,
    pub(super) slow_timeout: Option<SlowTimeout>,
    pub(super) leak_timeout: Option<LeakTimeout>,
    pub(super) success_output: Option<OutputDisplay>,
    pub(super) failure_output: Option<OutputDisplay>,
    pub(super) junit_store_success_output: Option<bool>,
    pub(super) junit_store_failure_output: Option<bool>,
    pub(super) junit_report_skipped: Option<ReportSkipped>,
    pub(super) junit_flaky_fail_status: Option<FlakyFailStatus>,
}

/// An entry of `[[profile.X.overrides]]`.
#[derive(Clone, Debug)]
pub(super) struct RawOverride {
    pub(super) condition: RawCondition,
    pub(super) default_filter: Option<Spotted>,
    pub(super) priority: Option<i8>,
    pub(super) test_group: Option<Spotted>,
    pub(super) fields: CaseFields,
}

/// An entry of `[[profile.X.scripts]]`.
#[derive(Clone, Debug)]
pub(super) struct RawScripts {
    pub(super) condition: RawCondition,
    pub(super) setup: Vec<Spotted>,
    pub(super) list_wrapper: Option<Spotted>,
    pub(super) run_wrapper: Option<Spotted>,
}

/// Which cases an override or a script is for.
#[derive(Clone, Debug)]
pub(super) struct RawCondition {
    pub(super) spot: Spot,
    pub(super) host: Option<Spotted>,
    pub(super) target: Option<Spotted>,
    pub(super) filter: Option<Spotted>,
}

/// Reads a layer. `cpus` is the number of cores, for negative thread counts.
pub(super) fn raw_config(root: &Node, cpus: u32) -> Result<RawConfig, ConfigError> {
    let mut reader = Reader::new(root, "")?;
    // Both are read before everything else, by `gate`.
    reader.node("nextest-version");
    reader.node("experimental");
    let store_dir = reader
        .table("store", |mut store| {
            let dir = store.get("dir", string)?;
            store.finish()?;
            Ok(dir)
        })?
        .flatten();
    let groups = named(&mut reader, "test-groups", |entry| test_group(entry, cpus))?;
    let old = named(&mut reader, "script", |entry| setup_definition(entry, "script"))?;
    let (mut setup, wrappers) = reader
        .table("scripts", |mut scripts| {
            let setup = named(&mut scripts, "setup", |entry| {
                setup_definition(entry, "scripts.setup")
            })?;
            let wrappers = named(&mut scripts, "wrapper", wrapper_definition)?;
            scripts.finish()?;
            Ok((setup, wrappers))
        })?
        .unwrap_or_default();
    let old_setup = !old.is_empty();
    for script in old {
        if !setup.iter().any(|newer| newer.value.name == script.value.name) {
            setup.push(script);
        }
    }
    let profiles = named(&mut reader, "profile", |entry| raw_profile(entry, cpus))?;
    reader.finish()?;
    Ok(RawConfig {
        store_dir,
        groups,
        setup,
        old_setup,
        wrappers,
        profiles,
    })
}

fn named<T>(
    reader: &mut Reader<'_>,
    key: &'static str,
    read: impl FnMut(&Entry) -> Result<T, ConfigError>,
) -> Result<Vec<T>, ConfigError> {
    Ok(reader
        .table(key, |table| table.entries().map(read).collect())?
        .unwrap_or_default())
}

fn test_group(entry: &Entry, cpus: u32) -> Result<Defined<TestGroup>, ConfigError> {
    let mut reader = Reader::new(&entry.node, format!("test-groups.{}", entry.key))?;
    let max_threads = reader.require("max-threads", |node| elements::test_threads(node, cpus))?;
    reader.finish()?;
    Ok(Defined {
        value: TestGroup {
            name: entry.key.clone(),
            max_threads,
        },
        spot: entry.key_spot.clone(),
    })
}

fn raw_profile(entry: &Entry, cpus: u32) -> Result<RawProfile, ConfigError> {
    let mut reader = Reader::new(&entry.node, format!("profile.{}", entry.key))?;
    let (mut junit_path, mut junit_report_name) = (None, None);
    let fields = case_fields(&mut reader, |junit| {
        junit_path = junit.get("path", string)?;
        junit_report_name = junit.get("report-name", string)?;
        Ok(())
    })?;
    let overrides_name = format!("{}.overrides", reader.name());
    let scripts_name = format!("{}.scripts", reader.name());
    let profile = RawProfile {
        name: entry.key.clone(),
        spot: entry.key_spot.clone(),
        inherits: reader.get("inherits", spotted)?,
        default_filter: reader.get("default-filter", spotted)?,
        test_threads: reader.get("test-threads", |node| elements::test_threads(node, cpus))?,
        max_fail: reader.get("fail-fast", elements::fail_fast)?,
        global_timeout: reader.get("global-timeout", elements::duration)?,
        status_level: reader.get("status-level", elements::status_level)?,
        final_status_level: reader.get("final-status-level", elements::final_status_level)?,
        junit_path,
        junit_report_name,
        fields,
        overrides: reader.array("overrides", |node| {
            raw_override(Reader::new(node, &*overrides_name)?)
        })?,
        scripts: reader.array("scripts", |node| raw_scripts(Reader::new(node, &*scripts_name)?))?,
    };
    bench(&mut reader, true)?;
    archive(&mut reader)?;
    reader.finish()?;
    Ok(profile)
}

fn case_fields<'a>(
    reader: &mut Reader<'a>,
    more_junit: impl FnOnce(&mut Reader<'a>) -> Result<(), ConfigError>,
) -> Result<CaseFields, ConfigError> {
    let mut fields = CaseFields {
        threads_required: reader.get("threads-required", elements::threads_required)?,
        run_extra_args: reader.get("run-extra-args", strings)?,
        retries: reader.get("retries", elements::retries)?,
        flaky_result: reader.get("flaky-result", elements::flaky_result)?,
        slow_timeout: reader.get("slow-timeout", elements::slow_timeout)?.flatten(),
        leak_timeout: reader.get("leak-timeout", elements::leak_timeout)?,
        success_output: reader.get("success-output", elements::output_display)?,
        failure_output: reader.get("failure-output", elements::output_display)?,
        ..CaseFields::default()
    };
    reader.table("junit", |mut junit| {
        fields.junit_store_success_output = junit.get("store-success-output", boolean)?;
        fields.junit_store_failure_output = junit.get("store-failure-output", boolean)?;
        fields.junit_report_skipped = junit.get("report-skipped", elements::report_skipped)?;
        fields.junit_flaky_fail_status = junit.get("flaky-fail-status", elements::flaky_fail_status)?;
        more_junit(&mut junit)?;
        junit.finish()
    })?;
    Ok(fields)
}

fn raw_override(mut reader: Reader<'_>) -> Result<RawOverride, ConfigError> {
    let raw = RawOverride {
        condition: raw_condition(&mut reader)?,
        default_filter: reader.get("default-filter", spotted)?,
        priority: reader.get("priority", elements::priority)?,
        test_group: reader.get("test-group", spotted)?,
        fields: case_fields(&mut reader, |_| Ok(()))?,
    };
    bench(&mut reader, false)?;
    reader.finish()?;
    Ok(raw)
}

fn raw_scripts(mut reader: Reader<'_>) -> Result<RawScripts, ConfigError> {
    let setup = reader.get("setup", |node| match &node.value {
        Value::String(_) => Ok(vec![spotted(node)?]),
        Value::Array(items) => items.iter().map(spotted).collect(),
        _ => Err(wrong_type(node, "a script's name or an array of names")),
    })?;
    let raw = RawScripts {
        condition: raw_condition(&mut reader)?,
        setup: setup.unwrap_or_default(),
        list_wrapper: reader.get("list-wrapper", spotted)?,
        run_wrapper: reader.get("run-wrapper", spotted)?,
    };
    reader.finish()?;
    Ok(raw)
}

fn raw_condition(reader: &mut Reader<'_>) -> Result<RawCondition, ConfigError> {
    let (host, target) = match reader.node("platform") {
        None => (None, None),
        Some(node) => match &node.value {
            Value::String(_) => (None, Some(spotted(node)?)),
            Value::Table(_) => {
                let mut platform = Reader::new(node, "platform")?;
                let pair = (platform.get("host", spotted)?, platform.get("target", spotted)?);
                platform.finish()?;
                pair
            }
            _ => {
                return Err(wrong_type(
                    node,
                    "a platform, or a table with `host` and `target`",
                ));
            }
        },
    };
    Ok(RawCondition {
        spot: reader.spot().clone(),
        host,
        target,
        filter: reader.get("filter", spotted)?,
    })
}

/// Checks the settings of `cargo nextest bench`, which have no meaning for a test run.
fn bench(reader: &mut Reader<'_>, global: bool) -> Result<(), ConfigError> {
    reader.table("bench", |mut bench| {
        bench.get("slow-timeout", elements::slow_timeout)?;
        if global {
            bench.get("global-timeout", elements::duration)?;
        }
        bench.finish()
    })?;
    Ok(())
}

/// Checks the settings of `cargo nextest archive`, which have no meaning for a test run.
fn archive(reader: &mut Reader<'_>) -> Result<(), ConfigError> {
    reader.table("archive", |mut archive| {
        archive.array("include", |node| {
            let mut include = Reader::new(node, "archive.include")?;
            include.require("path", string)?;
            include.require("relative-to", |node| word(node, &[("target", ())]))?;
            include.get("depth", |node| match &node.value {
                Value::String(text) if text == "infinite" => Ok(()),
                Value::Integer(_) => integer(node, 0..=i64::MAX).map(|_| ()),
                _ => Err(invalid(&node.spot, "expected a number from 0 or \"infinite\"")),
            })?;
            include.get("on-missing", |node| {
                word(node, &[("ignore", ()), ("warn", ()), ("error", ())])
            })?;
            include.finish()
        })?;
        archive.finish()
    })?;
    Ok(())
}
