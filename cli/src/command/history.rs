//! `thresh history` and `thresh explain`.

use std::io;

use nextest_metadata::NextestExitCode;
use thresh_client::reuse::write_explanation;
use thresh_client::run::{HistoryQuery, Prepared, RunError, history, write_history};

use super::run::blocking;
use crate::args::{ExplainArgs, HistoryArgs, MessageFormat, SelectArgs};
use crate::connect::Connection;
use crate::failure::Failure;
use crate::options::suite_options;
use crate::output::{closed_pipe, json_line, nothing};
use crate::project::Project;

/// Shows past durations and outcomes.
///
/// # Errors
/// The coordinator cannot be reached, or no case matches.
pub(crate) async fn show(args: HistoryArgs) -> Result<i32, Failure> {
    let Project { name, connection } = Project::open(&args.project).await?;
    let query = HistoryQuery {
        project: name,
        patterns: args.patterns.clone(),
        outcomes_max: args.limit,
    };
    let cases = history(connection.channel.clone(), query).await;
    connection.close().await;
    let cases = cases?;
    if cases.is_empty() && !args.patterns.is_empty() {
        return Err(RunError::NoSuchCase {
            pattern: args.patterns.join("` or `"),
            nearest: None,
        }
        .into());
    }
    let written = match args.format.format() {
        MessageFormat::Human if cases.is_empty() => {
            nothing("History", "nothing yet; `thresh run` records its attempts")
        }
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
    let connection = Connection::open(farm.as_deref(), &state, None, None).await?;
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
