//! Whole configurations: files in, questions about cases out.

mod errors;

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use nextest_filtering::{BinaryQuery, TestQuery};
use nextest_metadata::{RustBinaryId, RustTestBinaryKind, TestCaseName};
use thresh_core::case::{CaseSettings, FlakyResult, MaxFail, RetryPolicy, ThreadsRequired};

use super::*;
use crate::build::sample;

/// A folder with configuration files.
struct Files {
    root: Utf8PathBuf,
    sources: ConfigSources,
    _temp: tempfile::TempDir,
}

impl Files {
    /// Writes the repository's configuration and those of tools.
    fn new(repository: &str, tools: &[(&str, &str)]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(temp.path().to_owned()).unwrap();
        std::fs::create_dir(root.join(".config")).unwrap();
        std::fs::write(root.join(CONFIG_PATH), repository).unwrap();
        let mut sources = ConfigSources {
            cpus: 8,
            ..ConfigSources::default()
        };
        for (at, (tool, text)) in tools.iter().enumerate() {
            let path = root.join(format!("tool-{at}.toml"));
            std::fs::write(&path, text).unwrap();
            sources.tool_files.push(ToolFile {
                tool: (*tool).to_owned(),
                path,
            });
        }
        Self {
            root,
            sources,
            _temp: temp,
        }
    }

    fn load(&self) -> Result<NextestConfig, ConfigError> {
        NextestConfig::load(&self.root, &sample::graph(), &self.sources)
    }

    /// Loads and returns the error, with the folder left out of it.
    fn error(&self) -> String {
        self.load()
            .unwrap_err()
            .to_string()
            .replace(&format!("{}/", self.root), "")
    }
}

fn load(repository: &str) -> NextestConfig {
    Files::new(repository, &[]).load().unwrap()
}

fn profile(config: &NextestConfig, name: &str) -> Profile {
    config.profile(name, &sample::platforms()).unwrap()
}

