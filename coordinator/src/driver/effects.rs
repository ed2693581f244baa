//! Carrying out what the scheduler wants done.

use std::time::Duration;

use thresh_core::id::{CaseIndex, LeaseId, RunId, WorkerId};
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
use super::run_state::{Grant, RunState};
use super::task::Driver;
use crate::recorder::End;
use crate::store::{AttemptRecord, RunRecord};

/// An accepted attempt, as the scheduler tells of it.
struct Accepted {
    case: CaseIndex,
    attempt: u32,
    worker: WorkerId,
    outcome: Outcome,
    retry_in: Option<Duration>,
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
                kill_running,
            } => self.revoke(worker, run, kill_running),
            Effect::AttemptAccepted {
                run,
                case,
                attempt,
                worker,
                outcome,
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
                        retry_in,
                    },
                );
            }
            Effect::CaseSettled { run, case, status } => self.settled(now, run, case, &status),
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
            Effect::WorkerLost { worker, requeued } => self.unlink(now, worker, &requeued),
        }
    }

    fn grant(&mut self, now: Timestamp, worker: WorkerId, lease: LeaseId, id: RunId, cases: &[CaseGrant]) {
        let threads = self.test_threads(id);
        let (Some(link), Some(run)) = (self.links.get_mut(&worker), self.runs.get_mut(&id)) else {
            return;
        };
        if link.brief(id) {
            link.send(Message::Run(v1::RunBrief {
                header: Some(run.submission.header.clone()),
                test_threads: threads,
            }));
            if let Some(cause) = link.remap_cause() {
                let (worker, cause) = (link.name().to_string(), cause.to_owned());
                run.publish(now, News::InputsRemapped(v1::InputsRemapped { worker, cause }));
            }
        }
        for grant in cases {
            let CaseGrant {
                case,
                generation,
                attempt,
                ..
            } = *grant;
            run.granted(
                case,
                Grant {
                    worker,
                    generation,
                    attempt,
                },
            );
        }
        link.send(Message::Lease(v1::Lease {
            lease_id: lease.0,
            run_id: run_id_to_wire(id),
            cases: cases.iter().filter_map(|grant| leased_case(run, grant)).collect(),
        }));
    }

    /// The slots of all workers that can take a run's cases now.
    fn test_threads(&self, run: RunId) -> u32 {
        let Some(run) = self.runs.get(&run) else { return 0 };
        let request = &run.submission.request;
        self.capacity(Some((request.platform.clone(), request.in_place)))
            .slots
    }

    fn revoke(&self, worker: WorkerId, run: RunId, kill_running: bool) {
        if let Some(link) = self.links.get(&worker) {
            let run_id = run_id_to_wire(run);
            link.send(Message::Revoke(v1::Revoke {
                run_id,
                cases: Vec::new(),
                kill_running,
            }));
        }
    }

    fn accepted(&mut self, now: Timestamp, id: RunId, accepted: Accepted) {
        // Without a measurement the worker is gone, and nobody knows when the attempt began.
        let measured = self.measured.take().unwrap_or(Measured {
            started: now,
            took: Duration::ZERO,
            output: None,
        });
        let Some(run) = self.runs.get_mut(&id) else { return };
        let worker = self
            .links
            .get(&accepted.worker)
            .map_or_else(|| "".into(), |link| link.name().clone());
        let Accepted {
            case,
            attempt,
            outcome,
            retry_in,
            ..
        } = accepted;
        let event = v1::AttemptEnded {
            case: case.0,
            attempt,
            attempts_max: run.attempts_max(case).max(attempt),
            worker: worker.to_string(),
            outcome: Some(outcome_to_wire(&outcome)),
            started_micros: measured.started.as_micros(),
            took: Some(duration_to_wire(measured.took)),
            output: measured.output,
            last: retry_in.is_none(),
            retry_in: retry_in.map(duration_to_wire),
        };
        run.publish(now, News::Attempt(event));
        if let Some(case) = run.submission.case_id(case.at()) {
            self.recorder.attempt(AttemptRecord {
                project: run.submission.project.clone(),
                case,
                run: id,
                attempt,
                worker,
                outcome,
                // By the worker's clock, which may be wrong; history is kept and removed by this time.
                started: measured.started.clamp(run.submitted, now),
                took: measured.took,
            });
        }
    }

    fn settled(&mut self, now: Timestamp, id: RunId, case: CaseIndex, status: &CaseStatus) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.tally.count(status);
        run.settled(case);
        if !status.is_clean_pass() {
            return;
        }
        let Some(pass) = run.submission.pass(case.at(), now) else {
            return;
        };
        if run.submission.is_in_place() {
            run.unconfirmed.push(pass);
        } else {
            self.recorder.pass(pass);
        }
    }

    fn forget(&mut self, run: RunId, workers: &[WorkerId]) {
        for worker in workers {
            if let Some(link) = self.links.get_mut(worker)
                && link.forget(run)
            {
                link.send(Message::Forget(v1::Forget {
                    run_id: run_id_to_wire(run),
                }));
            }
        }
    }

    /// Has the end recorded, and then published.
    fn ended(&mut self, now: Timestamp, id: RunId, reason: StopReason, took: Duration, slots: u32) {
        let connected: Vec<String> = self.links.values().map(Link::describe).collect();
        let Some(run) = self.runs.get_mut(&id) else { return };
        let message = end_message(run, reason, &connected);
        run.deliver();
        run.ended = Some(now);
        tracing::debug!("run {id} ended: {reason:?}, {:?}", run.tally);
        self.recorder.end(End {
            record: RunRecord {
                run: id,
                project: run.submission.project.clone(),
                title: run.submission.header.title.clone(),
                started: run.submitted,
                took,
                reason,
                tally: run.tally,
            },
            at: now,
            ended: v1::RunEnded {
                reason: stop_reason_to_wire(reason).into(),
                message,
                took: Some(duration_to_wire(took)),
                slots,
            },
            log: run.log.clone(),
        });
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
