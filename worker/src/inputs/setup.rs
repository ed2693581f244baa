//! Setup scripts: run once a worker and run, before the run's first case.

use std::ffi::OsString;
use std::path::PathBuf;

use thresh_core::outcome::{FailureCause, Outcome};
use thresh_proto::convert::{duration_to_wire, outcome_to_wire};
use thresh_proto::v1;

use super::brief::{Brief, SetupScript};
use super::environment::Variable;
use super::error::PrepareError;
use super::place::{CasePlace, Place};
use crate::exec::{
    Capture, Environment, Execution, Executor, Invocation, Killer, OutputLimit, read_env_file,
};
use crate::sandbox::Limits;
use crate::slots::output_to_wire;

/// Runs the setup scripts one after the other, up to the first that fails, and returns what each of them set.
/// Every ended script is reported. Blocks.
pub(super) fn run_setup_scripts(
    brief: &Brief,
    place: &Place,
    base: &Environment,
    output_limit: OutputLimit,
    killer: &Killer,
    report: &dyn Fn(v1::SetupScriptEnded),
) -> Result<Vec<Vec<Variable>>, PrepareError> {
    let mut executor = Executor::new();
    let mut variables = Vec::new();
    for script in &brief.setup_scripts {
        let case_place = place.setup_script().map_err(|cause| {
            PrepareError::io("make temp folders for setup script", script.id.as_ref(), &cause)
        })?;
        let env_file = EnvFile::new(&case_place)?;
        let mut invocation = invocation(script, place, base, output_limit, &case_place);
        invocation
            .environment
            .set
            .push(("NEXTEST_ENV".into(), env_file.seen.clone()));
        if brief.no_capture && matches!(place, Place::Client) {
            invocation.capture = Capture::NONE;
        }
        let mut execution = executor.run(&invocation, killer, &mut |_| {});
        if execution.outcome == Outcome::Cancelled {
            return Err(PrepareError::Cancelled);
        }
        let set = take_variables(&mut execution, &env_file);
        let passed = execution.outcome.passes();
        report(script_to_wire(script, execution));
        if !passed {
            return Err(PrepareError::SetupScript(script.id.clone()));
        }
        variables.push(set);
    }
    Ok(variables)
}

/// The file at `NEXTEST_ENV`; removed when dropped.
struct EnvFile {
    path: tempfile::TempPath,
    /// Its path as the script sees it.
    seen: OsString,
}

impl EnvFile {
    fn new(case_place: &CasePlace) -> Result<Self, PrepareError> {
        let (folder, seen_folder) = case_place.shared_temp();
        let path = tempfile::Builder::new()
            .prefix("nextest-env")
            .tempfile_in(&folder)
            .map_err(|cause| PrepareError::io("create a file in", &folder, &cause))?
            .into_temp_path();
        let seen = path
            .strip_prefix(&folder)
            .map_or_else(|_| path.to_owned(), |name| seen_folder.join(name));
        Ok(Self {
            path,
            seen: seen.into(),
        })
    }
}

fn invocation<'a>(
    script: &SetupScript,
    place: &Place,
    base: &Environment,
    output_limit: OutputLimit,
    case_place: &'a CasePlace,
) -> Invocation<'a> {
    let mut environment = base.clone();
    environment.set.extend(
        script
            .env
            .iter()
            .map(|(name, value)| (name.clone(), place.map(value))),
    );
    environment.set.extend(
        case_place
            .temp_dir()
            .map(|folder| ("TMPDIR".into(), folder.into())),
    );
    Invocation {
        argv: script
            .argv
            .iter()
            .map(|argument| place.map(argument.as_ref()))
            .collect(),
        cwd: PathBuf::from(place.map(script.cwd.as_ref())),
        environment,
        slow_timeout: script.slow_timeout,
        leak_timeout: script.leak_timeout,
        capture: Capture {
            stdout: script.capture_stdout,
            stderr: script.capture_stderr,
        },
        output_limit,
        // A server that the cases talk to may well outlive the script.
        kill_leaked: false,
        limits: Limits::default(),
        view: case_place.view(),
    }
}

/// Reads what a passed script set. A file that is not accepted makes the script fail.
fn take_variables(execution: &mut Execution, env_file: &EnvFile) -> Vec<Variable> {
    if !execution.outcome.passes() {
        return Vec::new();
    }
    match read_env_file(&env_file.path) {
        Ok(set) => set
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        Err(error) => {
            let cause = FailureCause::Exec(format!("failed to {error}"));
            execution.outcome = Outcome::Failed { cause, leaked: false };
            Vec::new()
        }
    }
}

fn script_to_wire(script: &SetupScript, execution: Execution) -> v1::SetupScriptEnded {
    v1::SetupScriptEnded {
        id: script.id.clone(),
        // The coordinator knows who reports.
        worker: String::new(),
        outcome: Some(outcome_to_wire(&execution.outcome)),
        took: Some(duration_to_wire(execution.took)),
        output: Some(output_to_wire(execution.stdout, execution.stderr)),
    }
}
