//! What a worker knows of a run, checked.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use thresh_core::case::{LeakTimeout, SlowTimeout};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_proto::convert::{
    InvalidMessage, digest_from_wire, leak_timeout_from_wire, run_id_from_wire, slow_timeout_from_wire,
};
use thresh_proto::v1;

/// A setup script without a slow-timeout of its own is never slow.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// The test group of cases that are in none.
const GLOBAL_GROUP: &str = "@global";

/// What a worker knows of a run. Positions in it are checked where they come from: in leased cases.
#[derive(Debug)]
pub(crate) struct Brief {
    pub(crate) run: RunId,
    pub(crate) binaries: Vec<Binary>,
    pub(crate) settings: Vec<Settings>,
    pub(crate) commands: Vec<Command>,
    pub(crate) setup_scripts: Vec<SetupScript>,
    /// `None`: the cases run where the client's files are.
    pub(crate) shipped: Option<ShippedInputs>,
    pub(crate) keep_passing_output: bool,
    pub(crate) no_capture: bool,
    /// Set: the run's one case is a command that is complete by itself, of which these paths are wanted when it has
    /// ended. They lie below its working directory.
    pub(crate) outputs: Option<Vec<PathBuf>>,
    /// All slots of the run, for `NEXTEST_TEST_THREADS`.
    pub(crate) test_threads: u32,
}

#[derive(Debug)]
pub(crate) struct Binary {
    pub(crate) id: String,
    pub(crate) manifest: Option<Digest>,
}

#[derive(Debug)]
pub(crate) struct Settings {
    /// The name of the test group.
    pub(crate) group: String,
    pub(crate) slow_timeout: SlowTimeout,
    pub(crate) leak_timeout: LeakTimeout,
}

/// How cases are started: `before`, the name, `after`.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) before: Vec<String>,
    pub(crate) after: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Positions of the setup scripts whose variables its cases get.
    pub(crate) setup_scripts: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct SetupScript {
    pub(crate) id: String,
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) slow_timeout: SlowTimeout,
    pub(crate) leak_timeout: LeakTimeout,
    pub(crate) capture_stdout: bool,
    pub(crate) capture_stderr: bool,
}

/// Trees to present at the paths that they have on the client.
#[derive(Debug)]
pub(crate) struct ShippedInputs {
    /// Actions have none.
    pub(crate) source: Option<InputTree>,
    pub(crate) target: InputTree,
    pub(crate) folders: Vec<InputTree>,
    /// Whether cases see what others wrote to the target folder.
    pub(crate) shared_target: bool,
}

#[derive(Debug)]
pub(crate) struct InputTree {
    /// Absolute, without `.` and `..`.
    pub(crate) path: PathBuf,
    /// `None`: an empty folder.
    pub(crate) manifest: Option<Digest>,
}

impl Brief {
    /// Checks what the coordinator sent.
    pub(crate) fn from_wire(brief: v1::RunBrief) -> Result<Self, InvalidMessage> {
        let header = brief
            .header
            .ok_or_else(|| InvalidMessage::new("run.header", "is missing"))?;
        let run = run_id_from_wire(&header.run_id)?;
        let groups: Vec<String> = header.groups.into_iter().map(|group| group.name).collect();
        let settings = header
            .settings
            .into_iter()
            .map(|settings| settings_from_wire(settings, &groups));
        let scripts = header.setup_scripts.len();
        let commands = header
            .commands
            .into_iter()
            .map(|command| command_from_wire(command, scripts));
        Ok(Self {
            run,
            settings: settings.collect::<Result<_, _>>()?,
            commands: commands.collect::<Result<_, _>>()?,
            binaries: header
                .binaries
                .into_iter()
                .map(binary_from_wire)
                .collect::<Result<_, _>>()?,
            setup_scripts: header
                .setup_scripts
                .into_iter()
                .map(setup_script_from_wire)
                .collect::<Result<_, _>>()?,
            shipped: (header.inputs)
                .map(|inputs| inputs_from_wire(inputs, header.action.is_none()))
                .transpose()?
                .flatten(),
            keep_passing_output: header.keep_passing_output,
            no_capture: header.no_capture,
            outputs: header.action.map(outputs_from_wire).transpose()?,
            test_threads: brief.test_threads,
        })
    }
}

fn binary_from_wire(binary: v1::Binary) -> Result<Binary, InvalidMessage> {
    let manifest = manifest_from_wire("binaries.manifest", &binary.manifest)?;
    Ok(Binary {
        id: binary.id,
        manifest,
    })
}

fn settings_from_wire(settings: v1::Settings, groups: &[String]) -> Result<Settings, InvalidMessage> {
    let group = match settings.group.checked_sub(1) {
        None => GLOBAL_GROUP.to_owned(),
        Some(position) => groups
            .get(position as usize)
            .cloned()
            .ok_or_else(|| InvalidMessage::new("settings.group", "is no position in `groups`"))?,
    };
    Ok(Settings {
        group,
        slow_timeout: slow_timeout_from_wire(settings.slow_timeout)?,
        leak_timeout: leak_timeout_from_wire(settings.leak_timeout)?,
    })
}

