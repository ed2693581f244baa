//! Setup scripts and wrapper scripts as the configuration defines them.

use std::time::Duration;

use camino::Utf8Path;
use thresh_core::case::{LeakTimeout, SlowTimeout};

use super::document::{Entry, Node, Spot, Value};
use super::elements::{leak_timeout, slow_timeout};
use super::error::ConfigError;
use super::reader::{Reader, boolean, invalid, string, strings, word, wrong_type};

/// A setup script never counts as slow unless its configuration says when: nextest's "30 years".
const NEVER_SLOW: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The leak timeout of a setup script that sets none.
const SETUP_LEAK_TIMEOUT: Duration = Duration::from_millis(100);

/// A command as a script defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCommand {
    /// The program, and what it is relative to.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
    /// What a relative program path is relative to.
    pub relative_to: RelativeTo,
}

/// What a relative program path is relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelativeTo {
    /// The working directory, or `PATH` for a bare name.
    #[default]
    Nothing,
    /// The workspace root.
    WorkspaceRoot,
    /// The target directory.
    Target,
}

impl ScriptCommand {
    /// Returns the program and its arguments.
    pub fn argv(&self, workspace_root: &Utf8Path, target_directory: &Utf8Path) -> Vec<String> {
        let program = match self.relative_to {
            RelativeTo::Nothing => self.program.clone(),
            RelativeTo::WorkspaceRoot => workspace_root.join(&self.program).into_string(),
            RelativeTo::Target => target_directory.join(&self.program).into_string(),
        };
        std::iter::once(program)
            .chain(self.arguments.iter().cloned())
            .collect()
    }
}

/// A setup script.
#[derive(Clone, Debug, PartialEq)]
pub struct SetupDefinition {
    /// Its name.
    pub name: String,
    /// What to run.
    pub command: ScriptCommand,
    /// When it is slow and when it is ended.
    pub slow_timeout: SlowTimeout,
    /// How long handles may stay open after it.
    pub leak_timeout: LeakTimeout,
    /// Whether its standard output is captured.
    pub capture_stdout: bool,
    /// Whether its standard error is captured.
    pub capture_stderr: bool,
    /// Whether a JUnit report holds its output when it passed.
    pub junit_store_success_output: bool,
    /// Whether a JUnit report holds its output when it failed.
    pub junit_store_failure_output: bool,
}

/// A wrapper script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrapperDefinition {
    /// Its name.
    pub name: String,
    /// What to run.
    pub command: ScriptCommand,
    /// How it goes together with a target runner.
    pub target_runner: TargetRunnerMode,
}

/// How a wrapper script goes together with a target runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetRunnerMode {
    /// The target runner is not used.
    #[default]
    Ignore,
    /// The wrapper is not used where there is a target runner.
    OverridesWrapper,
    /// The wrapper runs the target runner.
    WithinWrapper,
    /// The target runner runs the wrapper.
    AroundWrapper,
}

/// A definition and the place of its name.
#[derive(Clone, Debug)]
pub(super) struct Defined<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// Reads one entry of `[scripts.setup]`, or of the older `[script]`.
pub(super) fn setup_definition(entry: &Entry, table: &str) -> Result<Defined<SetupDefinition>, ConfigError> {
    let mut reader = Reader::new(&entry.node, format!("{table}.{}", entry.key))?;
    let junit = reader.table("junit", |mut junit| {
        let stores = (
            junit.get("store-success-output", boolean)?,
            junit.get("store-failure-output", boolean)?,
        );
        junit.finish()?;
        Ok(stores)
    })?;
    let (store_success, store_failure) = junit.unwrap_or_default();
    let value = SetupDefinition {
        name: entry.key.clone(),
        command: reader.require("command", command)?,
        slow_timeout: reader
            .get("slow-timeout", slow_timeout)?
            .flatten()
            .unwrap_or(SlowTimeout {
                period: NEVER_SLOW,
                ..SlowTimeout::default()
            }),
        leak_timeout: reader.get("leak-timeout", leak_timeout)?.unwrap_or(LeakTimeout {
            period: SETUP_LEAK_TIMEOUT,
            leak_passes: true,
        }),
        capture_stdout: reader.get("capture-stdout", boolean)?.unwrap_or(false),
        capture_stderr: reader.get("capture-stderr", boolean)?.unwrap_or(false),
        junit_store_success_output: store_success.unwrap_or(true),
        junit_store_failure_output: store_failure.unwrap_or(true),
    };
    reader.finish()?;
    Ok(Defined {
        value,
        spot: entry.key_spot.clone(),
    })
}

