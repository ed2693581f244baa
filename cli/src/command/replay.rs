//! `thresh replay`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use nextest_metadata::NextestExitCode;
use thresh_client::records::{
    Replay, ReplayOptions, RunChoice, latest_runs, timeline, write_replay, write_runs, write_trace,
};

use crate::args::{MessageFormat, ReplayArgs};
use crate::failure::Failure;
use crate::output::{closed_pipe, json_line, nothing};
use crate::project::Project;

/// The width of the picture where standard output is no terminal.
const COLUMNS_DEFAULT: usize = 100;

/// The width beyond which a picture gains nothing.
const COLUMNS_MAX: usize = 200;

/// Tells a past run again, or lists past runs.
///
/// # Errors
/// It is not clear which run is meant, the coordinator cannot be reached, or the trace cannot be written.
pub(crate) async fn replay(args: ReplayArgs) -> Result<i32, Failure> {
    match &args.run {
        Some(run) => one(&args, run).await,
        None => list(&args).await,
    }
}

async fn list(args: &ReplayArgs) -> Result<i32, Failure> {
    let Project { name, connection } = Project::open(&args.project).await?;
    let runs = latest_runs(connection.channel.clone(), &name, args.limit).await;
    connection.close().await;
    let runs = runs?;
    let written = match args.format.format() {
        MessageFormat::Human if runs.is_empty() => {
            nothing("Replay", "no run yet; `thresh run` records its own")
        }
        MessageFormat::Human => write_runs(&mut io::stdout().lock(), &runs),
        MessageFormat::Json => runs.iter().try_for_each(json_line),
    };
    written.map(|()| NextestExitCode::OK).or_else(closed_pipe)
}

async fn one(args: &ReplayArgs, run: &RunChoice) -> Result<i32, Failure> {
    let Project { name, connection } = Project::open(&args.project).await?;
    let timeline = timeline(connection.channel.clone(), &name, run).await;
    connection.close().await;
    let replay = Replay::of(timeline?);
    if args.trace.as_deref() == Some(Path::new("-")) {
        let written = trace_to(io::stdout().lock(), &replay);
        return written.map(|()| NextestExitCode::OK).or_else(closed_pipe);
    }
    if let Some(path) = &args.trace {
        save_trace(path, &replay).map_err(|cause| {
            Failure::environment(format!("write the trace to {}: {cause}", path.display()))
        })?;
    }
    let written = match args.format.format() {
        MessageFormat::Human => show(&replay, args.all),
        MessageFormat::Json => json_line(&replay),
    };
    written.map(|()| NextestExitCode::OK).or_else(closed_pipe)
}

fn show(replay: &Replay, all: bool) -> io::Result<()> {
    let options = ReplayOptions {
        all,
        columns: columns(),
    };
    let mut sink = BufWriter::new(io::stdout().lock());
    write_replay(&mut sink, replay, options)?;
    sink.flush()
}

fn save_trace(path: &Path, replay: &Replay) -> io::Result<()> {
    trace_to(File::create(path)?, replay)
}

fn trace_to(sink: impl Write, replay: &Replay) -> io::Result<()> {
    let mut sink = BufWriter::new(sink);
    write_trace(&mut sink, replay)?;
    sink.flush()
}

fn columns() -> usize {
    if !io::stdout().is_terminal() {
        return COLUMNS_DEFAULT;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 {
        COLUMNS_DEFAULT
    } else {
        columns.min(COLUMNS_MAX)
    }
}
