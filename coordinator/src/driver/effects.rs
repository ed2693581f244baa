//! Carrying out what the scheduler wants done.

use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::{CaseIndex, Generation, LeaseId, RunId, WorkerId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::{CaseGrant, Effect, StopReason};
use thresh_core::time::Timestamp;
use thresh_core::verdict::CaseStatus;
use thresh_proto::convert::{duration_to_wire, outcome_to_wire, run_id_to_wire, stop_reason_to_wire};
use thresh_proto::v1;
use thresh_proto::v1::coordinator_message::Message;
use thresh_proto::v1::run_event::Event as News;

use super::command::Measured;
use super::link::Link;
use super::outlet::Departure;
use super::run_state::{Grant, RunState};
use super::task::Driver;
use crate::recorder::End;
use crate::store::{AttemptRecord, JournalEntry, RunRecord};

/// An accepted attempt, as the scheduler tells of it.
struct Accepted {
    case: CaseIndex,
    attempt: u32,
    worker: WorkerId,
    outcome: Outcome,
    took: Duration,
    retry_in: Option<Duration>,
}

/// What is recorded of an attempt.
struct Ended {
    attempt: u32,
    outcome: Outcome,
    started: Timestamp,
    took: Duration,
}

impl Driver {
    pub(super) fn effect(&mut self, now: Timestamp, effect: Effect) {
        match effect {
            Effect::Grant {
                worker,
                lease,
                run,
                cases,
            } => self.grant(now, worker, lease, run, &cases),
            Effect::Revoke {
                worker,
                run,
                cases,
                kill_running,
            } => self.revoke(worker, run, &cases, kill_running),
            Effect::AttemptAccepted {
                run,
                case,
                attempt,
                worker,
                outcome,
                took,
                retry_in,
            } => {
                self.accepted(
                    now,
                    run,
                    Accepted {
                        case,
                        attempt,
                        worker,
                        outcome,
                        took,
                        retry_in,
                    },
                );
            }
            Effect::CopyCancelled {
                run,
                case,
                attempt,
                worker,
                ..
            } => self.copy_cancelled(now, run, case, attempt, worker),
            Effect::CaseSettled { run, case, status } => self.settled(now, run, case, &status),
            Effect::RunStopping { run, reason } => {
                if let Some(run) = self.runs.get_mut(&run) {
                    let reason = stop_reason_to_wire(reason).into();
                    run.publish(now, News::Stopping(v1::RunStopping { reason }));
                }
            }
            Effect::RunEnded {
                run,
                reason,
                took,
                slots,
                workers,
            } => {
                self.forget(run, &workers);
                self.ended(now, run, reason, took, slots);
            }
            Effect::WorkerLost {
                worker,
                cause,
                requeued,
            } => self.unlink(now, worker, cause, &requeued),
        }
    }

    fn grant(&mut self, now: Timestamp, worker: WorkerId, lease: LeaseId, id: RunId, cases: &[CaseGrant]) {
        let is_new = self.links.get_mut(&worker).is_some_and(|link| link.brief(id));
        // Asked once for each worker and run, since it looks at all workers.
        let threads = if is_new { self.test_threads(id) } else { 0 };
        let (Some(link), Some(run)) = (self.links.get(&worker), self.runs.get_mut(&id)) else {
            return;
        };
        if is_new {
            self.departures.push(link.message(Message::Run(v1::RunBrief {
                header: Some(run.submission.header.clone()),
                test_threads: threads,
            })));
            if let Some(cause) = link.remap_cause() {
                let (worker, cause) = (link.name().to_string(), cause.to_owned());
                run.publish(now, News::InputsRemapped(v1::InputsRemapped { worker, cause }));
            }
            if !link.shortfalls().is_empty() {
                let (worker, shortfalls) = (link.name().to_string(), link.shortfalls().to_vec());
                let reduced = v1::IsolationReduced { worker, shortfalls };
                run.publish(now, News::IsolationReduced(reduced));
            }
        }
        for grant in cases {
            let CaseGrant {
                case,
                generation,
                attempt,
                reason,
                ..
            } = *grant;
            run.granted(
                case,
                Grant {
                    worker,
                    generation,
                    attempt,
                    lease,
                    reason,
                    at: now,
                    started: None,
                },
            );
        }
        self.departures.push(link.message(Message::Lease(v1::Lease {
            lease_id: lease.0,
            run_id: run_id_to_wire(id),
            cases: cases.iter().filter_map(|grant| leased_case(run, grant)).collect(),
        })));
    }

    /// The slots of all workers that can take a run's cases now.
    fn test_threads(&self, run: RunId) -> u32 {
        let Some(run) = self.runs.get(&run) else { return 0 };
        let request = &run.submission.request;
        self.capacity(Some((request.platform.clone(), request.in_place)))
            .slots
    }

    fn revoke(
        &mut self,
        worker: WorkerId,
        run: RunId,
        cases: &[(CaseIndex, Generation)],
        kill_running: bool,
    ) {
        if let Some(link) = self.links.get(&worker) {
            let run_id = run_id_to_wire(run);
            let cases = cases.iter().map(|(case, generation)| v1::CaseGrant {
                case: case.0,
                generation: generation.0,
            });
            self.departures.push(link.message(Message::Revoke(v1::Revoke {
                run_id,
                cases: cases.collect(),
                kill_running,
            })));
        }
    }

    fn accepted(&mut self, now: Timestamp, id: RunId, accepted: Accepted) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let grant = run.grant_of(accepted.worker, accepted.case).copied();
        let measured = self
            .measured
            .take()
            .unwrap_or_else(|| unmeasured(grant.as_ref(), now));
        let worker = self
            .links
            .get(&accepted.worker)
            .map_or_else(|| "".into(), |link| link.name().clone());
        let Accepted {
            case,
            attempt,
            outcome,
            took,
            retry_in,
            ..
        } = accepted;
        run.note_output(case, &outcome, measured.output.as_ref());
        let event = v1::AttemptEnded {
            case: case.0,
            attempt,
            attempts_max: run.attempts_max(case).max(attempt),
            worker: worker.to_string(),
            outcome: Some(outcome_to_wire(&outcome)),
            started_micros: measured.started.as_micros(),
            took: Some(duration_to_wire(took)),
            output: measured.output,
            last: retry_in.is_none(),
            retry_in: retry_in.map(duration_to_wire),
            lease: grant.map_or(0, |grant| grant.lease.0),
            why: grant.map_or("", |grant| grant.reason.word()).to_owned(),
            granted_micros: grant.map_or(0, |grant| grant.at.as_micros()),
            outputs: measured.outputs,
            observed: measured.observed.filter(|_| run.submission.header.observe),
        };
        run.publish(now, News::Attempt(event));
        let ended = Ended {
            attempt,
            outcome,
            started: measured.started,
            took,
        };
        self.record(now, id, case, accepted.worker, worker, ended);
    }

    /// Keeps the trace of a copy of a case that was not needed any more.
    fn copy_cancelled(&mut self, now: Timestamp, id: RunId, case: CaseIndex, attempt: u32, worker: WorkerId) {
        let Some(name) = self.links.get(&worker).map(|link| link.name().clone()) else {
            return;
        };
        let grant = self.runs.get(&id).and_then(|run| run.grant_of(worker, case));
        let Measured { started, took, .. } = unmeasured(grant, now);
        let ended = Ended {
            attempt,
            outcome: Outcome::Cancelled,
            started,
            took,
        };
        self.record(now, id, case, worker, name, ended);
    }

    fn record(
        &mut self,
        now: Timestamp,
        id: RunId,
        case: CaseIndex,
        worker: WorkerId,
        name: Arc<str>,
        ended: Ended,
    ) {
        let Some(run) = self.runs.get(&id) else { return };
        let Some(case_id) = run.submission.case_id(case.at()) else {
            return;
        };
        let grant = run.grant_of(worker, case);
        let record = AttemptRecord {
            project: run.submission.project.clone(),
            case: case_id,
            run: id,
            attempt: ended.attempt,
            worker: name,
            outcome: ended.outcome,
            // By the worker's clock, which may be wrong; history is kept and removed by this time.
            started: ended.started.clamp(run.submitted, now),
            took: ended.took,
            granted: grant.map(|grant| grant.at),
            why: grant.map_or("", |grant| grant.reason.word()),
            lease: grant.map(|grant| grant.lease),
        };
        self.departures.push(Departure::Attempt(Box::new(record)));
    }

    fn settled(&mut self, now: Timestamp, id: RunId, case: CaseIndex, status: &CaseStatus) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.tally.count(status);
        run.settled(case);
        if let Some(finding) = run.finding(now, case, status) {
            if run.submission.is_in_place() {
                run.findings.push(finding);
            } else {
                self.departures.push(Departure::Audit(Box::new(finding)));
            }
        }
        if !status.is_clean_pass() {
            return;
        }
        let Some(pass) = run.submission.pass(case.at(), now) else {
            return;
        };
        if run.submission.is_in_place() || run.submission.header.observe {
            run.passes.push((case, pass.clone()));
        }
        if !run.submission.is_in_place() {
            let coarse = run.submission.coarse_pass(case.at(), now);
            for pass in coarse.into_iter().chain([pass]) {
                self.departures.push(Departure::Pass(Box::new(pass)));
            }
        }
    }

    fn forget(&mut self, run: RunId, workers: &[WorkerId]) {
        for worker in workers {
            if let Some(link) = self.links.get_mut(worker)
                && link.forget(run)
            {
                self.departures.push(link.message(Message::Forget(v1::Forget {
                    run_id: run_id_to_wire(run),
                })));
            }
        }
    }

    /// Has the end recorded, and then published.
    fn ended(&mut self, now: Timestamp, id: RunId, reason: StopReason, took: Duration, slots: u32) {
        let connected: Vec<String> = self.links.values().map(Link::describe).collect();
        let Some(run) = self.runs.get_mut(&id) else { return };
        let ended = v1::RunEnded {
            reason: stop_reason_to_wire(reason).into(),
            message: end_message(run, reason, &connected),
            took: Some(duration_to_wire(took)),
            slots,
        };
        self.departures.extend(run.deliver());
        run.journal_end(now, ended.clone());
        run.ended = Some(now);
        tracing::debug!("run {id} ended: {reason:?}, {:?}", run.tally);
        let record = RunRecord {
            run: id,
            project: run.submission.project.clone(),
            title: run.submission.header.title.clone(),
            started: run.submitted,
            took,
            reason,
            tally: run.tally,
        };
        let end = End {
            record,
            at: now,
            ended,
            log: run.log.clone(),
        };
        if self.outlet.is_journaled() {
            self.closed.push(JournalEntry::Closed { run: id, at: now });
        }
        self.departures.push(Departure::End(Box::new(end)));
    }
}

