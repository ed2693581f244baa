//! The end of the report: what deserves a second look, the counts, the floor, the verdict.

use std::io::{self, Write};

use thresh_core::outcome::Outcome;
use thresh_core::verdict::{CaseStatus, Verdict};

use super::super::event::{AttemptRecord, CaseLabel, CaseRecord};
use super::super::remapped::remapped_failures;
use super::super::rerun::RerunCommand;
use super::super::summary::{RunSummary, counts, reason_clause};
use super::super::text::{counted, one_line};
use super::line::{self, RULE, status_line, status_word};
use super::output::write_attempt;
use super::paint::{Paint, Tone};
use crate::nextest::{FinalStatusLevel, OutputDisplay};

/// How a report ends.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) level: FinalStatusLevel,
    pub(super) repeat_failures: bool,
    pub(super) rerun: RerunCommand,
}

impl Ending {
    /// Writes the end of the report. Failures come last, nearest to the summary.
    pub(super) fn write(&self, sink: &mut Vec<u8>, paint: &Paint, summary: &RunSummary) -> io::Result<()> {
        let mut shown: Vec<(FinalStatusLevel, &CaseLabel, &CaseRecord)> = summary
            .indexed()
            .map(|(index, record)| (final_level_of(record), summary.roster.label(index), record))
            .filter(|(level, label, record)| self.level >= *level || self.output_of(label, record).is_some())
            .collect();
        shown.sort_by_key(|(level, ..)| std::cmp::Reverse(*level));
        if !shown.is_empty() {
            writeln!(sink, "{RULE}")?;
        }
        for (_, label, record) in shown {
            self.write_case(sink, paint, label, record)?;
        }
        writeln!(sink, "{RULE}")?;
        write_counts(sink, paint, summary)?;
        for remark in remapped_failures(summary) {
            writeln!(
                sink,
                "{} {}",
                paint.head("Warning", Tone::Warn),
                one_line(&remark)
            )?;
        }
        write_verdict(sink, paint, summary)
    }

    /// The attempt whose output is shown at the end, if any is.
    fn output_of<'r>(&self, label: &CaseLabel, record: &'r CaseRecord) -> Option<&'r AttemptRecord> {
        let failure = telling_failure(record);
        let shown = match (failure, label.report.failure_output, label.report.success_output) {
            (Some(_), OutputDisplay::Immediate, _) => self.repeat_failures,
            (Some(_), when, _) | (None, _, when) => {
                matches!(when, OutputDisplay::Final | OutputDisplay::ImmediateFinal)
            }
        };
        failure.or(record.attempts.last()).filter(|_| shown)
    }

    fn write_case(
        &self,
        sink: &mut Vec<u8>,
        paint: &Paint,
        label: &CaseLabel,
        record: &CaseRecord,
    ) -> io::Result<()> {
        let (word, tone) = status_word(record);
        let took = record
            .attempts
            .last()
            .map_or_else(Default::default, |last| last.took);
        writeln!(
            sink,
            "{}",
            status_line(paint, &word, tone, took, &line::case_name(paint, label))
        )?;
        match self.output_of(label, record) {
            // Both what failed and what passed: the difference is what people look for.
            Some(_) if matches!(record.status, CaseStatus::Flaky { .. }) => {
                for attempt in &record.attempts {
                    let outcome = attempt.outcome.to_string();
                    writeln!(sink, "  attempt {} {}", attempt.number, one_line(&outcome))?;
                    write_attempt(sink, paint, attempt)?;
                }
            }
            Some(attempt) => write_attempt(sink, paint, attempt)?,
            None => {}
        }
        if telling_failure(record).is_none() {
            return Ok(());
        }
        writeln!(sink, "  {} {}", paint.dim("rerun:"), self.rerun.of(label))?;
        writeln!(sink)
    }
}

fn final_level_of(record: &CaseRecord) -> FinalStatusLevel {
    match &record.status {
        status if status.fails() => FinalStatusLevel::Fail,
        CaseStatus::Flaky { .. } | CaseStatus::Quarantined(_) => FinalStatusLevel::Flaky,
        CaseStatus::Ended(Outcome::Leaked { .. }) => FinalStatusLevel::Leak,
        CaseStatus::Ended(Outcome::TimedOut { .. }) => FinalStatusLevel::Slow,
        CaseStatus::NotRun | CaseStatus::Ended(_) => FinalStatusLevel::Skip,
        CaseStatus::Passed | CaseStatus::Reused => FinalStatusLevel::Pass,
    }
}

/// The attempt that shows best what is wrong: a flaky case's first failure, a failed case's last.
fn telling_failure(record: &CaseRecord) -> Option<&AttemptRecord> {
    match record.status {
        CaseStatus::Flaky { .. } => record.attempts.iter().find(|attempt| !attempt.outcome.passes()),
        CaseStatus::Quarantined(_) => record.attempts.last(),
        _ if record.status.fails() => record.attempts.last(),
        _ => None,
    }
}

fn write_counts(sink: &mut Vec<u8>, paint: &Paint, summary: &RunSummary) -> io::Result<()> {
    let tally = &summary.tally;
    let tone = tone(summary.verdict);
    let what = format!("{}; {} skipped", counts(tally), summary.skipped);
    writeln!(
        sink,
        "{}",
        status_line(paint, "Summary", tone, summary.took, &what)
    )?;
    let floor = &summary.floor;
    if floor.time.is_zero() {
        return Ok(());
    }
    let slots = counted(floor.slots as usize, "slot");
    let what = format!("on {slots}, packing {:.0} %", floor.packing * 100.0);
    writeln!(
        sink,
        "{}",
        status_line(paint, "Floor", Tone::Plain, floor.time, &what)
    )
}

fn write_verdict(sink: &mut Vec<u8>, paint: &Paint, summary: &RunSummary) -> io::Result<()> {
    let tally = &summary.tally;
    let missing = tally.planned.saturating_sub(tally.reported());
    let mut clauses = Vec::new();
    if tally.failed > 0 {
        clauses.push(format!(
            "{} of {} failed",
            tally.failed,
            counted(tally.planned as usize, "case")
        ));
    }
    if missing > 0 {
        let reason = reason_clause(summary.reason);
        let all = counted(tally.planned as usize, "case");
        clauses.push(format!("{missing} of {all} not run, because {reason}"));
    }
    if !summary.message.is_empty() {
        clauses.push(one_line(&summary.message).into_owned());
    }
    let head = paint.head("Verdict", tone(summary.verdict));
    match clauses.is_empty() {
        true => writeln!(sink, "{head} {}", summary.verdict),
        false => writeln!(sink, "{head} {}: {}", summary.verdict, clauses.join("; ")),
    }
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Flaky | Verdict::Incomplete => Tone::Warn,
        Verdict::Fail => Tone::Bad,
    }
}