fn command_from_wire(command: v1::Command, scripts: usize) -> Result<Command, InvalidMessage> {
    let setup_scripts: Vec<usize> = command
        .setup_scripts
        .iter()
        .map(|&script| script as usize)
        .collect();
    if setup_scripts.iter().any(|&script| script >= scripts) {
        return Err(InvalidMessage::new(
            "commands.setup_scripts",
            "holds no position in `setup_scripts`",
        ));
    }
    Ok(Command {
        before: command.before,
        after: command.after,
        cwd: command.cwd,
        env: variables(command.env),
        setup_scripts,
    })
}

fn setup_script_from_wire(script: v1::SetupScript) -> Result<SetupScript, InvalidMessage> {
    let never = SlowTimeout {
        period: NEVER,
        ..SlowTimeout::default()
    };
    let slow_timeout = match script.slow_timeout {
        None => never,
        given => slow_timeout_from_wire(given)?,
    };
    let leak_timeout = match script.leak_timeout {
        None => LeakTimeout::default(),
        given => leak_timeout_from_wire(given)?,
    };
    Ok(SetupScript {
        id: script.id,
        argv: script.argv,
        cwd: script.cwd,
        env: variables(script.env),
        slow_timeout,
        leak_timeout,
        capture_stdout: script.capture_stdout,
        capture_stderr: script.capture_stderr,
    })
}

fn inputs_from_wire(inputs: v1::Inputs, has_source: bool) -> Result<Option<ShippedInputs>, InvalidMessage> {
    if inputs.in_place {
        return Ok(None);
    }
    let folders = inputs.folders.iter().map(|folder| {
        tree(
            "inputs.folders.path",
            &folder.path,
            "inputs.folders.manifest",
            &folder.manifest,
        )
    });
    let source = || {
        tree(
            "inputs.source_root",
            &inputs.source_root,
            "inputs.source_manifest",
            &inputs.source_manifest,
        )
    };
    Ok(Some(ShippedInputs {
        source: has_source.then(source).transpose()?,
        target: tree(
            "inputs.target_root",
            &inputs.target_root,
            "inputs.target_manifest",
            &inputs.target_manifest,
        )?,
        folders: folders.collect::<Result<_, _>>()?,
        shared_target: inputs.shared_target,
    }))
}

fn tree(
    path_field: &'static str,
    path: &str,
    manifest_field: &'static str,
    manifest: &[u8],
) -> Result<InputTree, InvalidMessage> {
    let path = Path::new(path);
    let mut components = path.components();
    let normal = components.next() == Some(Component::RootDir)
        && components.clone().next().is_some()
        && components.all(|component| matches!(component, Component::Normal(_)));
    if !normal {
        return Err(InvalidMessage::new(
            path_field,
            format!("is {path:?}, not the absolute path of a folder"),
        ));
    }
    // Collected anew, without doubled or trailing slashes: mount points are compared as paths and as text.
    let path = path.components().collect();
    Ok(InputTree {
        path,
        manifest: manifest_from_wire(manifest_field, manifest)?,
    })
}

fn outputs_from_wire(action: v1::Action) -> Result<Vec<PathBuf>, InvalidMessage> {
    let outputs = action.outputs.into_iter().map(PathBuf::from);
    let outputs: Vec<PathBuf> = outputs.collect();
    let is_below = |path: &PathBuf| (path.components()).all(|part| matches!(part, Component::Normal(_)));
    match outputs.iter().find(|path| !is_below(path)) {
        Some(path) => Err(InvalidMessage::new(
            "action.outputs",
            format!("holds {path:?}, which is not below the working directory"),
        )),
        None => Ok(outputs),
    }
}

fn manifest_from_wire(field: &'static str, bytes: &[u8]) -> Result<Option<Digest>, InvalidMessage> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        digest_from_wire(field, bytes).map(Some)
    }
}

fn variables(env: Vec<v1::EnvVar>) -> Vec<(OsString, OsString)> {
    env.into_iter()
        .map(|var| (var.name.into(), OsString::from_vec(var.value.into())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use thresh_proto::convert::run_id_to_wire;

    fn header() -> v1::RunHeader {
        v1::RunHeader {
            run_id: run_id_to_wire(RunId::from_u128(1)),
            ..Default::default()
        }
    }

    fn field_of(header: v1::RunHeader) -> &'static str {
        Brief::from_wire(v1::RunBrief {
            header: Some(header),
            test_threads: 1,
        })
        .unwrap_err()
        .field
    }

    #[test]
    fn positions_that_point_nowhere_are_refused() {
        let command = v1::Command {
            setup_scripts: vec![0],
            ..Default::default()
        };
        assert_eq!(
            field_of(v1::RunHeader {
                commands: vec![command],
                ..header()
            }),
            "commands.setup_scripts"
        );
        let settings = v1::Settings {
            group: 1,
            ..Default::default()
        };
        assert_eq!(
            field_of(v1::RunHeader {
                settings: vec![settings],
                ..header()
            }),
            "settings.group"
        );
    }

    #[test]
    fn trees_have_absolute_normal_paths() {
        for path in ["", "/", "repo", "/repo/../etc", "relative/path"] {
            let inputs = v1::Inputs {
                source_root: path.to_owned(),
                ..Default::default()
            };
            assert_eq!(
                field_of(v1::RunHeader {
                    inputs: Some(inputs),
                    ..header()
                }),
                "inputs.source_root",
                "{path}"
            );
        }
        let read = tree("a", "/repo//repo/", "b", &[]).unwrap();
        assert_eq!(read.path.as_os_str(), "/repo/repo");
    }
}
