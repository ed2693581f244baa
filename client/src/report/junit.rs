//! `--junit`: the structure that nextest writes, one test suite per binary id.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset, TimeDelta};
use quick_junit::{
    FlakyOrRerun, NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite, XmlString,
};
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::time::Timestamp;
use thresh_core::verdict::CaseStatus;

use super::event::{AttemptRecord, CaseLabel, CaseRecord, ReportEvent, ScriptLabel, ScriptRecord};
use super::failure::{describe, failure_kind};
use super::reporter::Reporter;
use super::summary::RunSummary;
use crate::nextest::{FlakyFailStatus, ReportSettings};

/// Writes a JUnit report when the run has ended.
#[derive(Debug)]
pub struct JunitReporter<W> {
    sink: W,
    report_name: String,
    started: Option<Timestamp>,
}

impl<W: Write + Send> JunitReporter<W> {
    /// Writes to `sink` under nextest's `report-name`.
    pub fn new(sink: W, report_name: String) -> Self {
        Self {
            sink,
            report_name,
            started: None,
        }
    }
}

impl<W: Write + Send> Reporter for JunitReporter<W> {
    fn name(&self) -> &str {
        "JUnit report"
    }

    fn event(&mut self, at: Timestamp, event: &ReportEvent<'_>) -> io::Result<()> {
        match event {
            ReportEvent::RunStarted(_) => self.started = Some(at),
            ReportEvent::RunEnded(summary) => {
                let started = self.started.unwrap_or(at);
                let report = report(summary, &self.report_name, started, at.since(started));
                let text = report.to_string().map_err(io::Error::other)?;
                self.sink.write_all(well_formed(&text).as_bytes())?;
                self.sink.flush()?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn report(summary: &RunSummary, name: &str, started: Timestamp, elapsed: Duration) -> Report {
    let mut report = Report::new(name);
    report
        .set_uuid(uuid::Uuid::from_u128(summary.run_id.as_u128()))
        .set_timestamp(date_time(started))
        .set_time(elapsed);
    for script in &summary.scripts {
        report.add_test_suite(script_suite(script, &summary.roster.scripts));
    }
    let mut suites = Suites::default();
    for (index, record) in summary.indexed() {
        let label = summary.roster.label(index);
        suites
            .of(&label.binary_id)
            .add_test_case(test_case(label, record));
    }
    for (label, reason) in &summary.roster.skipped {
        suites
            .of(&label.binary_id)
            .add_test_case(skipped_case(label, reason));
    }
    report.add_test_suites(suites.0.into_iter().map(|(_, suite)| suite));
    report
}

/// The test suites by binary id, in the order of their first case.
#[derive(Default)]
struct Suites<'a>(Vec<(&'a str, TestSuite)>);

impl<'a> Suites<'a> {
    fn of(&mut self, id: &'a str) -> &mut TestSuite {
        // Cases of one binary mostly follow one another.
        let at = self
            .0
            .iter()
            .rposition(|(known, _)| *known == id)
            .unwrap_or_else(|| {
                self.0.push((id, TestSuite::new(id)));
                self.0.len() - 1
            });
        &mut self.0[at].1
    }
}

fn skipped_case(label: &CaseLabel, reason: &str) -> TestCase {
    let mut status = TestCaseStatus::skipped();
    status.set_message(format!("Skipped: test {reason}"));
    let mut case = TestCase::new(label.name.as_str(), status);
    case.set_classname(&*label.binary_id).set_time(Duration::ZERO);
    case
}

fn test_case(label: &CaseLabel, record: &CaseRecord) -> TestCase {
    let settings = &label.report;
    let (status, shown) = status(record, settings);
    let mut case = TestCase::new(label.name.as_str(), status);
    case.set_classname(&*label.binary_id).set_time(Duration::ZERO);
    if record.status == CaseStatus::Reused {
        case.add_property(("thresh.reused", "true"));
    }
    let Some(attempt) = shown else { return case };
    case.set_timestamp(date_time(attempt.started))
        .set_time(attempt.took);
    if !attempt.outcome.passes() {
        let (message, description) = messages(attempt);
        if let Some(message) = message {
            case.status.set_message(message);
        }
        if let Some(description) = description {
            case.status.set_description(description);
        }
    }
    let passes = attempt.outcome.passes();
    if (passes && settings.junit_store_success_output) || (!passes && settings.junit_store_failure_output) {
        let (out, err) = output(attempt);
        case.set_system_out(out).set_system_err(err);
    }
    case
}

/// The status of a case with its reruns, and the attempt that stands for the case: the last if it passed, else
/// the first.
fn status<'a>(
    record: &'a CaseRecord,
    settings: &ReportSettings,
) -> (TestCaseStatus, Option<&'a AttemptRecord>) {
    let attempts = &record.attempts;
    match &record.status {
        CaseStatus::Passed | CaseStatus::Reused => (TestCaseStatus::success(), attempts.last()),
        CaseStatus::Flaky { passes } => {
            let Some((last, earlier)) = attempts.split_last() else {
                return (TestCaseStatus::success(), None);
            };
            let mut status = if *passes || settings.junit_flaky_fail_status == FlakyFailStatus::Success {
                TestCaseStatus::success()
            } else {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status
                    .set_type("flaky failure")
                    .set_rerun_kind(FlakyOrRerun::Flaky)
                    .set_message(format!(
                        "test passed on attempt {}/{} but is configured to fail when flaky",
                        last.number, last.number_max
                    ));
                status
            };
            status.add_reruns(earlier.iter().map(|attempt| rerun(attempt, settings)));
            (status, Some(last))
        }
        CaseStatus::Ended(outcome) if outcome.passes() => (TestCaseStatus::success(), attempts.last()),
        CaseStatus::Ended(outcome) if outcome.is_about_the_case() => {
            let Some((first, later)) = attempts.split_first() else {
                return (non_success(outcome), None);
            };
            let mut status = non_success(&first.outcome);
            status.add_reruns(later.iter().map(|attempt| rerun(attempt, settings)));
            (status, Some(first))
        }
        CaseStatus::Quarantined(outcome) => {
            let mut status = TestCaseStatus::skipped();
            status.set_type("quarantined");
            status.set_message(format!("it is quarantined, and {outcome}"));
            (status, attempts.last())
        }
        CaseStatus::Ended(_) | CaseStatus::NotRun => {
            let mut status = TestCaseStatus::skipped();
            status.set_message("not run: the run ended before");
            (status, None)
        }
    }
}

fn non_success(outcome: &Outcome) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind(outcome));
    status.set_type(failure_kind(outcome));
    status
}

