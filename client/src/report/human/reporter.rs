//! What is written of each event, and when.

use std::io::{self, Write};
use std::sync::Arc;

use thresh_core::id::CaseIndex;
use thresh_core::outcome::Outcome;
use thresh_core::time::Timestamp;
use thresh_core::verdict::CaseStatus;

use super::ending::Ending;
use super::line::{attempt_word, retried_word, status_line, status_word};
use super::output::write_output;
use super::paint::{Paint, Tone};
use super::progress::Progress;
use super::{line, output};
use crate::nextest::{FinalStatusLevel, OutputDisplay, StatusLevel};
use crate::report::event::{
    AttemptRecord, CaseRecord, PlanNews, ReportEvent, Roster, RunStart, ScriptRecord, WorkerChange,
    WorkerChangeKind,
};
use crate::report::reporter::Reporter;
use crate::report::rerun::RerunCommand;
use crate::report::text::{counted, one_line};

/// Bytes of lines that may wait for the next redraw of the progress bar.
const PENDING_BYTES_MAX: usize = 64 << 10;

/// How the report looks.
#[derive(Clone, Debug)]
pub struct HumanOptions {
    /// Which lines are shown while the run goes on.
    pub status_level: StatusLevel,
    /// Which lines are shown again at its end.
    pub final_status_level: FinalStatusLevel,
    /// Failures whose output is shown at once are shown with it at the end, too: with many cases between, the
    /// first showing has scrolled away.
    pub repeat_failures: bool,
    /// Colours, in our lines and in the output of cases; without, every escape sequence is stripped.
    pub colour: bool,
    /// Draw a progress bar on standard error, which must be a terminal.
    pub progress: bool,
    /// Columns of the terminal, for the progress bar; 0: 80.
    pub columns: u16,
    /// How single cases are rerun.
    pub rerun: RerunCommand,
}

impl Default for HumanOptions {
    /// nextest's levels, failures repeated, no colour, no progress bar.
    fn default() -> Self {
        Self {
            status_level: StatusLevel::Pass,
            final_status_level: FinalStatusLevel::Flaky,
            repeat_failures: true,
            colour: false,
            progress: false,
            columns: 80,
            rerun: RerunCommand::default(),
        }
    }
}

/// Writes the report for people.
#[derive(Debug)]
pub struct HumanReporter<W> {
    sink: W,
    status_level: StatusLevel,
    ending: Ending,
    paint: Paint,
    roster: Arc<Roster>,
    progress: Option<Progress>,
    pending: Vec<u8>,
}

impl<W: Write + Send> HumanReporter<W> {
    /// Writes to `sink`.
    pub fn new(sink: W, options: HumanOptions) -> Self {
        let columns = if options.columns == 0 { 80 } else { options.columns };
        Self {
            sink,
            status_level: options.status_level,
            ending: Ending {
                level: options.final_status_level,
                repeat_failures: options.repeat_failures,
                rerun: options.rerun,
            },
            paint: Paint::new(options.colour),
            roster: Arc::default(),
            progress: options.progress.then(|| Progress::new(columns.into())),
            pending: Vec::new(),
        }
    }

    fn shows(&self, level: StatusLevel) -> bool {
        self.status_level >= level
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let sink = &mut self.sink;
        let mut write = || sink.write_all(&pending).and_then(|()| sink.flush());
        match &self.progress {
            Some(progress) => progress.suspend(write),
            None => write(),
        }
    }

    fn run_started(&mut self, start: &RunStart) -> io::Result<()> {
        self.roster = Arc::clone(&start.roster);
        let mut binaries: Vec<&str> = start.roster.cases.iter().map(|case| &*case.binary_id).collect();
        binaries.dedup();
        binaries.sort_unstable();
        binaries.dedup();
        writeln!(self.pending, "{}", line::RULE)?;
        writeln!(
            self.pending,
            "{} {} in {} (profile {}, run {})",
            self.paint.head("Starting", Tone::Good),
            counted(start.roster.cases.len(), "case"),
            if binaries.len() == 1 {
                "1 binary".to_owned()
            } else {
                format!("{} binaries", binaries.len())
            },
            start.profile,
            start.run_id,
        )
    }

