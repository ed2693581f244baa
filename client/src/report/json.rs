//! `--message-format json`: one JSON object per line.
//!
//! Durations are in seconds, points in time in seconds since the Unix epoch. Bytes that are not UTF-8 are
//! replaced. Fields that do not apply are left out.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use thresh_core::id::CaseIndex;
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::time::Timestamp;

use super::event::{AttemptRecord, Captured, CaseLabel, ReportEvent, Roster, ScriptRecord};
use super::reporter::Reporter;
use super::summary::{RunSummary, reason_word};
use crate::nextest::OutputDisplay;

/// Writes one JSON object per event.
#[derive(Debug)]
pub struct JsonReporter<W> {
    sink: W,
    roster: Arc<Roster>,
    line: Vec<u8>,
}

impl<W: Write + Send> JsonReporter<W> {
    /// Writes to `sink`. Attempts that pass bring their output only where the settings have it shown.
    pub fn new(sink: W) -> Self {
        Self {
            sink,
            roster: Arc::default(),
            line: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    at: f64,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    RunStarted {
        run_id: String,
        project: &'a str,
        profile: &'a str,
        thresh: &'static str,
        cases: usize,
    },
    Planned {
        cases: u32,
        reused: u32,
        audited: u32,
        slots: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        workers: Option<u32>,
        total_seconds: f64,
        longest_seconds: f64,
        floor_seconds: f64,
        known: u32,
    },
    Script {
        id: &'a str,
        worker: &'a str,
        #[serde(flatten)]
        outcome: OutcomeBody<'a>,
        seconds: f64,
        stdout: String,
        stderr: String,
    },
    Started {
        #[serde(flatten)]
        case: CaseBody<'a>,
        attempt: u32,
        worker: &'a str,
    },
    Slow {
        #[serde(flatten)]
        case: CaseBody<'a>,
        attempt: u32,
        seconds: f64,
        will_terminate: bool,
    },
    Attempt {
        #[serde(flatten)]
        case: CaseBody<'a>,
        attempt: u32,
        attempts_max: u32,
        worker: &'a str,
        #[serde(flatten)]
        outcome: OutcomeBody<'a>,
        seconds: f64,
        last: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        stdout: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stderr: Option<String>,
    },
    CaseEnded {
        #[serde(flatten)]
        case: CaseBody<'a>,
        status: &'static str,
        passes: bool,
        attempts: usize,
        seconds: f64,
    },
    Audited {
        #[serde(flatten)]
        case: CaseBody<'a>,
        finding: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        past_run: Option<String>,
    },
    Worker {
        worker: &'a str,
        kind: &'static str,
        message: &'a str,
        requeued: u32,
    },
    InputsRemapped {
        worker: &'a str,
        message: &'a str,
    },
    IsolationReduced {
        worker: &'a str,
        message: &'a str,
    },
    RunEnded {
        run_id: String,
        verdict: String,
        reason: &'static str,
        exit_code: i32,
        planned: u32,
        reported: u32,
        passed: u32,
        flaky: u32,
        failed: u32,
        reused: u32,
        quarantined: u32,
        not_run: u32,
        skipped: usize,
        seconds: f64,
        floor_seconds: f64,
        packing: f64,
        slots: u32,
    },
}

#[derive(Serialize)]
struct CaseBody<'a> {
    binary_id: &'a str,
    name: &'a str,
}

impl<'a> CaseBody<'a> {
    fn of(label: &'a CaseLabel) -> Self {
        Self {
            binary_id: &label.binary_id,
            name: &label.name,
        }
    }
}

#[derive(Serialize)]
struct OutcomeBody<'a> {
    outcome: &'static str,
    passes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exec_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaked: Option<bool>,
}

impl<'a> OutcomeBody<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let (mut exit_code, mut signal, mut exec_error, mut leaks) = (None, None, None, None);
        match outcome {
            Outcome::Failed { cause, leaked } => {
                match cause {
                    FailureCause::ExitCode(code) => exit_code = Some(*code),
                    FailureCause::Exec(why) => exec_error = Some(why.as_str()),
                }
                leaks = Some(*leaked);
            }
            Outcome::Crashed {
                signal: number,
                leaked,
            } => {
                signal = Some(*number);
                leaks = Some(*leaked);
            }
            Outcome::Passed | Outcome::Leaked { .. } | Outcome::TimedOut { .. } => {}
            Outcome::TookWorker | Outcome::Lost | Outcome::Cancelled => {}
        }
        Self {
            outcome: outcome.word(),
            passes: outcome.passes(),
            exit_code,
            signal,
            exec_error,
            leaked: leaks,
        }
    }
}

impl<W: Write + Send> Reporter for JsonReporter<W> {
    fn name(&self) -> &str {
        "JSON report"
    }

    fn event(&mut self, at: Timestamp, event: &ReportEvent<'_>) -> io::Result<()> {
        if let ReportEvent::RunStarted(start) = event {
            self.roster = Arc::clone(&start.roster);
        }
        let roster = Arc::clone(&self.roster);
        let Some((name, body)) = body(&roster, event) else {
            return Ok(());
        };
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        serde_json::to_writer(
            &mut line,
            &Line {
                event: name,
                at: at.as_micros() as f64 / 1e6,
                body,
            },
        )?;
        line.push(b'\n');
        let written = self.sink.write_all(&line).and_then(|()| self.sink.flush());
        self.line = line;
        written
    }
}