/// What is known of an attempt whose worker did not tell of its end.
fn unmeasured(grant: Option<&Grant>, now: Timestamp) -> Measured {
    let started = grant.and_then(|grant| grant.started).unwrap_or(now);
    Measured {
        started,
        took: now.since(started),
        output: None,
        outputs: Default::default(),
        observed: None,
    }
}

fn leased_case(run: &RunState, grant: &CaseGrant) -> Option<v1::LeasedCase> {
    let case = run.submission.cases.get(grant.case.at())?;
    Some(v1::LeasedCase {
        case: grant.case.0,
        generation: grant.generation.0,
        attempt: grant.attempt,
        attempts_max: run.attempts_max(grant.case).max(grant.attempt),
        binary: case.binary,
        name: case.name.clone(),
        ignored: case.ignored,
        settings: case.settings,
        command: case.command,
        weight: grant.weight,
        group_slot: grant.group_slot.map_or(0, |slot| slot.saturating_add(1)),
        unobserved: case.unobserved || !run.submission.header.observe,
    })
}

/// Why a run ended, where the reason alone leaves a question.
fn end_message(run: &RunState, reason: StopReason, connected: &[String]) -> String {
    let remark = run.remark.clone();
    match reason {
        StopReason::Complete | StopReason::MaxFail | StopReason::GlobalTimeout => String::new(),
        StopReason::Cancelled if run.watchers == 0 => "no client followed it any more".to_owned(),
        StopReason::Cancelled => String::new(),
        StopReason::SetupScriptFailed => remark.unwrap_or_default(),
        StopReason::Stranded => {
            let kind = if run.submission.is_in_place() {
                " that shares the client's files"
            } else {
                ""
            };
            let connected = if connected.is_empty() {
                "none".to_owned()
            } else {
                connected.join(", ")
            };
            let remark = remark.map_or_else(String::new, |remark| format!("; {remark}"));
            let platform = &run.submission.request.platform;
            format!("it needs a worker for {platform}{kind}; connected: {connected}{remark}")
        }
    }
}
