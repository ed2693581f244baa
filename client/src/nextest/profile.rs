//! A profile, ready to be asked about cases.

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use nextest_filtering::{
    BinaryQuery, CompiledExpr, EvalContext, GroupLookup, KnownGroups, NameMatcher, TestQuery,
};
use nextest_metadata::GLOBAL_TEST_GROUP;
use thresh_core::case::{CaseSettings, MaxFail, TestGroup, ThreadsRequired};

use super::compile::{CompiledOverride, CompiledScripts, Reach};
use super::display::{FinalStatusLevel, JunitSettings, ReportSettings, StatusLevel};
use super::error::ConfigError;
use super::load::NextestConfig;
use super::raw::{CaseFields, RawProfile};
use super::reader::invalid;
use super::scripts::{SetupDefinition, WrapperDefinition};
use crate::build::Platforms;

/// A profile of the configuration, for a build for certain platforms.
#[derive(Debug)]
pub struct Profile {
    name: String,
    store_dir: Utf8PathBuf,
    test_threads: ThreadsRequired,
    max_fail: MaxFail,
    global_timeout: Option<Duration>,
    status_level: StatusLevel,
    final_status_level: FinalStatusLevel,
    junit: Option<JunitSettings>,
    settings: CaseSettings,
    report: ReportSettings,
    default_filter: CompiledExpr,
    overrides: Vec<(Reach, Arc<CompiledOverride>)>,
    scripts: Vec<(Reach, Arc<CompiledScripts>)>,
    groups: Vec<TestGroup>,
    setup: Vec<SetupDefinition>,
    wrappers: Vec<WrapperDefinition>,
}

/// The overrides that hold for a case, by position. Cases with equal ones have equal settings.
pub type Overrides = Vec<usize>;

impl Profile {
    /// Makes the profile `name`, which exists.
    pub(super) fn new(
        config: &NextestConfig,
        name: &str,
        platforms: &Platforms,
    ) -> Result<Self, ConfigError> {
        let chain = chain(config, name)?;
        // Only the profile's own lists and the default profile's count: those of parents are not inherited.
        let mut compiled = config.compiled.get(name).cloned().unwrap_or_default();
        if name != "default"
            && let Some(default) = config.compiled.get("default")
        {
            compiled.fall_back_to(default);
        }
        let overrides: Vec<_> = compiled
            .overrides
            .into_iter()
            .map(|over| (over.condition.reach(platforms), over))
            .collect();
        let default_filter = overrides
            .iter()
            .find_map(|(reach, over)| over.default_filter.clone().filter(|_| reach.target))
            .or(compiled.default_filter)
            .unwrap_or(CompiledExpr::ALL);
        let chain = Chain(chain);
        let store_dir = config
            .workspace_root
            .join(config.merged.store_dir.as_deref().unwrap_or_default())
            .join(name);
        Ok(Self {
            name: name.to_owned(),
            test_threads: chain.value(|profile| profile.test_threads),
            max_fail: chain.value(|profile| profile.max_fail),
            global_timeout: chain.find(|profile| profile.global_timeout),
            status_level: chain.value(|profile| profile.status_level),
            final_status_level: chain.value(|profile| profile.final_status_level),
            junit: chain
                .find(|profile| profile.junit_path.clone())
                .map(|path| JunitSettings {
                    path: store_dir.join(path),
                    report_name: chain.value(|profile| profile.junit_report_name.clone()),
                }),
            settings: chain.settings(),
            report: chain.report(),
            store_dir,
            default_filter,
            overrides,
            scripts: compiled
                .scripts
                .into_iter()
                .map(|scripts| (scripts.condition.reach(platforms), scripts))
                .collect(),
            groups: config
                .merged
                .groups
                .iter()
                .map(|group| group.value.clone())
                .collect(),
            setup: config
                .merged
                .setup
                .iter()
                .map(|script| script.value.clone())
                .collect(),
            wrappers: config
                .merged
                .wrappers
                .iter()
                .map(|script| script.value.clone())
                .collect(),
        })
    }

    /// Returns the profile's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the folder for the profile's reports, absolute.
    pub fn store_dir(&self) -> &Utf8Path {
        &self.store_dir
    }

    /// Returns how many cases may run at a time: a count, or as many as there are cores.
    pub fn test_threads(&self) -> ThreadsRequired {
        self.test_threads
    }

    /// Returns after how many failures the run stops.
    pub fn max_fail(&self) -> MaxFail {
        self.max_fail
    }

    /// Returns after how long the whole run is cancelled.
    pub fn global_timeout(&self) -> Option<Duration> {
        self.global_timeout
    }

