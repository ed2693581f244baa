use super::*;
use crate::build::{CargoConfig, sample};
use crate::command::{CommandTemplate, WORKER_VARIABLES};
use crate::nextest::{ConfigSources, RelativeTo, ScriptCommand, TargetRunnerMode, WrapperDefinition};

/// Makes the context of the sample workspace and asks about the binary called `id`. `configured` is cargo's
/// configuration, as values of `--config`.
fn with<T>(
    configured: &[&str],
    present: &[(&str, &str)],
    id: &str,
    ask: impl Fn(&CommandContext<'_>, &TestBinary<'_>) -> T,
) -> T {
    let temp = tempfile::tempdir().unwrap();
    let directory = camino::Utf8PathBuf::try_from(temp.path().to_owned()).unwrap();
    let surroundings = Surroundings {
        directory: directory.clone(),
        variables: present
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        cpus: 1,
    };
    let configured: Vec<String> = configured.iter().map(|&pair| pair.to_owned()).collect();
    let mut workspace = sample::workspace();
    workspace.cargo_config = CargoConfig::discover(&configured, &surroundings).unwrap();
    let build = sample::build();
    let config = NextestConfig::load(&directory, &workspace.graph, &ConfigSources::default()).unwrap();
    let profile = config.profile("default", &workspace.platforms).unwrap();
    let context = CommandContext::new(&workspace, &build, &config, &profile, &surroundings).unwrap();
    let binaries = TestBinary::all(&workspace, &build).unwrap();
    let binary = binaries.iter().find(|binary| binary.id().as_str() == id).unwrap();
    ask(&context, binary)
}

fn variable<'a>(command: &'a CommandTemplate, name: &str) -> Option<&'a str> {
    command
        .env
        .iter()
        .find(|(own, _)| own == name)
        .map(|(_, value)| value.to_str().unwrap())
}