    fn planned(&mut self, plan: &PlanNews) -> io::Result<()> {
        let to_run = plan.cases.saturating_sub(plan.reused);
        let head = self.paint.head("Plan", Tone::Good);
        if to_run == 0 {
            return writeln!(self.pending, "{head} nothing to run, {} reused", plan.reused);
        }
        write!(
            self.pending,
            "{head} {to_run} to run{}, {} reused; {}",
            match plan.audited {
                0 => String::new(),
                audited => format!(" ({audited} audited)"),
            },
            plan.reused,
            counted(plan.slots as usize, "slot")
        )?;
        match plan.known {
            0 => writeln!(self.pending, "; no durations known yet"),
            known => {
                let floor = plan.floor().as_secs_f64();
                writeln!(
                    self.pending,
                    "; about {floor:.3} s ({known} of {to_run} durations known)"
                )
            }
        }
    }

    fn script_ended(&mut self, script: &ScriptRecord) -> io::Result<()> {
        let passes = script.outcome.passes();
        let (word, tone) = if passes {
            ("SETUP PASS", Tone::Good)
        } else {
            ("SETUP FAIL", Tone::Bad)
        };
        if self.shows(if passes {
            StatusLevel::Pass
        } else {
            StatusLevel::Fail
        }) {
            let what = format!(
                "setup script {}: {}",
                one_line(&script.id),
                one_line(&script.outcome.to_string())
            );
            writeln!(
                self.pending,
                "{}",
                status_line(&self.paint, word, tone, script.took, &what)
            )?;
        }
        if !passes {
            write_output(&mut self.pending, &self.paint, &script.stdout, &script.stderr)?;
        }
        Ok(())
    }

    fn slow(&mut self, case: CaseIndex, elapsed: std::time::Duration, ends: bool) -> io::Result<()> {
        if !self.shows(StatusLevel::Slow) {
            return Ok(());
        }
        let (word, tone) = if ends {
            ("TERMINATING", Tone::Bad)
        } else {
            ("SLOW", Tone::Warn)
        };
        let name = line::case_name(&self.paint, self.roster.label(case));
        let head = self.paint.head(word, tone);
        writeln!(self.pending, "{head} [>{:>8.3}s] {name}", elapsed.as_secs_f64())
    }

    fn attempt_ended(&mut self, case: CaseIndex, attempt: &AttemptRecord) -> io::Result<()> {
        if attempt.last || attempt.outcome == Outcome::Cancelled {
            return Ok(());
        }
        let label = self.roster.label(case);
        let output = label.report.failure_output;
        if self.shows(StatusLevel::Retry) {
            let name = line::case_name(&self.paint, label);
            let (word, tone) = retried_word(attempt);
            writeln!(
                self.pending,
                "{}",
                status_line(&self.paint, &word, tone, attempt.took, &name)
            )?;
            if is_immediate(output) {
                output::write_attempt(&mut self.pending, &self.paint, attempt)?;
            }
        }
        Ok(())
    }

    fn case_ended(&mut self, case: CaseIndex, record: &CaseRecord) -> io::Result<()> {
        if !self.shows(level_of(record)) {
            return Ok(());
        }
        let label = self.roster.label(case);
        let name = line::case_name(&self.paint, label);
        let (word, tone) = match record.attempts.last() {
            Some(last) if record.attempts.len() > 1 => attempt_word(last),
            _ => status_word(record),
        };
        let took = record
            .attempts
            .last()
            .map_or_else(Default::default, |last| last.took);
        writeln!(
            self.pending,
            "{}",
            status_line(&self.paint, &word, tone, took, &name)
        )?;
        if record.status == (CaseStatus::Flaky { passes: false }) {
            writeln!(self.pending, "               the settings make a flaky case fail")?;
        }
        let when = if record.status.fails() {
            label.report.failure_output
        } else {
            label.report.success_output
        };
        if let (true, Some(last)) = (is_immediate(when), record.attempts.last()) {
            output::write_attempt(&mut self.pending, &self.paint, last)?;
        }
        Ok(())
    }