    /// Returns how much is said of cases while the run goes on.
    pub fn status_level(&self) -> StatusLevel {
        self.status_level
    }

    /// Returns how much is said of cases at the end.
    pub fn final_status_level(&self) -> FinalStatusLevel {
        self.final_status_level
    }

    /// Returns the JUnit report to write, if any.
    pub fn junit(&self) -> Option<&JunitSettings> {
        self.junit.as_ref()
    }

    /// Returns the test groups.
    pub fn groups(&self) -> &[TestGroup] {
        &self.groups
    }

    /// Returns the setup scripts, in the order in which they run.
    pub fn setup_scripts(&self) -> &[SetupDefinition] {
        &self.setup
    }

    /// Returns the wrapper scripts.
    pub fn wrappers(&self) -> &[WrapperDefinition] {
        &self.wrappers
    }

    /// Returns which cases run unless asked otherwise.
    pub fn default_filter(&self) -> &CompiledExpr {
        &self.default_filter
    }

    /// Returns what filtersets are evaluated with.
    pub fn eval_context(&self) -> EvalContext<'_> {
        EvalContext {
            default_filter: &self.default_filter,
        }
    }

    /// Returns the test groups that a filterset may name.
    pub fn known_groups(&self) -> KnownGroups {
        KnownGroups::Known {
            custom_groups: self.groups.iter().map(|group| group.name.clone()).collect(),
        }
    }

    /// Returns the overrides that hold for `case`.
    pub fn overrides_for(&self, case: &TestQuery<'_>) -> Overrides {
        let context = self.eval_context();
        let holds = |(at, (reach, over)): (usize, &(Reach, Arc<CompiledOverride>))| {
            over.condition
                .holds_for_case(*reach, case, &context)
                .then_some(at)
        };
        self.overrides.iter().enumerate().filter_map(holds).collect()
    }

    /// Returns the settings under `overrides`: for each, the first override that makes it counts.
    pub fn settings_under(&self, overrides: &[usize]) -> CaseSettings {
        let base = &self.settings;
        let raw = || overrides.iter().map(|at| &self.overrides[*at].1.raw);
        CaseSettings {
            priority: raw().find_map(|over| over.priority).unwrap_or(base.priority),
            threads_required: raw()
                .find_map(|over| over.fields.threads_required)
                .unwrap_or(base.threads_required),
            test_group: raw()
                .find_map(|over| over.test_group.as_ref())
                .map(|group| group.text.clone())
                .filter(|group| group != GLOBAL_TEST_GROUP),
            retries: raw().find_map(|over| over.fields.retries).unwrap_or(base.retries),
            flaky_result: raw()
                .find_map(|over| over.fields.flaky_result)
                .unwrap_or(base.flaky_result),
            slow_timeout: raw()
                .find_map(|over| over.fields.slow_timeout)
                .unwrap_or(base.slow_timeout),
            leak_timeout: raw()
                .find_map(|over| over.fields.leak_timeout)
                .unwrap_or(base.leak_timeout),
            run_extra_args: raw()
                .find_map(|over| over.fields.run_extra_args.as_ref())
                .unwrap_or(&base.run_extra_args)
                .clone(),
        }
    }

    /// Returns the report settings under `overrides`.
    pub fn report_under(&self, overrides: &[usize]) -> ReportSettings {
        let fields = || overrides.iter().map(|at| &self.overrides[*at].1.raw.fields);
        let base = self.report;
        ReportSettings {
            success_output: fields()
                .find_map(|f| f.success_output)
                .unwrap_or(base.success_output),
            failure_output: fields()
                .find_map(|f| f.failure_output)
                .unwrap_or(base.failure_output),
            junit_store_success_output: fields()
                .find_map(|f| f.junit_store_success_output)
                .unwrap_or(base.junit_store_success_output),
            junit_store_failure_output: fields()
                .find_map(|f| f.junit_store_failure_output)
                .unwrap_or(base.junit_store_failure_output),
            junit_report_skipped: fields()
                .find_map(|f| f.junit_report_skipped)
                .unwrap_or(base.junit_report_skipped),
            junit_flaky_fail_status: fields()
                .find_map(|f| f.junit_flaky_fail_status)
                .unwrap_or(base.junit_flaky_fail_status),
        }
    }

    /// Returns the settings of `case`.
    pub fn settings_for(&self, case: &TestQuery<'_>) -> CaseSettings {
        self.settings_under(&self.overrides_for(case))
    }

    /// Returns the wrapper with which `binary` is listed.
    pub fn list_wrapper(&self, binary: &BinaryQuery<'_>) -> Option<&WrapperDefinition> {
        let context = self.eval_context();
        let found = self.scripts.iter().find(|(reach, scripts)| {
            scripts.raw.list_wrapper.is_some() && scripts.condition.holds_for_binary(*reach, binary, &context)
        });
        self.wrapper(found?.1.raw.list_wrapper.as_ref()?.text.as_str())
    }

    /// Returns the wrapper with which `case` is run.
    pub fn run_wrapper(&self, case: &TestQuery<'_>) -> Option<&WrapperDefinition> {
        let context = self.eval_context();
        let found = self.scripts.iter().find(|(reach, scripts)| {
            scripts.raw.run_wrapper.is_some() && scripts.condition.holds_for_case(*reach, case, &context)
        });
        self.wrapper(found?.1.raw.run_wrapper.as_ref()?.text.as_str())
    }

    fn wrapper(&self, name: &str) -> Option<&WrapperDefinition> {
        self.wrappers.iter().find(|wrapper| wrapper.name == name)
    }

    /// Returns the positions in [`setup_scripts`](Self::setup_scripts) of those whose variables `case` gets.
    pub fn setup_scripts_for(&self, case: &TestQuery<'_>) -> Vec<usize> {
        let context = self.eval_context();
        let bound: Vec<&str> = self
            .scripts
            .iter()
            .filter(|(reach, scripts)| {
                !scripts.raw.setup.is_empty() && scripts.condition.holds_for_case(*reach, case, &context)
            })
            .flat_map(|(_, scripts)| scripts.raw.setup.iter().map(|script| script.text.as_str()))
            .collect();
        let is_bound = |(_, script): &(usize, &SetupDefinition)| bound.contains(&script.name.as_str());
        self.setup
            .iter()
            .enumerate()
            .filter(is_bound)
            .map(|(at, _)| at)
            .collect()
    }
}

