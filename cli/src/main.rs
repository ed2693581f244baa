//! The one binary `thresh`: arguments, and the wiring of client, coordinator and worker.

mod args;
mod command;
mod connect;
mod embedded;
mod engine;
mod failure;
mod farm_address;
mod interrupt;
mod options;
mod output;
mod project;
mod reporting;
mod tool;
mod version;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Command, Program};
use failure::Failure;

fn main() -> ExitCode {
    if let Some(code) = tool::act() {
        return ExitCode::from(code);
    }
    let program = Program::try_parse().unwrap_or_else(|error| usage(&error));
    log();
    match execute(program.command) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: failed to {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Prints help or what is wrong with the arguments. Wrong arguments have the exit code of a set-up error.
fn usage(error: &clap::Error) -> ! {
    // There is nowhere left to say that standard error is closed.
    let _ = error.print();
    std::process::exit(if error.use_stderr() {
        i32::from(failure::SETUP)
    } else {
        0
    })
}

/// `THRESH_LOG` takes tracing's filter directives; without it only warnings are shown.
fn log() {
    let wanted = std::env::var_os("THRESH_LOG").unwrap_or_default();
    let wanted = match wanted.to_string_lossy() {
        wanted if wanted.is_empty() => "warn".into(),
        wanted => wanted,
    };
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|cause| {
        let _ = writeln!(
            std::io::stderr(),
            "warning: THRESH_LOG={wanted}: {cause}; only warnings are shown"
        );
        EnvFilter::new("warn")
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

fn execute(command: Command) -> Result<i32, Failure> {
    let written = |done: std::io::Result<()>| done.map(|()| 0).or_else(output::closed_pipe);
    match command {
        Command::Completions { shell } => written(command::document::completions(shell)),
        Command::Man { out } => written(command::document::man(out.as_deref())),
        Command::Run(args) => wait_on_one_thread(command::run::run(*args)),
        Command::List(args) => wait(command::list::list(*args)),
        Command::Affected(args) => wait(command::affected::list(*args)),
        Command::History(args) => wait(command::history::show(*args)),
        Command::Replay(args) => wait(command::replay::replay(*args)),
        Command::Quarantine(args) => wait(command::quarantine::quarantine(*args)),
        Command::Audit(args) => wait(command::audit::audit(*args)),
        Command::Explain(args) => wait(command::history::explain(*args)),
        Command::Coordinator(args) => wait(command::coordinator::serve(args)).map(|()| 0),
        Command::Shard(args) => wait(command::shard::execute(args)).map(|()| 0),
        Command::Cas(args) => command::cas::cas(&args),
        Command::Worker(args) => wait(command::worker::work(args)).map(|()| 0),
    }
}

/// For commands that carry a farm within the process: its parts hand each other small messages all the time, and
/// waking another thread for each would cost more than the work. Cases run on threads of their own.
fn wait_on_one_thread<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    drive(tokio::runtime::Builder::new_current_thread(), work)
}

fn wait<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    drive(tokio::runtime::Builder::new_multi_thread(), work)
}

fn drive<T>(
    mut threads: tokio::runtime::Builder,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let runtime = threads.enable_all().build();
    let runtime = runtime.map_err(|cause| Failure::environment(format!("start threads: {cause}")))?;
    let done = runtime.block_on(work);
    // Threads that still read or write for a run that is over must not hold up the end.
    runtime.shutdown_background();
    done
}
