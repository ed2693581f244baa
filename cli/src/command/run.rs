//! `thresh run`.

use std::io::{self, Write};

use nextest_metadata::NextestExitCode;
use thresh_client::report::Reporters;
use thresh_client::run::{Cancel, Finished, Prepared, RunError};
use thresh_coordinator::InvalidAddress;

use crate::args::{MessageFormat, NoTests, RunArgs};
use crate::connect::{Connection, Muscle};
use crate::engine::{self, Destination};
use crate::failure::Failure;
use crate::interrupt::interrupts;
use crate::options::run_options;
use crate::output::{closed_pipe, json_line};
use crate::reporting::{colours, reporters};

/// Runs a workspace's tests and returns the exit code of the verdict.
///
/// # Errors
/// There is no verdict.
pub(crate) async fn run(args: RunArgs) -> Result<i32, Failure> {
    let color = colours(args.report.color).then_some("always");
    let options = run_options(&args, color)?;
    let state = options.state.clone();
    let cancel = interrupts().map_err(|cause| Failure::environment(format!("catch signals: {cause}")))?;
    let prepared = blocking(move || Prepared::new(options)).await?;
    for warning in prepared.warnings() {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    if args.no_run {
        prepared.only_build().await?;
        return Ok(NextestExitCode::OK);
    }
    let farm = prepared.farm().map(str::to_owned);
    let platform = prepared.platform().to_owned();
    let reuse_from = match (&args.reuse_from, prepared.reuse_from()) {
        (Some(given), _) => Some(given.clone()),
        (None, Some(text)) => Some(text.parse().map_err(|error: InvalidAddress| {
            Failure::input(format!("read `reuse.from` of thresh.toml: {error}"))
        })?),
        (None, None) => None,
    };
    if farm.is_some() && args.reuse_from.is_some() {
        let message =
            "start: --reuse-from is for runs on this machine; on a farm, give it to `thresh coordinator`";
        return Err(Failure::input(message.to_owned()));
    }
    let engine = engine::connect(&prepared, &args.engine.properties).await?;
    let (reuse_from, muscle) = match &engine {
        // Its cache is one that the team shares: passes belong there, if it takes them and nothing else is wanted.
        Some(engine) => (
            reuse_from.or_else(|| engine.cache()),
            Muscle::Engine(engine.clone()),
        ),
        None => (
            reuse_from,
            Muscle::Here {
                slots: prepared.slots(),
                platform: &platform,
                observe: prepared.observes(),
            },
        ),
    };
    let depot = engine.map(Destination);
    let connection = Connection::open(farm.as_deref(), &state, reuse_from, Some(muscle)).await?;
    let judged = judge(&args, prepared, &connection, depot.as_ref(), cancel).await;
    connection.close().await;
    judged
}

async fn judge(
    args: &RunArgs,
    prepared: Prepared,
    connection: &Connection,
    depot: Option<&Destination>,
    cancel: Cancel,
) -> Result<i32, Failure> {
    let channel = connection.channel.clone();
    if args.plan {
        let plan = prepared.plan(channel).await?;
        let written = match args.report.message_format {
            MessageFormat::Human => plan.write(&mut io::stdout().lock()),
            MessageFormat::Json => json_line(&plan),
        };
        return written.map(|()| NextestExitCode::OK).or_else(closed_pipe);
    }
    let mut reporters: Reporters = reporters(&args.report, args.build.directory.as_deref(), &prepared)?;
    let code = match prepared
        .run(channel, depot.map(|depot| depot as _), &mut reporters, cancel)
        .await?
    {
        Finished::Judged(summary) => summary.exit_code(),
        Finished::OnlyBuilt => NextestExitCode::OK,
        Finished::NoCases { skipped } => no_cases(args.no_tests, skipped),
    };
    match reporters.finish() {
        // A failed suite is worse news than a report that could not be written.
        Err(error) if code == NextestExitCode::OK => Err(Failure::from(error)),
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: failed to {error}");
            Ok(code)
        }
        Ok(()) => Ok(code),
    }
}

fn no_cases(no_tests: Option<NoTests>, skipped: usize) -> i32 {
    let say = |word: &str| {
        let _ = writeln!(
            io::stderr(),
            "{word}: no test case is selected ({skipped} skipped); loosen the filters, or pass --no-tests pass"
        );
    };
    match no_tests.unwrap_or(NoTests::Fail) {
        NoTests::Pass => NextestExitCode::OK,
        NoTests::Warn => {
            say("warning");
            NextestExitCode::OK
        }
        NoTests::Fail => {
            say("error");
            NextestExitCode::NO_TESTS_RUN
        }
    }
}

/// Runs what blocks on a thread for that.
///
/// # Errors
/// What `act` fails with.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => Ok(done?),
        Err(cause) => Err(Failure::internal(format!("prepare: {cause}"))),
    }
}