    fn worker(&mut self, change: &WorkerChange) -> io::Result<()> {
        let matters = change.requeued > 0
            || matches!(change.kind, WorkerChangeKind::Lost | WorkerChangeKind::Cordoned)
            || self.shows(StatusLevel::All);
        if !matters {
            return Ok(());
        }
        let head = self.paint.head("Worker", Tone::Warn);
        write!(
            self.pending,
            "{head} {} {}",
            one_line(&change.worker),
            change.kind.word()
        )?;
        if !change.message.is_empty() {
            write!(self.pending, ": {}", one_line(&change.message))?;
        }
        if change.requeued > 0 {
            write!(
                self.pending,
                "; back in the queue: {}",
                counted(change.requeued as usize, "case")
            )?;
        }
        writeln!(self.pending)
    }

    fn remark(&mut self, word: &str, text: &str) -> io::Result<()> {
        let head = self.paint.head(word, Tone::Warn);
        writeln!(self.pending, "{head} {}", one_line(text))
    }
}

impl<W: Write + Send> Reporter for HumanReporter<W> {
    fn name(&self) -> &str {
        "report"
    }

    fn event(&mut self, at: Timestamp, event: &ReportEvent<'_>) -> io::Result<()> {
        if let Some(progress) = &mut self.progress {
            progress.event(at, event);
        }
        match event {
            ReportEvent::RunStarted(start) => self.run_started(start)?,
            ReportEvent::Planned(plan) => self.planned(plan)?,
            ReportEvent::SetupScriptEnded(script) => self.script_ended(script)?,
            ReportEvent::CaseStarted { .. } | ReportEvent::CaseAudited { .. } => {}
            ReportEvent::CaseSlow {
                case,
                elapsed,
                will_terminate,
                ..
            } => {
                self.slow(*case, *elapsed, *will_terminate)?;
            }
            ReportEvent::AttemptEnded { case, attempt } => self.attempt_ended(*case, attempt)?,
            ReportEvent::CaseEnded { case, record } => self.case_ended(*case, record)?,
            ReportEvent::Worker(change) => self.worker(change)?,
            ReportEvent::InputsRemapped(worker) => self.remark("Warning", &worker.to_string())?,
            ReportEvent::IsolationReduced { worker, message } => {
                self.remark("Warning", &format!("worker {worker}: {message}"))?;
            }
            ReportEvent::Note(note) => self.remark("Note", note)?,
            ReportEvent::RunEnded(summary) => {
                if let Some(progress) = self.progress.take() {
                    progress.clear();
                }
                self.ending.write(&mut self.pending, &self.paint, summary)?;
            }
        }
        if self.progress.is_none() || self.pending.len() > PENDING_BYTES_MAX {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.flush()?;
        if let Some(progress) = &mut self.progress {
            progress.draw(now);
        }
        Ok(())
    }
}

/// The level from which on a case's line is shown.
fn level_of(record: &CaseRecord) -> StatusLevel {
    match &record.status {
        status if status.fails() => StatusLevel::Fail,
        CaseStatus::Flaky { .. } | CaseStatus::Quarantined(_) => StatusLevel::Retry,
        CaseStatus::Ended(Outcome::Leaked { .. }) => StatusLevel::Leak,
        CaseStatus::Ended(Outcome::TimedOut { .. }) => StatusLevel::Slow,
        CaseStatus::Passed => StatusLevel::Pass,
        CaseStatus::Reused | CaseStatus::NotRun | CaseStatus::Ended(_) => StatusLevel::Skip,
    }
}

fn is_immediate(when: OutputDisplay) -> bool {
    matches!(when, OutputDisplay::Immediate | OutputDisplay::ImmediateFinal)
}
