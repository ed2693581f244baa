//! `thresh audit`.

use std::io;

use nextest_metadata::NextestExitCode;
use thresh_client::records::{audit_report, trust_cases, write_report, write_trusted};

use crate::args::{AuditArgs, AuditCommand, MessageFormat};
use crate::failure::Failure;
use crate::output::{closed_pipe, json_line};
use crate::project::Project;

/// Shows what audits found, or lets cases be reused again.
///
/// # Errors
/// It is not clear which cases are meant, or the coordinator cannot be reached.
pub(crate) async fn audit(args: AuditArgs) -> Result<i32, Failure> {
    let written = match args.command {
        AuditCommand::Report(args) => {
            let Project { name, connection } = Project::open(&args.project).await?;
            let report = audit_report(connection.channel.clone(), &name).await;
            connection.close().await;
            let report = report?;
            match args.format.format() {
                MessageFormat::Human => write_report(&mut io::stdout().lock(), &report),
                MessageFormat::Json => json_line(&report),
            }
        }
        AuditCommand::Trust(args) => {
            let Project { name, connection } = Project::open(&args.project).await?;
            let trusted = trust_cases(connection.channel.clone(), &name, &args.cases, args.all).await;
            connection.close().await;
            let trusted = trusted?;
            match args.format.format() {
                MessageFormat::Human => write_trusted(&mut io::stdout().lock(), &trusted),
                MessageFormat::Json => trusted.iter().try_for_each(json_line),
            }
        }
    };
    written.map(|()| NextestExitCode::OK).or_else(closed_pipe)
}
