//! The command line, as data. Conversions into the client's options are beside each group of flags.

mod build;
mod cas;
mod farm;
mod program;
mod records;
mod report;
mod run;
mod select;

pub(crate) use build::BuildArgs;
pub(crate) use cas::{CasArgs, CasCommand, CasFolder};
pub(crate) use farm::{CoordinatorArgs, EngineArgs, FarmArgs, StandingArgs, WorkerArgs};
pub(crate) use program::{Command, Program, ShardArgs};
pub(crate) use records::{
    AuditArgs, AuditCommand, HistoryArgs, ProjectArgs, QuarantineArgs, QuarantineCommand, ReplayArgs,
};
pub(crate) use report::{Color, MessageFormat, ReportArgs};
pub(crate) use run::{AffectedArgs, ExplainArgs, ListArgs, NoTests, RunArgs};
pub(crate) use select::SelectArgs;
