//! `thresh quarantine`.

use std::io;
use std::time::SystemTime;

use nextest_metadata::NextestExitCode;
use thresh_client::records::{
    NewQuarantine, add_quarantine, expire_quarantine, list_quarantine, write_added, write_expired,
    write_quarantine,
};
use thresh_core::time::Timestamp;

use crate::args::{MessageFormat, QuarantineArgs, QuarantineCommand};
use crate::failure::Failure;
use crate::output::{closed_pipe, json_line, nothing};
use crate::project::Project;

/// Changes or shows the quarantine.
///
/// # Errors
/// It is not clear which cases are meant, or the coordinator cannot be reached.
pub(crate) async fn quarantine(args: QuarantineArgs) -> Result<i32, Failure> {
    let written = match args.command {
        QuarantineCommand::Add(args) => {
            let Project { name, connection } = Project::open(&args.project).await?;
            let new = NewQuarantine {
                project: name,
                patterns: args.cases,
                all: args.all,
                unseen: args.unseen,
                owner: args.owner,
                reason: args.reason,
                until: args.until,
            };
            let added = add_quarantine(connection.channel.clone(), new, now()).await;
            connection.close().await;
            let added = added?;
            match args.format.format() {
                MessageFormat::Human => write_added(&mut io::stdout().lock(), &added),
                MessageFormat::Json => added.iter().try_for_each(json_line),
            }
        }
        QuarantineCommand::List(args) => {
            let Project { name, connection } = Project::open(&args.project).await?;
            let list = list_quarantine(connection.channel.clone(), &name).await;
            connection.close().await;
            let list = list?;
            match args.format.format() {
                MessageFormat::Human if list.cases.is_empty() => {
                    nothing("Quarantine", "no case; see `thresh quarantine add --help`")
                }
                MessageFormat::Human => write_quarantine(&mut io::stdout().lock(), &list),
                MessageFormat::Json => list.cases.iter().try_for_each(json_line),
            }
        }
        QuarantineCommand::Expire(args) => {
            let Project { name, connection } = Project::open(&args.project).await?;
            let expired = expire_quarantine(connection.channel.clone(), &name, &args.cases, args.all).await;
            connection.close().await;
            let expired = expired?;
            match args.format.format() {
                MessageFormat::Human => write_expired(&mut io::stdout().lock(), &expired),
                MessageFormat::Json => expired.iter().try_for_each(json_line),
            }
        }
    };
    written.map(|()| NextestExitCode::OK).or_else(closed_pipe)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp::default().after(since_epoch.unwrap_or_default())
}
