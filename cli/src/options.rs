//! From arguments to the client's options.

use std::path::Path;

use thresh_client::build::ArchiveOptions;
use thresh_client::project::{StateFolder, StateVariables};
use thresh_client::run::RunOptions;
use thresh_client::suite::ForcedSettings;
use thresh_client::surroundings::Surroundings;
use thresh_core::case::{Backoff, RetryPolicy};

use crate::args::{BuildArgs, FarmArgs, RunArgs, SelectArgs};
use crate::failure::Failure;

/// Where the program stands, after `-C`.
///
/// # Errors
/// The folder cannot be entered.
pub(crate) fn surroundings(directory: Option<&Path>) -> Result<Surroundings, Failure> {
    if let Some(directory) = directory {
        std::env::set_current_dir(directory)
            .map_err(|cause| Failure::input(format!("change to {}: {cause}", directory.display())))?;
    }
    Surroundings::of_process()
        .map_err(|cause| Failure::environment(format!("find the working directory: {cause}")))
}

/// Where state is kept.
///
/// # Errors
/// The environment names no usable folder.
pub(crate) fn state() -> Result<StateFolder, Failure> {
    StateFolder::locate(&StateVariables::of_process()).map_err(|error| Failure::of(error.fault(), &error))
}

/// The options that every command shares which makes a suite.
///
/// # Errors
/// The surroundings cannot be used.
pub(crate) fn suite_options(
    build: &BuildArgs,
    select: &SelectArgs,
    farm: &FarmArgs,
    color: Option<&str>,
) -> Result<RunOptions, Failure> {
    let surroundings = surroundings(build.directory.as_deref().map(AsRef::as_ref))?;
    let archive = build.archive_file.clone().map(|file| ArchiveOptions {
        file,
        extract_to: build.extract_to.clone(),
        extract_overwrite: build.extract_overwrite,
        workspace_remap: build.workspace_remap.clone(),
        config: build.config.clone(),
    });
    Ok(RunOptions {
        program: std::env::current_exe().ok(),
        build: build.options(color),
        archive,
        selection: select.selection(),
        profile: select.profile.clone(),
        nextest: select.config_sources(surroundings.cpus),
        farm: farm.farm.clone(),
        project: farm.project.clone(),
        ..RunOptions::new(surroundings, state()?)
    })
}

/// The options of `thresh run`.
///
/// # Errors
/// The surroundings cannot be used.
pub(crate) fn run_options(args: &RunArgs, color: Option<&str>) -> Result<RunOptions, Failure> {
    let options = suite_options(&args.build, &args.select, &args.farm, color)?;
    let retries = args.retries.map(|count| RetryPolicy {
        count,
        backoff: Backoff::Fixed(std::time::Duration::ZERO),
        jitter: false,
    });
    let cpus = options.surroundings.cpus;
    Ok(RunOptions {
        forced: ForcedSettings {
            retries,
            flaky_result: args.flaky_result.map(Into::into),
        },
        success_output: args.report.success_output,
        failure_output: args.report.failure_output,
        max_fail: args.stop_after(),
        test_threads: args.test_threads.map(|threads| threads.slots(cpus)),
        no_capture: args.no_capture,
        no_run: args.no_run,
        engine: args.engine.url.clone(),
        reuse: !args.no_reuse,
        audit: args.audit,
        outputs: args.report.junit.clone().into_iter().collect(),
        submitter: (args.standing.submitter.clone())
            .or_else(|| std::env::var("USER").ok())
            .unwrap_or_default(),
        priority: args.standing.priority,
        deadline: args.standing.deadline,
        title: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        ..options
    })
}
