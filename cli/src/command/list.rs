//! `thresh list`.

use std::io::{self, IsTerminal, Write};

use nextest_metadata::NextestExitCode;
use thresh_client::report::one_line;
use thresh_client::run::Prepared;
use thresh_client::suite::Suite;

use super::run::blocking;
use crate::args::{FarmArgs, ListArgs, MessageFormat};
use crate::connect::Connection;
use crate::failure::Failure;
use crate::options::suite_options;
use crate::output::{closed_pipe, json_line};

/// Lists a workspace's test cases.
///
/// # Errors
/// The suite cannot be made.
pub(crate) async fn list(args: ListArgs) -> Result<i32, Failure> {
    let options = suite_options(&args.build, &args.select, &FarmArgs::default(), None)?;
    let state = options.state.clone();
    let prepared = blocking(move || Prepared::new(options)).await?;
    let connection = Connection::open(None, &state, None, None).await?;
    let suite = prepared.list(Some(connection.channel.clone())).await;
    connection.close().await;
    let suite = suite?;
    let written = match args.message_format {
        MessageFormat::Human if io::stdout().is_terminal() => write_suite(&mut io::stdout().lock(), &suite),
        MessageFormat::Human => write_lines(&mut io::stdout().lock(), &suite),
        MessageFormat::Json => json_line(&suite.to_summary()),
    };
    written.map(|()| NextestExitCode::OK).or_else(closed_pipe)
}

/// As nextest does on a terminal: each binary with its cases below it.
fn write_suite(sink: &mut impl Write, suite: &Suite) -> io::Result<()> {
    let mut last = None;
    for case in &suite.cases {
        if last != Some(case.binary) {
            writeln!(sink, "{}:", suite.binaries[case.binary].id)?;
            last = Some(case.binary);
        }
        writeln!(sink, "    {}", one_line(&case.name))?;
    }
    Ok(())
}

/// As nextest does for other programs: one case on each line, after its binary.
fn write_lines(sink: &mut impl Write, suite: &Suite) -> io::Result<()> {
    let mut cases = suite.cases.iter();
    cases.try_for_each(|case| {
        writeln!(
            sink,
            "{} {}",
            suite.binaries[case.binary].id,
            one_line(&case.name)
        )
    })
}
