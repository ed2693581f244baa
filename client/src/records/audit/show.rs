//! Audits for people.

use std::io::{self, Write};

use super::super::words::moment;
use super::entry::{AuditReport, Disagreement, Trusted};
use crate::report::{counted, one_line, write_captured};

/// Writes what audits found, the open disagreements with the output of the case.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_report(sink: &mut impl Write, report: &AuditReport) -> io::Result<()> {
    let counts = &report.counts;
    if counts.audited == 0 {
        return writeln!(
            sink,
            "{:>12} nothing yet; `thresh run --audit 5%` runs a share of the cases that could be reused",
            "Audited"
        );
    }
    let times = usize::try_from(counts.audited).unwrap_or(usize::MAX);
    writeln!(
        sink,
        "{:>12} {}: {} agreed, {} flaky, {} disagreed",
        "Audited",
        counted(times, "case"),
        counts.agreed,
        counts.flaky,
        counts.disagreed
    )?;
    (report.disagreements.iter()).try_for_each(|entry| write_disagreement(sink, entry))
}

fn write_disagreement(sink: &mut impl Write, entry: &Disagreement) -> io::Result<()> {
    let head = if entry.is_open() { "NOT REUSED" } else { "TRUSTED" };
    writeln!(sink, "{head:>12} {}", entry.case)?;
    let pass = match entry.past_run {
        Some(run) => format!("the pass of run {run}"),
        None => "a pass in another cache".to_owned(),
    };
    writeln!(
        sink,
        "{:>12} {} in run {}, {}; {pass} has the same key",
        "",
        one_line(&entry.outcome.to_string()),
        entry.run_id,
        moment(entry.at),
    )?;
    match entry.trusted_at {
        Some(at) => writeln!(sink, "{:>12} reused again since {}", "", moment(at)),
        None => {
            writeln!(
                sink,
                "{:>12} reused again after: thresh audit trust '{}'",
                "", entry.case
            )?;
            write_captured(sink, &entry.stdout, &entry.stderr)
        }
    }
}

/// Writes what is reused again.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_trusted(sink: &mut impl Write, trusted: &[Trusted]) -> io::Result<()> {
    for entry in trusted {
        writeln!(sink, "{:>12} {}: may be reused again", "TRUSTED", entry.case)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use thresh_core::id::RunId;
    use thresh_core::outcome::{FailureCause, Outcome};
    use thresh_core::time::Timestamp;

    use super::super::super::case_ref::CaseRef;
    use super::super::entry::AuditCounts;
    use super::*;
    use crate::report::Captured;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn entry(name: &str, past_run: Option<RunId>, trusted_at: Option<Timestamp>) -> Disagreement {
        Disagreement {
            case: CaseRef::in_full(name).unwrap(),
            run_id: RunId::from_u128(8),
            at: NOW,
            past_run,
            outcome: Outcome::Failed {
                cause: FailureCause::ExitCode(101),
                leaked: false,
            },
            stdout: Captured::default(),
            stderr: Captured {
                head: b"went \x1b[31mwrong\n".to_vec(),
                ..Captured::default()
            },
            trusted_at,
        }
    }

    #[test]
    fn a_report_says_what_is_not_reused_and_why() {
        let report = AuditReport {
            counts: AuditCounts {
                audited: 120,
                agreed: 117,
                flaky: 1,
                disagreed: 2,
            },
            disagreements: vec![
                entry("demo::it clock", Some(RunId::from_u128(7)), None),
                entry("demo::it old\nname", None, Some(NOW)),
            ],
        };
        let mut out = Vec::new();
        write_report(&mut out, &report).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            include_str!("../golden/audit.txt")
        );
    }

    #[test]
    fn without_audits_it_says_how_to_have_some() {
        let mut out = Vec::new();
        write_report(&mut out, &AuditReport::default()).unwrap();
        let case = CaseRef::in_full("demo::it clock").unwrap();
        write_trusted(&mut out, &[Trusted { case }]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("thresh run --audit 5%"), "{text}");
        assert!(
            text.ends_with("     TRUSTED demo::it clock: may be reused again\n"),
            "{text}"
        );
    }
}
