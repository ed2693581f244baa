//! `thresh history` and `thresh explain`.

use std::io;

use nextest_metadata::NextestExitCode;
use thresh_client::project::{ProjectConfig, project_name};
use thresh_client::reuse::write_explanation;
use thresh_client::run::{HistoryQuery, Prepared, history, write_history};

use super::run::blocking;
use crate::args::{ExplainArgs, HistoryArgs, MessageFormat, SelectArgs};
use crate::connect::Connection;
use crate::failure::Failure;
use crate::options::{state, suite_options, surroundings};
use crate::output::{closed_pipe, json_line};

/// Shows past durations and outcomes.
///
/// # Errors
/// The coordinator cannot be reached.
pub(crate) async fn show(args: HistoryArgs) -> Result<i32, Failure> {
    let here = surroundings(args.directory.as_deref())?;
    let root = workspace_root(here.directory.as_std_path());
    let config = ProjectConfig::load(&root).map_err(|error| Failure::of(error.fault(), &error))?;
    let explicit = args.farm.project.as_deref().or(config.project.as_deref());
    let query = HistoryQuery {
        project: project_name(explicit, &root),
        patterns: args.patterns.clone(),
        outcomes_max: args.limit,
    };
    let farm = args
        .farm
        .farm
        .as_deref()
        .or(config.farm.url.as_deref())
        .filter(|url| !url.is_empty());
    let connection = Connection::open(farm, &state()?, None).await?;
    let cases = history(connection.channel.clone(), query).await;
    connection.close().await;
    let cases = cases?;
    let written = match args.message_format {
        MessageFormat::Human => write_history(&mut io::stdout().lock(), &cases),
        MessageFormat::Json => cases.iter().try_for_each(json_line),
    };
    written.map(|()| NextestExitCode::OK).or_else(closed_pipe)
}

/// Tells why cases would be run or reused.
///
/// # Errors
/// The suite cannot be made, or no case matches.
pub(crate) async fn explain(args: ExplainArgs) -> Result<i32, Failure> {
    let select = SelectArgs {
        profile: args.profile.clone(),
        ..SelectArgs::default()
    };
    let options = suite_options(&args.build, &select, &args.farm, None)?;
    let state = options.state.clone();
    let prepared = blocking(move || Prepared::new(options)).await?;
    let farm = prepared.farm().map(str::to_owned);
    let connection = Connection::open(farm.as_deref(), &state, None).await?;
    let told = prepared.explain(connection.channel.clone(), &args.case).await;
    connection.close().await;
    let told = told?;
    let written = match args.message_format {
        MessageFormat::Human => told
            .iter()
            .try_for_each(|explanation| write_explanation(&mut io::stdout().lock(), explanation)),
        MessageFormat::Json => told.iter().try_for_each(json_line),
    };
    written.map(|()| NextestExitCode::OK).or_else(closed_pipe)
}

/// The nearest folder above that holds a Cargo.lock, which only a workspace's root does; else the folder itself.
fn workspace_root(from: &std::path::Path) -> std::path::PathBuf {
    from.ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .unwrap_or(from)
        .to_owned()
}