/// Reads one entry of `[scripts.wrapper]`.
pub(super) fn wrapper_definition(entry: &Entry) -> Result<Defined<WrapperDefinition>, ConfigError> {
    let mut reader = Reader::new(&entry.node, format!("scripts.wrapper.{}", entry.key))?;
    let modes = [
        ("ignore", TargetRunnerMode::Ignore),
        ("overrides-wrapper", TargetRunnerMode::OverridesWrapper),
        ("within-wrapper", TargetRunnerMode::WithinWrapper),
        ("around-wrapper", TargetRunnerMode::AroundWrapper),
    ];
    let value = WrapperDefinition {
        name: entry.key.clone(),
        command: reader.require("command", command)?,
        target_runner: reader
            .get("target-runner", |node| word(node, &modes))?
            .unwrap_or_default(),
    };
    reader.finish()?;
    Ok(Defined {
        value,
        spot: entry.key_spot.clone(),
    })
}

fn command(node: &Node) -> Result<ScriptCommand, ConfigError> {
    let (argv, env, relative_to) = match &node.value {
        Value::Table(_) => {
            let mut reader = Reader::new(node, "command")?;
            let bases = [
                ("none", RelativeTo::Nothing),
                ("workspace-root", RelativeTo::WorkspaceRoot),
                ("target", RelativeTo::Target),
            ];
            let parts = (
                reader.require("command-line", command_line)?,
                reader.get("env", environment)?.unwrap_or_default(),
                reader
                    .get("relative-to", |node| word(node, &bases))?
                    .unwrap_or_default(),
            );
            reader.finish()?;
            parts
        }
        _ => (command_line(node)?, Vec::new(), RelativeTo::Nothing),
    };
    let mut argv = argv.into_iter();
    let program = argv
        .next()
        .ok_or_else(|| invalid(&node.spot, "the command is empty"))?;
    Ok(ScriptCommand {
        program,
        arguments: argv.collect(),
        env,
        relative_to,
    })
}

fn command_line(node: &Node) -> Result<Vec<String>, ConfigError> {
    match &node.value {
        Value::String(line) => shell_words::split(line)
            .map_err(|error| invalid(&node.spot, format!("the command does not parse: {error}"))),
        Value::Array(_) => strings(node),
        _ => Err(wrong_type(node, "a command line or an array of arguments")),
    }
}

fn environment(node: &Node) -> Result<Vec<(String, String)>, ConfigError> {
    Reader::new(node, "command.env")?
        .entries()
        .map(|entry| {
            check_variable(&entry.key).map_err(|reason| invalid(&entry.key_spot, reason))?;
            Ok((entry.key.clone(), string(&entry.node)?))
        })
        .collect()
}

/// Checks that a script may set the variable `name`.
fn check_variable(name: &str) -> Result<(), String> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(letters) {
        return Err(format!("`{name}` is not the name of an environment variable"));
    }
    if name.starts_with("NEXTEST") {
        return Err(format!(
            "`{name}` is reserved: names that begin with NEXTEST cannot be set"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nextest::document;

    fn define(text: &str) -> Result<SetupDefinition, String> {
        let root = document::parse(Utf8Path::new("f"), text).unwrap();
        let Value::Table(table) = &root.value else {
            panic!("a document is a table")
        };
        setup_definition(&table.0[0], "scripts.setup")
            .map(|defined| defined.value)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_is_a_string_an_array_or_a_table() {
        let root = (Utf8Path::new("/w"), Utf8Path::new("/t"));
        let argv = |text: &str| define(text).unwrap().command.argv(root.0, root.1);
        assert_eq!(argv("a.command = \"run 'two words'\""), ["run", "two words"]);
        assert_eq!(argv("a.command = ['run', 'x']"), ["run", "x"]);
        assert_eq!(
            argv("a.command = { command-line = \"bin/run x\", relative-to = \"workspace-root\" }"),
            ["/w/bin/run", "x"]
        );
        assert_eq!(
            argv("a.command = { command-line = [\"run\"], relative-to = \"target\" }"),
            ["/t/run"]
        );
    }

    #[test]
    fn setup_scripts_have_nextests_defaults() {
        let script = define("a = { command = 'x', capture-stdout = true }").unwrap();
        assert_eq!(script.slow_timeout.period, NEVER_SLOW);
        assert_eq!(script.leak_timeout.period, SETUP_LEAK_TIMEOUT);
        assert!(script.capture_stdout && !script.capture_stderr);
        assert!(script.junit_store_success_output && script.junit_store_failure_output);
    }

    #[test]
    fn bad_commands_are_refused() {
        for (text, expected) in [
            ("a = { command = '' }", "the command is empty"),
            ("a = { command = [] }", "the command is empty"),
            ("a = { command = \"'\" }", "the command does not parse"),
            (
                "a = { command = 3 }",
                "expected a command line or an array of arguments, found an integer",
            ),
            (
                "a = { command = { command-line = 'x', env = { 1A = 'y' } } }",
                "`1A` is not the name",
            ),
            (
                "a = { command = { command-line = 'x', env = { NEXTEST_X = 'y' } } }",
                "`NEXTEST_X` is reserved",
            ),
            ("a = { command = { line = 'x' } }", "`command-line` is missing"),
            (
                "a = { capture-stdout = true }",
                "`command` is missing in scripts.setup.a",
            ),
            (
                "a = { command = 'x', capture-stdot = true }",
                "did you mean `capture-stdout`?",
            ),
        ] {
            let error = define(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