fn kind(outcome: &Outcome) -> NonSuccessKind {
    match outcome {
        Outcome::Failed {
            cause: FailureCause::Exec(_),
            ..
        }
        | Outcome::Leaked { .. } => NonSuccessKind::Error,
        Outcome::Lost | Outcome::Cancelled => NonSuccessKind::Error,
        _ => NonSuccessKind::Failure,
    }
}

fn rerun(attempt: &AttemptRecord, settings: &ReportSettings) -> TestRerun {
    let mut rerun = TestRerun::new(kind(&attempt.outcome));
    rerun
        .set_timestamp(date_time(attempt.started))
        .set_time(attempt.took)
        .set_type(failure_kind(&attempt.outcome));
    let (message, description) = messages(attempt);
    if let Some(message) = message {
        rerun.set_message(message);
    }
    if let Some(description) = description {
        rerun.set_description(description);
    }
    if settings.junit_store_failure_output {
        let (out, err) = output(attempt);
        rerun.set_system_out(out).set_system_err(err);
    }
    rerun
}

fn messages(attempt: &AttemptRecord) -> (Option<XmlString>, Option<XmlString>) {
    let description = describe(attempt);
    let message = description
        .as_deref()
        .and_then(|text| text.lines().next())
        .map(XmlString::new);
    (message, description.map(XmlString::new))
}

fn output(attempt: &AttemptRecord) -> (XmlString, XmlString) {
    if let Outcome::Failed {
        cause: FailureCause::Exec(_),
        ..
    } = attempt.outcome
    {
        let none = "(process failed to start)";
        return (none.into(), none.into());
    }
    (attempt.stdout.text().into(), attempt.stderr.text().into())
}