/// Answers `group()` in filtersets.
impl GroupLookup for Profile {
    fn is_member_test(&self, case: &TestQuery<'_>, matcher: &NameMatcher) -> bool {
        let settings = self.settings_for(case);
        matcher.is_match(settings.test_group.as_deref().unwrap_or(GLOBAL_TEST_GROUP))
    }
}

/// Returns the profile, its parents, and the default profile.
fn chain<'a>(config: &'a NextestConfig, name: &str) -> Result<Vec<&'a RawProfile>, ConfigError> {
    let mut chain: Vec<&RawProfile> = Vec::new();
    let mut next = config.merged.profile(name);
    while let Some(profile) = next.filter(|profile| profile.name != "default") {
        if chain.iter().any(|seen| seen.name == profile.name) {
            return Err(invalid(
                &profile.spot,
                format!("profile `{}` inherits from itself", profile.name),
            ));
        }
        chain.push(profile);
        next = profile
            .inherits
            .as_ref()
            .and_then(|parent| config.merged.profile(&parent.text));
    }
    chain.extend(config.merged.profile("default"));
    Ok(chain)
}

/// A profile and what it falls back to, ending with the default profile, which sets everything.
struct Chain<'a>(Vec<&'a RawProfile>);

const DEFAULT_SETS_ALL: &str = "the built-in default profile sets every value";

impl Chain<'_> {
    fn find<T>(&self, value: impl Fn(&RawProfile) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|profile| value(profile))
    }

    fn value<T>(&self, value: impl Fn(&RawProfile) -> Option<T>) -> T {
        self.find(value).expect(DEFAULT_SETS_ALL)
    }

    fn field<T>(&self, value: impl Fn(&CaseFields) -> Option<T>) -> T {
        self.value(|profile| value(&profile.fields))
    }

    fn settings(&self) -> CaseSettings {
        CaseSettings {
            priority: 0,
            threads_required: self.field(|f| f.threads_required),
            test_group: None,
            retries: self.field(|f| f.retries),
            flaky_result: self.field(|f| f.flaky_result),
            // `slow-timeout = ""` unsets even the built-in one.
            slow_timeout: self
                .find(|profile| profile.fields.slow_timeout)
                .unwrap_or_default(),
            leak_timeout: self.field(|f| f.leak_timeout),
            run_extra_args: self.field(|f| f.run_extra_args.clone()),
        }
    }

    fn report(&self) -> ReportSettings {
        ReportSettings {
            success_output: self.field(|f| f.success_output),
            failure_output: self.field(|f| f.failure_output),
            junit_store_success_output: self.field(|f| f.junit_store_success_output),
            junit_store_failure_output: self.field(|f| f.junit_store_failure_output),
            junit_report_skipped: self.field(|f| f.junit_report_skipped),
            junit_flaky_fail_status: self.field(|f| f.junit_flaky_fail_status),
        }
    }
}