fn wrapper(target_runner: TargetRunnerMode) -> WrapperDefinition {
    WrapperDefinition {
        name: "wrap".to_owned(),
        command: ScriptCommand {
            program: "bin/wrap".to_owned(),
            arguments: vec!["-x".to_owned()],
            env: [
                ("A", "wrapper"),
                ("B", "wrapper"),
                ("OWN", "wrapper"),
                ("CARGO_PKG_NAME", "wrapper"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            relative_to: RelativeTo::WorkspaceRoot,
        },
        target_runner,
    }
}

#[test]
fn a_command_has_nextests_arguments_and_variables() {
    let present = [("LD_LIBRARY_PATH", "/mine"), ("LD_PRELOAD", "p.so")];
    let command = with(&[], &present, "app::one", |context, binary| {
        context.run_command(binary, None, &["--quiet".to_owned()], Some("serial"), vec![3])
    });
    assert_eq!(command.before, ["/t/debug/deps/one", "--exact"]);
    assert_eq!(command.after, ["--nocapture", "--quiet"]);
    assert_eq!(
        (command.cwd.as_str(), &command.setup_scripts[..]),
        ("/w/app", &[3][..])
    );
    let path = "/t/debug:/t/debug/deps:/toolchain/lib:/mine";
    for (name, value) in [
        ("NEXTEST", "1"),
        ("NEXTEST_EXECUTION_MODE", "process-per-test"),
        ("NEXTEST_PROFILE", "default"),
        ("NEXTEST_TEST_PHASE", "run"),
        ("NEXTEST_RUN_MODE", "test"),
        ("NEXTEST_BINARY_ID", "app::one"),
        ("NEXTEST_WORKSPACE_ROOT", "/w"),
        ("NEXTEST_VERSION", ORACLE_VERSION),
        ("NEXTEST_REQUIRED_VERSION", "none"),
        ("NEXTEST_RECOMMENDED_VERSION", "none"),
        ("NEXTEST_TEST_GROUP", "serial"),
        ("NEXTEST_STRESS_CURRENT", "none"),
        ("NEXTEST_STRESS_TOTAL", "none"),
        ("CARGO_MANIFEST_DIR", "/w/app"),
        ("CARGO_PKG_VERSION", "0.3.1"),
        ("CARGO_PKG_VERSION_MINOR", "3"),
        ("CARGO_PKG_VERSION_PRE", ""),
        ("CARGO_PKG_AUTHORS", "A:B <b@example.org>"),
        ("CARGO_PKG_DESCRIPTION", ""),
        ("CARGO_PKG_HOMEPAGE", "https://example.org"),
        ("CARGO_PKG_LICENSE", "MIT"),
        ("CARGO_PKG_RUST_VERSION", "1.80.0"),
        ("OUT_DIR", "/t/debug/build/app-1/out"),
        ("FROM_BUILD", "1"),
        ("CARGO_BIN_EXE_rg-like", "/t/debug/rg-like"),
        ("NEXTEST_BIN_EXE_rg-like", "/t/debug/rg-like"),
        ("NEXTEST_BIN_EXE_rg_like", "/t/debug/rg-like"),
        ("LD_LIBRARY_PATH", path),
        ("NEXTEST_LD_LIBRARY_PATH", path),
        ("NEXTEST_LD_PRELOAD", "p.so"),
    ] {
        assert_eq!(variable(&command, name), Some(value), "{name}");
    }
    for name in WORKER_VARIABLES
        .into_iter()
        .chain(["LD_PRELOAD", "CARGO_BIN_EXE_rg_like"])
    {
        assert_eq!(variable(&command, name), None, "{name}");
    }
}

#[test]
fn only_integration_tests_are_told_of_programs() {
    let command = with(&[], &[], "app", |context, binary| {
        context.run_command(binary, None, &[], None, Vec::new())
    });
    assert_eq!(variable(&command, "CARGO_BIN_EXE_rg-like"), None);
    assert_eq!(variable(&command, "NEXTEST_TEST_GROUP"), Some("@global"));
    let command = with(&[], &[], "macros", |context, binary| {
        context.run_command(binary, None, &[], None, Vec::new())
    });
    assert_eq!(variable(&command, "OUT_DIR"), None);
    assert_eq!(variable(&command, "CARGO_PKG_VERSION_PRE"), Some("rc.1"));
}

#[test]
fn later_sources_of_variables_are_stronger() {
    let configured = [
        "env.A='cargo'",
        "env.C='cargo'",
        "env.OWN='cargo'",
        "env.NEXTEST='0'",
        "env.D='cargo'",
    ];
    let present = [("D", "present")];
    let command = with(&configured, &present, "app::one", |context, binary| {
        context.run_command(
            binary,
            Some(&wrapper(TargetRunnerMode::Ignore)),
            &[],
            None,
            Vec::new(),
        )
    });
    for (name, value) in [
        ("A", "wrapper"),
        ("B", "wrapper"),
        ("C", "cargo"),
        ("D", "present"),
        ("OWN", "build"),
        ("NEXTEST", "1"),
        ("CARGO_PKG_NAME", "app"),
    ] {
        assert_eq!(variable(&command, name), Some(value), "{name}");
    }
}

#[test]
fn wrappers_and_target_runners_go_together_as_asked() {
    use TargetRunnerMode as Mode;
    let runner = "target.x86_64-unknown-linux-gnu.runner='emulate -q'";
    let (script, emulate) = (["/w/bin/wrap", "-x"], ["emulate", "-q"]);
    let cases = [
        (Mode::Ignore, vec![script], vec![script]),
        (Mode::OverridesWrapper, vec![script], vec![emulate]),
        (Mode::WithinWrapper, vec![script], vec![script, emulate]),
        (Mode::AroundWrapper, vec![script], vec![emulate, script]),
    ];
    for (mode, without_runner, with_runner) in cases {
        for (configured, expected) in [(vec![], without_runner), (vec![runner], with_runner)] {
            let (run, list) = with(&configured, &[], "app::one", |context, binary| {
                let wrapper = wrapper(mode);
                let run = context.run_command(binary, Some(&wrapper), &[], None, Vec::new());
                (run, context.list_command(binary, Some(&wrapper)))
            });
            let expected = [expected.concat(), vec!["/t/debug/deps/one"]].concat();
            assert_eq!(run.before, [&expected[..], &["--exact"]].concat(), "{mode:?}");
            assert_eq!(
                list.argv,
                [&expected[..], &["--list", "--format", "terse"]].concat(),
                "{mode:?}"
            );
            let uses_wrapper = run.before.contains(&"-x".to_owned());
            assert_eq!(variable(&run, "B").is_some(), uses_wrapper, "{mode:?}");
        }
    }
}

#[test]
fn build_script_output_is_read_as_cargo_reads_it() {
    let output = "cargo:rustc-env=A=1\ncargo::rustc-env=B=2=3\ncargo:rustc-env=C\ncargo:warning=D=4\n";
    assert_eq!(rustc_env(output).collect::<Vec<_>>(), [("A", "1"), ("B", "2=3")]);
}

#[test]
fn setup_scripts_get_no_package_variables() {
    let script = crate::nextest::SetupDefinition {
        name: "s".to_owned(),
        command: wrapper(TargetRunnerMode::Ignore).command,
        slow_timeout: Default::default(),
        leak_timeout: Default::default(),
        capture_stdout: false,
        capture_stderr: false,
        junit_store_success_output: true,
        junit_store_failure_output: true,
    };
    let command = with(&["env.C='cargo'"], &[], "app", |context, _| {
        context.setup_command(&script)
    });
    assert_eq!(command.argv, ["/w/bin/wrap", "-x"]);
    assert_eq!(command.cwd, "/w");
    let value = |name: &str| {
        command
            .env
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
    };
    for (name, expected) in [
        ("A", "wrapper"),
        ("C", "cargo"),
        ("NEXTEST", "1"),
        ("NEXTEST_WORKSPACE_ROOT", "/w"),
    ] {
        assert_eq!(value(name), Some(expected.into()), "{name}");
    }
    for name in [
        "CARGO_MANIFEST_DIR",
        "NEXTEST_TEST_PHASE",
        "NEXTEST_EXECUTION_MODE",
        "NEXTEST_ENV",
        "OUT_DIR",
    ] {
        assert_eq!(value(name), None, "{name}");
    }
}