fn script_suite(script: &ScriptRecord, labels: &[ScriptLabel]) -> TestSuite {
    let label = labels.iter().find(|label| label.id == script.id);
    let name = format!("@setup-script:{}", script.id);
    let passes = script.outcome.passes();
    let status = if passes {
        TestCaseStatus::success()
    } else {
        non_success(&script.outcome)
    };
    let mut case = TestCase::new(script.id.as_str(), status);
    case.set_classname(name.as_str()).set_time(script.took);
    let stores = |label: &ScriptLabel| {
        if passes {
            label.store_success_output
        } else {
            label.store_failure_output
        }
    };
    if label.map_or(!passes, stores) {
        case.set_system_out(script.stdout.text())
            .set_system_err(script.stderr.text());
    }
    let mut suite = TestSuite::new(name);
    suite.add_test_case(case);
    if let Some((program, arguments)) = label.and_then(|label| label.argv.split_first()) {
        suite.add_property(("command", program.as_str()));
        suite.add_property(("args".to_owned(), shell_words::join(arguments)));
    }
    suite
}

/// Replaces the two characters that XML has no way to write, not even escaped, and that the library lets pass.
fn well_formed(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn date_time(at: Timestamp) -> DateTime<FixedOffset> {
    let micros = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
    let epoch = DateTime::<chrono::Utc>::from(UNIX_EPOCH);
    epoch
        .checked_add_signed(TimeDelta::microseconds(micros))
        .unwrap_or(epoch)
        .fixed_offset()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn written(settings: ReportSettings) -> String {
        let mut out = Vec::new();
        sample::play_with(
            settings,
            &mut JunitReporter::new(&mut out, "nextest-run".to_owned()),
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_report_reads_back_as_what_nextest_writes() {
        let text = written(sample::SETTINGS);
        let report = Report::deserialize_from_str(&text).unwrap();
        assert_eq!(
            report.name.as_ref().map(|name| name.as_str()),
            Some("nextest-run")
        );
        let suites: Vec<&str> = report
            .test_suites
            .iter()
            .map(|suite| suite.name.as_str())
            .collect();
        assert_eq!(suites, ["@setup-script:db", "alpha", "alpha::it"]);
        let cases = &report.test_suites[1].test_cases;
        assert_eq!(cases.len(), 3);
        assert!(matches!(&cases[0].status, TestCaseStatus::Success { flaky_runs } if flaky_runs.is_empty()));
        assert!(matches!(&cases[1].status, TestCaseStatus::Success { flaky_runs } if flaky_runs.len() == 1));
        let TestCaseStatus::NonSuccess {
            kind,
            ty,
            reruns,
            message,
            ..
        } = &cases[2].status
        else {
            panic!("the third case fails: {:?}", cases[2].status)
        };
        assert_eq!(*kind, NonSuccessKind::Failure);
        assert_eq!(
            ty.as_ref().map(|ty| ty.as_str()),
            Some("test failure with exit code 101")
        );
        assert_eq!(
            message.as_ref().map(|text| text.as_str()),
            Some("panicked at src/lib.rs:7:9:")
        );
        assert!(reruns.runs.is_empty());
        let others = &report.test_suites[2].test_cases;
        assert_eq!(others[0].properties.len(), 1);
        assert!(matches!(others[1].status, TestCaseStatus::Skipped { .. }));
        assert!(matches!(others[2].status, TestCaseStatus::Skipped { .. }));
        assert_eq!(others[2].name.as_str(), "ignored");
        let script = &report.test_suites[0];
        assert_eq!(
            script.test_cases[0].system_err.as_ref().map(|text| text.as_str()),
            Some("ready")
        );
        assert_eq!(script.properties[1].value.as_str(), "'--port 1'");
    }

    #[test]
    fn control_bytes_and_invalid_utf8_leave_the_xml_well_formed() {
        let text = written(ReportSettings {
            junit_store_success_output: true,
            ..sample::SETTINGS
        });
        assert!(
            text.chars()
                .all(|c| !c.is_control() || c == '\n' || c == '\t' || c == '\r'),
            "{text:?}"
        );
        assert!(text.contains("]]&gt;") && text.contains('\u{fffd}'));
        Report::deserialize_from_str(&text).unwrap();
    }

    #[test]
    fn characters_that_are_not_xml_are_replaced() {
        assert_eq!(well_formed("a\u{fffe}b\u{ffff}<"), "a\u{fffd}b\u{fffd}<");
    }
}
