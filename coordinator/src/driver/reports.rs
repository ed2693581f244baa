//! What workers report about runs.

use std::sync::atomic::Ordering;

use thresh_core::id::{CaseIndex, Generation, RunId, WorkerId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::{Event, Rejected};
use thresh_core::time::Timestamp;
use thresh_proto::convert::duration_to_wire;
use thresh_proto::v1;
use thresh_proto::v1::run_event::Event as News;

use super::command::{Measured, Report, ReportNews};
use super::task::Driver;

impl Driver {
    pub(super) fn report(&mut self, now: Timestamp, worker: WorkerId, report: Report) {
        let run = report.run;
        match report.news {
            ReportNews::Started { case, generation } => self.started(now, worker, run, case, generation),
            ReportNews::Attempt {
                case,
                generation,
                outcome,
                measured,
            } => {
                self.attempt(now, worker, run, (case, generation), outcome, measured);
            }
            ReportNews::SetupScript { ended, outcome } => {
                self.setup_script(now, worker, run, ended, &outcome);
            }
            ReportNews::Returned { cases, message } => self.returned(now, worker, run, cases, &message),
            ReportNews::Slow {
                case,
                generation,
                elapsed,
                will_terminate,
            } => {
                let slow = v1::CaseSlow {
                    case: case.0,
                    attempt: 0,
                    elapsed: Some(duration_to_wire(elapsed)),
                    will_terminate,
                };
                self.slow(now, worker, run, generation, slow);
            }
        }
    }

    fn started(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        run: RunId,
        case: CaseIndex,
        generation: Generation,
    ) {
        let event = Event::CaseStarted {
            worker,
            run,
            case,
            generation,
        };
        if let Err(rejected) = self.apply(now, event) {
            return self.refuse("start", &rejected);
        }
        let name = self.links.get(&worker).map(|link| link.name().to_string());
        if let Some(state) = self.runs.get_mut(&run)
            && let Some(attempt) = state.attempt_of(worker, case, generation)
        {
            let started = v1::CaseStarted {
                case: case.0,
                attempt,
                worker: name.unwrap_or_default(),
            };
            state.started(worker, case, now);
            state.publish(now, News::Started(started));
        }
    }

    /// What was measured waits for the scheduler's word: a stale outcome leaves no trace but a line in the
    /// log.
    fn attempt(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        run: RunId,
        (case, generation): (CaseIndex, Generation),
        outcome: Outcome,
        measured: Measured,
    ) {
        let took = measured.took;
        self.measured = Some(measured);
        let event = Event::AttemptEnded {
            worker,
            run,
            case,
            generation,
            outcome,
            took,
        };
        if let Err(rejected) = self.apply(now, event) {
            self.refuse("outcome", &rejected);
        }
        self.measured = None;
    }

    fn setup_script(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        run: RunId,
        mut ended: v1::SetupScriptEnded,
        outcome: &Outcome,
    ) {
        let (Some(link), Some(state)) = (self.links.get(&worker), self.runs.get_mut(&run)) else {
            return;
        };
        if !link.knows(run) {
            return;
        }
        let failed = outcome.is_about_the_case() && !outcome.passes();
        if failed {
            state.remark = Some(format!(
                "setup script {} failed on {}: {outcome}",
                ended.id,
                link.name()
            ));
        }
        ended.worker = link.name().to_string();
        state.publish(now, News::SetupScript(ended));
        if failed && let Err(rejected) = self.apply(now, Event::SetupScriptFailed(run, worker)) {
            self.refuse("setup script", &rejected);
        }
    }

    fn returned(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        run: RunId,
        cases: Vec<(CaseIndex, Generation)>,
        message: &str,
    ) {
        if !message.is_empty()
            && let (Some(link), Some(state)) = (self.links.get(&worker), self.runs.get_mut(&run))
        {
            tracing::info!(
                "worker {worker} ({}) gave back {} cases: {message}",
                link.name(),
                cases.len()
            );
            state.remark = Some(format!("{} gave cases back: {message}", link.name()));
        }
        for (case, generation) in cases {
            let event = Event::CaseReturned {
                worker,
                run,
                case,
                generation,
            };
            if let Err(rejected) = self.apply(now, event) {
                self.refuse("return", &rejected);
            }
        }
    }

    fn slow(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        run: RunId,
        generation: Generation,
        slow: v1::CaseSlow,
    ) {
        if self.links.contains_key(&worker)
            && let Some(state) = self.runs.get_mut(&run)
            && let Some(attempt) = state.attempt_of(worker, CaseIndex(slow.case), generation)
        {
            state.publish(now, News::Slow(v1::CaseSlow { attempt, ..slow }));
        }
    }

    /// Notes a report that came too late. One about a run that has ended is usual: its last words cross with
    /// the order to forget it.
    fn refuse(&self, what: &str, rejected: &Rejected) {
        if matches!(rejected, Rejected::UnknownRun(_)) {
            tracing::debug!("refused stale {what}: {rejected}");
        } else {
            self.stale_reports.fetch_add(1, Ordering::Relaxed);
            tracing::info!("refused stale {what}: {rejected}");
        }
    }
}