fn body<'a>(roster: &'a Roster, event: &ReportEvent<'a>) -> Option<(&'static str, Body<'a>)> {
    let case = |index: CaseIndex| CaseBody::of(roster.label(index));
    Some(match event {
        ReportEvent::RunStarted(start) => {
            let body = Body::RunStarted {
                run_id: start.run_id.to_string(),
                project: &start.project,
                profile: &start.profile,
                thresh: env!("CARGO_PKG_VERSION"),
                cases: start.roster.cases.len(),
            };
            ("run-started", body)
        }
        ReportEvent::Planned(plan) => {
            let body = Body::Planned {
                cases: plan.cases,
                reused: plan.reused,
                audited: plan.audited,
                slots: plan.slots,
                workers: plan.workers,
                total_seconds: seconds(plan.total),
                longest_seconds: seconds(plan.longest),
                floor_seconds: seconds(plan.floor()),
                known: plan.known,
            };
            ("planned", body)
        }
        ReportEvent::SetupScriptEnded(script) => ("setup-script-ended", script_body(script)),
        &ReportEvent::CaseStarted {
            case: index,
            attempt,
            worker,
        } => (
            "case-started",
            Body::Started {
                case: case(index),
                attempt,
                worker,
            },
        ),
        &ReportEvent::CaseSlow {
            case: index,
            attempt,
            elapsed,
            will_terminate,
        } => {
            let body = Body::Slow {
                case: case(index),
                attempt,
                seconds: seconds(elapsed),
                will_terminate,
            };
            ("case-slow", body)
        }
        ReportEvent::AttemptEnded { case: index, attempt } => {
            ("attempt-ended", attempt_body(roster.label(*index), attempt))
        }
        ReportEvent::CaseEnded { case: index, record } => {
            let body = Body::CaseEnded {
                case: case(*index),
                status: record.status_word(),
                passes: record.status.passes(),
                attempts: record.attempts.len(),
                seconds: seconds(record.took()),
            };
            ("case-ended", body)
        }
        &ReportEvent::CaseAudited {
            case: index,
            finding,
            past_run,
        } => {
            let body = Body::Audited {
                case: case(index),
                finding: finding.word(),
                past_run: past_run.map(|run| run.to_string()),
            };
            ("case-audited", body)
        }
        ReportEvent::Worker(change) => {
            let body = Body::Worker {
                worker: &change.worker,
                kind: change.kind.word(),
                message: &change.message,
                requeued: change.requeued,
            };
            ("worker", body)
        }
        ReportEvent::InputsRemapped(remapped) => {
            let body = Body::InputsRemapped {
                worker: &remapped.worker,
                message: &remapped.cause,
            };
            ("inputs-remapped", body)
        }
        ReportEvent::IsolationReduced { worker, message } => {
            ("isolation-reduced", Body::IsolationReduced { worker, message })
        }
        ReportEvent::Note(_) => return None,
        ReportEvent::RunEnded(summary) => ("run-ended", summary_body(summary)),
    })
}

fn attempt_body<'a>(label: &'a CaseLabel, attempt: &'a AttemptRecord) -> Body<'a> {
    let with_output = label.report.success_output != OutputDisplay::Never || !attempt.outcome.passes();
    let text = |captured: &Captured| with_output.then(|| captured.text());
    Body::Attempt {
        case: CaseBody::of(label),
        attempt: attempt.number,
        attempts_max: attempt.number_max,
        worker: &attempt.worker,
        outcome: OutcomeBody::of(&attempt.outcome),
        seconds: seconds(attempt.took),
        last: attempt.last,
        stdout: text(&attempt.stdout),
        stderr: text(&attempt.stderr),
    }
}

fn script_body(script: &ScriptRecord) -> Body<'_> {
    Body::Script {
        id: &script.id,
        worker: &script.worker,
        outcome: OutcomeBody::of(&script.outcome),
        seconds: seconds(script.took),
        stdout: script.stdout.text(),
        stderr: script.stderr.text(),
    }
}

fn summary_body(summary: &RunSummary) -> Body<'_> {
    let tally = &summary.tally;
    Body::RunEnded {
        run_id: summary.run_id.to_string(),
        verdict: summary.verdict.to_string(),
        reason: reason_word(summary.reason),
        exit_code: summary.exit_code(),
        planned: tally.planned,
        reported: tally.reported(),
        passed: tally.passed,
        flaky: tally.flaky,
        failed: tally.failed,
        reused: tally.reused,
        quarantined: tally.quarantined,
        not_run: tally.not_run,
        skipped: summary.skipped,
        seconds: seconds(summary.took),
        floor_seconds: seconds(summary.floor.time),
        packing: summary.floor.packing,
        slots: summary.floor.slots,
    }
}

fn seconds(duration: Duration) -> f64 {
    // Whole microseconds, so that 0.1 s does not become 0.10000000000000001.
    duration.as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn lines_of_a_small_run() {
        let mut out = Vec::new();
        let mut reporter = JsonReporter::new(&mut out);
        sample::play(&mut reporter);
        let text = String::from_utf8(out).unwrap();
        let expected = include_str!("golden/small_run.jsonl");
        assert_eq!(text, expected);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["event"].is_string() && value["at"].is_f64());
        }
    }
}
