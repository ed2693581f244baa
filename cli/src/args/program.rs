//! The program and its commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

use super::{
    AffectedArgs, AuditArgs, CasArgs, CoordinatorArgs, ExplainArgs, HistoryArgs, ListArgs, QuarantineArgs,
    ReplayArgs, RunArgs, WorkerArgs,
};

const AFTER_HELP: &str = "\
Examples:
  thresh run                          run what changed of this workspace's tests
  thresh run -p mycrate parse         only cases of mycrate with `parse` in their name
  thresh run --farm http://farm:8980  the same on many machines
  thresh affected --base main         the cases that changes since main concern
  thresh explain my_case              why my_case would be run or reused
  thresh replay latest                who ran what when in the last run

State is kept in $THRESH_HOME, by default the user's cache folder. Exit codes are nextest's: 0 pass, 100 tests failed, \
101 build failed, 4 no tests, 94 bad filterset, 96 set-up error, 104 listing failed, 105 setup script failed, 106 incomplete.";

/// Separates good commits from bad ones: runs a Cargo workspace's tests over all cores or a farm, and reuses
/// what has not changed.
#[derive(Debug, Parser)]
#[command(name = "thresh", version = crate::version::LONG, after_help = AFTER_HELP, propagate_version = false)]
pub(crate) struct Program {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build and run a workspace's tests, and judge them
    #[command(visible_alias = "r")]
    Run(Box<RunArgs>),
    /// List a workspace's test cases
    List(Box<ListArgs>),
    /// List the test cases that a change concerns; run nothing
    Affected(Box<AffectedArgs>),
    /// Show past durations and outcomes of test cases
    History(Box<HistoryArgs>),
    /// Show what happened in a past run, or list past runs
    Replay(Box<ReplayArgs>),
    /// Let flaky test cases fail without failing their runs, for a while
    Quarantine(Box<QuarantineArgs>),
    /// Show where reuse was found to be wrong, and let such cases be reused again
    Audit(Box<AuditArgs>),
    /// Tell why a test case would be run or reused
    Explain(Box<ExplainArgs>),
    /// Serve a farm: take runs from clients, give leases to workers
    Coordinator(CoordinatorArgs),
    /// Offer this machine's slots to a farm
    Worker(WorkerArgs),
    /// Count, verify or drop the blobs of a coordinator
    Cas(CasArgs),
    /// Execute a shard: what `thresh run --engine` has engines call
    #[command(hide = true)]
    Shard(ShardArgs),
    /// Print a shell completion script
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands into a folder
    Man {
        /// The folder; it is made when missing.
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
}

/// `thresh shard`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShardArgs {
    /// The run that it belongs to
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) run: PathBuf,
    /// The shard
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) shard: PathBuf,
    /// Where to write what came of its cases
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
}
