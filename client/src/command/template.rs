//! Command lines.

use std::ffi::OsString;

use camino::{Utf8Path, Utf8PathBuf};

use super::environment::{CommandContext, Variables};
use crate::list::TestBinary;
use crate::nextest::{SetupDefinition, TargetRunnerMode, WrapperDefinition};

/// How to start the cases that refer to it: `before`, the case's name, `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTemplate {
    /// Program and arguments before the case's name; the last is `--exact`.
    pub before: Vec<String>,
    /// Arguments after it; the first is `--nocapture`. For an ignored case `--ignored` comes second.
    pub after: Vec<String>,
    /// Where to start it, absolute.
    pub cwd: Utf8PathBuf,
    /// Variables on top of those of the client, sorted by name, less those that the worker sets.
    pub env: Vec<(String, OsString)>,
    /// Positions of the setup scripts whose variables these cases get.
    pub setup_scripts: Vec<usize>,
}

/// How to list the cases of a binary. It runs twice, the second time with `--ignored`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCommand {
    /// Program and arguments, without `--ignored`.
    pub argv: Vec<String>,
    /// Where to start it, absolute.
    pub cwd: Utf8PathBuf,
    /// Variables on top of those of the client, sorted by name, less `NEXTEST_RUN_ID`.
    pub env: Vec<(String, OsString)>,
    /// How much of `argv` comes before the binary.
    pub(crate) wrapping: usize,
}

/// How to run a setup script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where to start it, absolute.
    pub cwd: Utf8PathBuf,
    /// Variables on top of those of the client, sorted by name, less those that the worker sets.
    pub env: Vec<(String, OsString)>,
}

impl CommandContext<'_> {
    /// Returns how to run the cases of `binary` that have these settings.
    pub fn run_command(
        &self,
        binary: &TestBinary<'_>,
        wrapper: Option<&WrapperDefinition>,
        extra_arguments: &[String],
        group: Option<&str>,
        setup_scripts: Vec<usize>,
    ) -> CommandTemplate {
        let Wrapping {
            argv: mut before,
            env,
        } = self.wrapping(binary, wrapper);
        before.extend([binary.path().to_string(), "--exact".to_owned()]);
        let after = std::iter::once("--nocapture".to_owned())
            .chain(extra_arguments.iter().cloned())
            .collect();
        CommandTemplate {
            before,
            after,
            cwd: binary.folder.clone(),
            env: sorted(self.run_variables(binary, env, group)),
            setup_scripts,
        }
    }

    /// Returns how to list the cases of `binary`.
    pub fn list_command(&self, binary: &TestBinary<'_>, wrapper: Option<&WrapperDefinition>) -> ListCommand {
        let Wrapping { mut argv, env } = self.wrapping(binary, wrapper);
        let wrapping = argv.len();
        argv.push(binary.path().to_string());
        argv.extend(["--list", "--format", "terse"].map(str::to_owned));
        let env = sorted(self.list_variables(binary, env));
        ListCommand {
            argv,
            cwd: binary.folder.clone(),
            env,
            wrapping,
        }
    }

    /// Returns how to run a setup script.
    pub fn setup_command(&self, script: &SetupDefinition) -> SetupCommand {
        SetupCommand {
            argv: script.command.argv(&self.workspace.root, self.target_directory()),
            cwd: self.workspace.root.clone(),
            env: sorted(self.setup_variables(&script.command.env)),
        }
    }

    fn target_directory(&self) -> &Utf8Path {
        &self.build.binaries.rust_build_meta.target_directory
    }

    /// Puts wrapper and target runner in order.
    fn wrapping<'w>(&self, binary: &TestBinary<'_>, wrapper: Option<&'w WrapperDefinition>) -> Wrapping<'w> {
        let runner = self.runner(binary.build_platform()).to_vec();
        let Some(wrapper) = wrapper else {
            return Wrapping {
                argv: runner,
                env: &[],
            };
        };
        let script = wrapper
            .command
            .argv(&self.workspace.root, self.target_directory());
        let argv = match wrapper.target_runner {
            TargetRunnerMode::Ignore => script,
            TargetRunnerMode::OverridesWrapper if runner.is_empty() => script,
            TargetRunnerMode::OverridesWrapper => {
                return Wrapping {
                    argv: runner,
                    env: &[],
                };
            }
            TargetRunnerMode::WithinWrapper => [script, runner].concat(),
            TargetRunnerMode::AroundWrapper => [runner, script].concat(),
        };
        Wrapping {
            argv,
            env: &wrapper.command.env,
        }
    }
}

/// What comes before a binary.
struct Wrapping<'w> {
    argv: Vec<String>,
    env: &'w [(String, String)],
}

fn sorted(variables: Variables) -> Vec<(String, OsString)> {
    variables.into_iter().collect()
}
