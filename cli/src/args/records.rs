//! Flags of commands about the past.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueHint};
use thresh_client::records::{RunChoice, Until};
use thresh_coordinator::{ATTEMPTS_MAX, RUNS_MAX};

use super::{FarmArgs, MessageFormat};

const HISTORY_HELP: &str = "\
Examples:
  thresh history                 every case: estimate, attempts, failures, flakes
  thresh history parse           cases whose `binary-id name` contains `parse`
  thresh history --limit 50      as many attempts as are kept";

const QUARANTINE_HELP: &str = "\
A quarantined case runs and is reported, but cannot fail its run. Somebody owns it, and it counts again by itself.

Examples:
  thresh quarantine add 'demo::it flaky' --owner alice --until 14d
  thresh quarantine add network:: --all --owner net-team --until 2026-12-24
  thresh quarantine list
  thresh quarantine expire 'demo::it flaky'";

const ADD_HELP: &str = "\
A case is named as reports name it, 'BINARY-ID NAME' in one argument, or by its name, or by a part of either.

Examples:
  thresh quarantine add 'demo::it flaky' --owner alice --until 14d
  thresh quarantine add network:: --all --owner net-team --until 2026-12-24
  thresh quarantine add 'demo::it brand_new' --unseen --owner alice --until 36h

To give a case more time, add it again: what was said of it before is replaced.";

const AUDIT_HELP: &str = "\
`thresh run --audit 5%` (or `audit = \"5%\"` in [reuse] of thresh.toml) runs a random share of the cases that could be \
reused. One that does not pass, though its pass is stored under the same key, depends on something that the key misses, \
or is unsteady. It is not reused any more, until somebody has looked at it.

Examples:
  thresh run --audit 5%                    run a twentieth of what could be reused
  thresh audit report                      what agreed, and what did not pass
  thresh audit trust 'demo::it clock'      reuse the case again, once you know why";

const TRUST_HELP: &str = "\
A case is named as reports name it, 'BINARY-ID NAME' in one argument, or by its name, or by a part of either.

First find out what the case depends on: the clock, a port, a file that git ignores. Then take that away, or bring it into \
the key (docs/guide/reuse.md): else the next change of it is missed again.

Examples:
  thresh audit trust 'demo::it clock'
  thresh audit trust network:: --all";

const REPLAY_HELP: &str = "\
Without RUN it lists the latest runs of this project.

Examples:
  thresh replay                             the latest runs, with their ids
  thresh replay latest                   who ran what when, and what came last
  thresh replay 01a20866-329a --all      every attempt; the id's beginning will do
  thresh replay latest --trace out.json  for https://ui.perfetto.dev

Why a case went to a worker: first (it came first), affinity (its binary was there), ahead (so that a slot need not \
wait), retry (it failed before), lost (its worker was lost), returned (its worker gave it back), stolen (its worker had \
more than it could start), hedge (its other copy took unusually long).";

/// The form of standard output.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct FormatArgs {
    /// For people, or JSON: one object a line
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "human")]
    message_format: MessageFormat,
    /// The same as --message-format json
    #[arg(long, conflicts_with = "message_format")]
    json: bool,
}

impl FormatArgs {
    /// The form that is asked for.
    pub(crate) fn format(self) -> MessageFormat {
        if self.json {
            MessageFormat::Json
        } else {
            self.message_format
        }
    }
}

/// Whose past is meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProjectArgs {
    #[command(flatten)]
    pub(crate) farm: FarmArgs,
    /// The workspace's folder
    #[arg(short = 'C', long = "directory", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<PathBuf>,
}

/// `thresh history`.
#[derive(Clone, Debug, Args)]
#[command(after_help = HISTORY_HELP)]
pub(crate) struct HistoryArgs {
    /// Only cases whose name or binary id contains one of these
    pub(crate) patterns: Vec<String>,
    /// Outcomes to show for each case
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(ATTEMPTS_MAX))
    )]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// `thresh quarantine`.
#[derive(Clone, Debug, Args)]
#[command(after_help = QUARANTINE_HELP)]
pub(crate) struct QuarantineArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: QuarantineCommand,
}

/// What to do about the quarantine.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Let cases fail without failing their run, for a while
    Add(AddArgs),
    /// Show the cases in quarantine, and those that were lately
    List(ListQuarantineArgs),
    /// Let cases count again
    Expire(ListedArgs),
}

/// `thresh quarantine add`.
#[derive(Clone, Debug, Args)]
#[command(after_help = ADD_HELP)]
pub(crate) struct AddArgs {
    /// The cases, each as 'BINARY-ID NAME', or a part of it
    #[arg(value_name = "CASE", required = true, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) cases: Vec<String>,
    /// Who sees to them
    #[arg(long, value_name = "WHO")]
    pub(crate) owner: String,
    /// When they count again: a day like 2026-12-24 (from its beginning, UTC), or a time from now like 14d; at most
    /// 90 days ahead
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Until,
    /// Why they are here
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// Take all cases that match, not only a single one
    #[arg(long)]
    pub(crate) all: bool,
    /// Take cases, given in full, that history has never seen
    #[arg(long)]
    pub(crate) unseen: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// `thresh quarantine list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListQuarantineArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// Cases of a list that a command ends something for.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListedArgs {
    /// The cases, each as 'BINARY-ID NAME', or a part of it
    #[arg(value_name = "CASE", required = true, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) cases: Vec<String>,
    /// Take all cases that match, not only a single one
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// `thresh audit`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AUDIT_HELP)]
pub(crate) struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

/// What to do about audits of reuse.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show what audits found, and which cases are not reused for it
    Report(AuditReportArgs),
    /// Let cases be reused again
    #[command(after_help = TRUST_HELP)]
    Trust(ListedArgs),
}

/// `thresh audit report`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AUDIT_HELP)]
pub(crate) struct AuditReportArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// `thresh replay`.
#[derive(Clone, Debug, Args)]
#[command(after_help = REPLAY_HELP)]
pub(crate) struct ReplayArgs {
    /// The run: its id, the beginning of its id, or `latest`
    pub(crate) run: Option<RunChoice>,
    /// Every attempt, worker, gap and so on
    #[arg(long, requires = "run")]
    pub(crate) all: bool,
    /// Write the run for a trace viewer, too (Perfetto, chrome://tracing); `-`: to standard output, and nothing else
    #[arg(long, value_name = "FILE", requires = "run", value_hint = ValueHint::FilePath)]
    pub(crate) trace: Option<PathBuf>,
    /// Runs to list
    #[arg(
        long,
        value_name = "N",
        default_value_t = 20,
        conflicts_with = "run",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(RUNS_MAX))
    )]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}