/// Asks `ask` about the case `name` of the library of package `app`, or of the procedural macro.
fn about<T>(name: &str, of_macro: bool, ask: impl Fn(&TestQuery<'_>) -> T) -> T {
    use guppy::graph::cargo::BuildPlatform;
    let graph = sample::graph();
    let package = graph
        .workspace()
        .member_by_name(if of_macro { "macros" } else { "app" })
        .unwrap();
    let id = RustBinaryId::new(package.name());
    let kind = if of_macro {
        RustTestBinaryKind::PROC_MACRO
    } else {
        RustTestBinaryKind::LIB
    };
    let binary_query = BinaryQuery {
        package_id: package.id(),
        binary_id: &id,
        binary_name: package.name(),
        kind: &kind,
        platform: if of_macro {
            BuildPlatform::Host
        } else {
            BuildPlatform::Target
        },
    };
    ask(&TestQuery {
        binary_query,
        test_name: &TestCaseName::new(name),
    })
}

fn settings(profile: &Profile, name: &str) -> CaseSettings {
    about(name, false, |case| profile.settings_for(case))
}

#[test]
fn without_files_nextests_defaults_hold() {
    let files = Files::new("", &[]);
    std::fs::remove_dir_all(files.root.join(".config")).unwrap();
    let config = files.load().unwrap();
    let profile = profile(&config, "default");
    let defaults = settings(&profile, "a");
    assert_eq!(defaults.retries, RetryPolicy::NONE);
    assert_eq!(defaults.slow_timeout, Default::default());
    assert_eq!(defaults.leak_timeout, Default::default());
    assert_eq!(defaults.threads_required, ThreadsRequired::Count(1));
    assert_eq!((defaults.priority, defaults.test_group), (0, None));
    assert_eq!(profile.test_threads(), ThreadsRequired::NumCpus);
    assert_eq!(
        profile.max_fail(),
        MaxFail {
            count: Some(1),
            kill_running: false
        }
    );
    assert_eq!((profile.global_timeout(), profile.junit()), (None, None));
    assert_eq!(profile.status_level(), StatusLevel::Pass);
    assert_eq!(profile.final_status_level(), FinalStatusLevel::Flaky);
    let report = profile.report_under(&[]);
    assert_eq!(report.success_output, OutputDisplay::Never);
    assert_eq!(report.failure_output, OutputDisplay::Immediate);
    assert!(profile.store_dir().ends_with("target/nextest/default"));
    assert!(config.profile("default-miri", &sample::platforms()).is_ok());
}

#[test]
fn a_profile_inherits_values_but_not_overrides() {
    let config = load(
        r#"
        store.dir = "out"
        [profile.base]
        retries = 2
        fail-fast = { max-fail = 5, terminate = "immediate" }
        global-timeout = "1h"
        junit = { path = "base.xml", report-name = "base" }
        [[profile.base.overrides]]
        filter = "all()"
        priority = 7
        [profile.ci]
        inherits = "base"
        flaky-result = "fail"
        junit.report-name = "ci"
        test-threads = -2
        "#,
    );
    let ci = profile(&config, "ci");
    let values = settings(&ci, "a");
    assert_eq!(
        (values.retries.count, values.flaky_result, values.priority),
        (2, FlakyResult::Fail, 0)
    );
    assert_eq!(
        ci.max_fail(),
        MaxFail {
            count: Some(5),
            kill_running: true
        }
    );
    assert_eq!(ci.global_timeout(), Some(Duration::from_secs(3600)));
    assert_eq!(ci.test_threads(), ThreadsRequired::Count(6));
    let junit = ci.junit().unwrap();
    assert!(junit.path.ends_with("out/ci/base.xml"), "{}", junit.path);
    assert_eq!(junit.report_name, "ci");
    assert_eq!(settings(&profile(&config, "base"), "a").priority, 7);
}

#[test]
fn for_each_setting_the_first_override_that_makes_it_counts() {
    let config = load(
        r#"
        [test-groups.serial]
        max-threads = 1
        [[profile.default.overrides]]
        filter = "test(two)"
        retries = 9
        threads-required = "num-cpus"
        test-group = "serial"
        [profile.ci]
        run-extra-args = ["--profile"]
        [[profile.ci.overrides]]
        filter = "test(two)"
        retries = 1
        success-output = "final"
        [[profile.ci.overrides]]
        filter = "test(=one::two)"
        retries = 3
        leak-timeout = { period = "1s", result = "fail" }
        slow-timeout = { period = "5s", terminate-after = 2 }
        run-extra-args = ["--quiet", "x y"]
        test-group = "@global"
        priority = -5
        junit = { store-success-output = true, report-skipped = "all" }
        "#,
    );
    let ci = profile(&config, "ci");
    let two = settings(&ci, "one::two");
    assert_eq!(two.retries.count, 1);
    assert_eq!(two.threads_required, ThreadsRequired::NumCpus);
    assert_eq!(
        two.test_group, None,
        "an earlier override puts it back into @global"
    );
    assert!(!two.leak_timeout.leak_passes);
    assert_eq!(two.slow_timeout.terminate_after, Some(2));
    assert_eq!(two.run_extra_args, ["--quiet", "x y"]);
    assert_eq!(two.priority, -5);
    let overrides = about("one::two", false, |case| ci.overrides_for(case));
    assert_eq!(overrides, [0, 1, 2]);
    let report = ci.report_under(&overrides);
    assert_eq!(report.success_output, OutputDisplay::Final);
    assert!(report.junit_store_success_output);
    assert_eq!(report.junit_report_skipped, ReportSkipped::All);

    assert_eq!(settings(&ci, "two").test_group.as_deref(), Some("serial"));
    let other = settings(&ci, "other");
    assert_eq!(
        (other.retries.count, other.run_extra_args.join(" ").as_str()),
        (0, "--profile")
    );
    assert_eq!(ci.groups()[0].max_threads, ThreadsRequired::Count(1));
}

#[test]
fn platforms_decide_for_host_and_target() {
    let config = load(
        r#"
        [[profile.default.overrides]]
        platform = "cfg(windows)"
        retries = 1
        [[profile.default.overrides]]
        platform = { host = "cfg(unix)", target = "aarch64-apple-darwin" }
        retries = 2
        [[profile.default.overrides]]
        platform = { host = 'cfg(target_os = "linux")' }
        retries = 3
        [[profile.default.overrides]]
        platform = "aarch64-apple-darwin"
        default-filter = "test(mac)"
        [[profile.default.overrides]]
        platform = "x86_64-unknown-linux-gnu"
        default-filter = "test(linux)"
        "#,
    );
    let native = profile(&config, "default");
    assert_eq!(settings(&native, "a").retries.count, 3);
    let holds = |profile: &Profile, name: &str| {
        about(name, false, |case| {
            profile
                .default_filter()
                .matches_test(case, &profile.eval_context())
        })
    };
    assert!(holds(&native, "linux") && !holds(&native, "mac"));

    let mut platforms = sample::platforms();
    let mac = target_spec::Platform::new("aarch64-apple-darwin", target_spec::TargetFeatures::Unknown);
    platforms.asked = Some(mac.unwrap());
    let cross = config.profile("default", &platforms).unwrap();
    assert_eq!(settings(&cross, "a").retries.count, 2);
    assert_eq!(
        about("a", true, |case| cross.settings_for(case)).retries.count,
        3,
        "macros run on the host"
    );
    assert!(holds(&cross, "mac") && !holds(&cross, "linux"));
}

#[test]
fn scripts_are_bound_to_cases_and_binaries() {
    let config = load(
        r#"
        experimental = ["setup-scripts", "wrapper-scripts"]
        [scripts.setup.second]
        command = "second"
        [scripts.setup.first]
        command = ["first", "x y"]
        [scripts.setup.unused]
        command = "unused"
        [scripts.wrapper.valgrind]
        command = { command-line = "valgrind -q", relative-to = "target", env = { A = "b" } }
        target-runner = "within-wrapper"
        [scripts.wrapper.other]
        command = "other"
        [[profile.default.scripts]]
        filter = "test(a)"
        setup = ["first", "second"]
        run-wrapper = "valgrind"
        [[profile.default.scripts]]
        filter = "package(macros)"
        list-wrapper = "other"
        run-wrapper = "other"
        [[profile.default.scripts]]
        platform = "cfg(windows)"
        setup = "unused"
        "#,
    );
    let profile = profile(&config, "default");
    let names: Vec<_> = profile
        .setup_scripts()
        .iter()
        .map(|script| script.name.as_str())
        .collect();
    assert_eq!(names, ["second", "first", "unused"], "in the order of definition");
    assert_eq!(about("a", false, |case| profile.setup_scripts_for(case)), [0, 1]);
    assert!(about("b", false, |case| profile.setup_scripts_for(case)).is_empty());
    let wrapper = |name: &str, of_macro| {
        about(name, of_macro, |case| {
            profile.run_wrapper(case).map(|wrapper| wrapper.name.clone())
        })
    };
    assert_eq!(wrapper("a", true).as_deref(), Some("valgrind"));
    assert_eq!(wrapper("b", true).as_deref(), Some("other"));
    assert_eq!(wrapper("b", false), None);
    let list = |of_macro| {
        about("", of_macro, |case| {
            profile
                .list_wrapper(&case.binary_query)
                .map(|wrapper| wrapper.name.clone())
        })
    };
    assert_eq!((list(true).as_deref(), list(false)), (Some("other"), None));
    let valgrind = &profile.wrappers()[0];
    assert_eq!(valgrind.target_runner, TargetRunnerMode::WithinWrapper);
    let argv = valgrind.command.argv(Utf8Path::new("/w"), Utf8Path::new("/t"));
    assert_eq!(argv, ["/t/valgrind", "-q"]);
}

#[test]
fn the_older_form_of_setup_scripts_is_read_with_a_warning() {
    let config = load("experimental = { setup-scripts = true }\n[script.old]\ncommand = 'x'\n");
    assert_eq!(profile(&config, "default").setup_scripts()[0].name, "old");
    assert!(
        config.warnings()[0].contains("deprecated"),
        "{:?}",
        config.warnings()
    );
    let error = Files::new(
        "experimental = ['setup-scripts']\n[script.old]\ncommand = 'x'\n[scripts.setup.new]\ncommand = 'y'\n",
        &[],
    )
    .error();
    assert!(error.contains("cannot both be used"), "{error}");
}

#[test]
fn tools_lie_below_the_repository_and_above_each_other() {
    let files = Files::new(
        "[profile.default]\nretries = 1\n[profile.low]\ninherits = 'tool-profile'\n\
         [[profile.default.overrides]]\nfilter = 'test(x)'\npriority = 1\n",
        &[
            (
                "high",
                "[profile.default]\nretries = 2\nthreads-required = 2\n\
                 [test-groups.'@tool:high:g']\nmax-threads = 3\n\
                 [[profile.default.overrides]]\nfilter = 'test(x)'\npriority = 2\ntest-group = '@tool:high:g'\n",
            ),
            (
                "low",
                "[profile.default]\nretries = 3\nthreads-required = 3\nslow-timeout.terminate-after = 4\n\
                 [profile.tool-profile]\nflaky-result = 'fail'\n",
            ),
        ],
    );
    let config = files.load().unwrap();
    let default = profile(&config, "default");
    let values = settings(&default, "x");
    assert_eq!(values.retries.count, 1);
    assert_eq!(values.threads_required, ThreadsRequired::Count(2));
    assert_eq!(
        values.slow_timeout.terminate_after,
        Some(4),
        "tables merge key by key"
    );
    assert_eq!(values.slow_timeout.period, Duration::from_secs(60));
    assert_eq!(values.priority, 1);
    assert_eq!(values.test_group.as_deref(), Some("@tool:high:g"));
    assert_eq!(
        settings(&profile(&config, "low"), "x").flaky_result,
        FlakyResult::Fail
    );
}

#[test]
fn versions_are_compared_with_the_one_that_is_followed() {
    let config = load("nextest-version = { required = '0.9.50', recommended = '0.9.999' }\n");
    let (required, recommended) = config.versions();
    assert_eq!(required.unwrap().to_string(), "0.9.50");
    assert_eq!(recommended.unwrap().to_string(), "0.9.999");
    assert!(
        config.warnings()[0].contains("nextest 0.9.999 is recommended"),
        "{:?}",
        config.warnings()
    );

    let mut files = Files::new("future-key = 1\nnextest-version = '1.0'\n", &[]);
    let error = files.load().unwrap_err();
    assert_eq!(
        error.exit_code(),
        92,
        "a newer configuration may hold anything: {error}"
    );
    files.sources.override_version_check = true;
    assert!(files.error().contains("unknown key `future-key`"));
}
