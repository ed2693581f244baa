//! What each event does.

use std::collections::BTreeMap;
use std::time::Duration;

use super::effect::{Effect, StopReason};
use super::event::{Rejected, RunRequest};
use super::run::{Phase, Run};
use super::scheduler::Scheduler;
use super::worker::Worker;
use crate::case::FlakyResult;
use crate::id::{CaseIndex, Generation, RunId, WorkerId};
use crate::outcome::Outcome;
use crate::verdict::CaseStatus;

impl Scheduler {
    pub(super) fn worker_joined(
        &mut self,
        id: WorkerId,
        slots: u32,
        cpus: u32,
        platform: String,
        in_place: bool,
    ) -> Result<(), Rejected> {
        if self.workers.contains_key(&id) {
            return Err(Rejected::DuplicateWorker(id));
        }
        if slots == 0 || slots > self.policy.slots_max {
            return Err(Rejected::Slots {
                slots,
                max: self.policy.slots_max,
            });
        }
        self.account_slots();
        let worker = Worker {
            slots,
            cpus,
            platform,
            in_place,
            cordoned: None,
            heard_at: self.now,
            held: Default::default(),
            held_weight: 0,
            held_micros: 0,
        };
        self.workers.insert(id, worker);
        self.heard.insert((self.now, id));
        Ok(())
    }

    pub(super) fn heard_of(&mut self, id: WorkerId) -> Result<(), Rejected> {
        let worker = self.workers.get_mut(&id).ok_or(Rejected::UnknownWorker(id))?;
        self.heard.remove(&(worker.heard_at, id));
        worker.heard_at = self.now;
        self.heard.insert((self.now, id));
        Ok(())
    }

    pub(super) fn worker_left(&mut self, id: WorkerId, out: &mut Vec<Effect>) -> Result<(), Rejected> {
        self.workers.get(&id).ok_or(Rejected::UnknownWorker(id))?;
        self.remove_worker(id, out);
        Ok(())
    }

    /// Removes a worker; what it held goes back to the queue.
    pub(super) fn remove_worker(&mut self, id: WorkerId, out: &mut Vec<Effect>) {
        self.account_slots();
        let Some(worker) = self.workers.remove(&id) else {
            return;
        };
        self.heard.remove(&(worker.heard_at, id));
        let mut requeued: BTreeMap<RunId, u32> = BTreeMap::new();
        for (run, case) in worker.held {
            if self.lose(id, run, case, out) {
                *requeued.entry(run).or_default() += 1;
            }
        }
        for run in self.runs.values_mut() {
            run.known_to.remove(&id);
        }
        out.push(Effect::WorkerLost {
            worker: id,
            requeued: requeued.into_iter().collect(),
        });
    }

    /// Handles a held case whose worker went. Returns whether it went back to the queue.
    fn lose(&mut self, worker: WorkerId, id: RunId, case: CaseIndex, out: &mut Vec<Effect>) -> bool {
        let Some(was_running) = self.release(worker, id, case) else {
            return false;
        };
        let losses_max = self.policy.losses_max;
        let Some(run) = self.runs.get_mut(&id) else {
            return false;
        };
        let state = &mut run.cases[case.at()];
        state.losses += u32::from(was_running);
        let (attempt, hopeless, stopping) =
            (state.attempt, state.losses >= losses_max, run.stopping.is_some());
        let requeue = !hopeless && !stopping;
        if was_running {
            out.push(Effect::AttemptAccepted {
                run: id,
                case,
                attempt,
                worker,
                outcome: Outcome::Lost,
                retry_in: requeue.then_some(Duration::ZERO),
            });
        }
        if requeue {
            run.enqueue(case);
        } else {
            let status = if stopping {
                CaseStatus::NotRun
            } else {
                CaseStatus::Ended(Outcome::Lost)
            };
            self.settle(id, case, status, out);
            self.end_if_over(id, out);
        }
        requeue
    }

    pub(super) fn run_submitted(
        &mut self,
        id: RunId,
        request: RunRequest,
        out: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        if self.runs.contains_key(&id) {
            return Err(Rejected::DuplicateRun(id));
        }
        let groups = request.groups.len();
        if request
            .cases
            .iter()
            .any(|case| case.group.is_some_and(|group| group.at() >= groups))
        {
            return Err(Rejected::Malformed(
                id,
                "a case names a test group that the run does not have",
            ));
        }
        if u32::try_from(request.cases.len()).is_err() {
            return Err(Rejected::Malformed(id, "it has more than 4,294,967,295 cases"));
        }
        let mut run = Run::new(request, self.policy.unknown_estimate, self.now);
        let mut reused = Vec::new();
        for case in (0..).map(CaseIndex).take(run.cases.len()) {
            if run.planned(case).reused {
                reused.push(case)
            } else {
                run.enqueue(case)
            }
        }
        self.runs.insert(id, run);
        self.order.push(id);
        for case in reused {
            self.settle(id, case, CaseStatus::Reused, out);
        }
        self.end_if_over(id, out);
        Ok(())
    }

    pub(super) fn setup_script_failed(
        &mut self,
        run: RunId,
        worker: WorkerId,
        out: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        self.heard_of(worker)?;
        self.known_run(run)?;
        self.stop(run, StopReason::SetupScriptFailed, true, out);
        Ok(())
    }

    pub(super) fn client_attached(&mut self, id: RunId, attached: bool) -> Result<(), Rejected> {
        let run = self.runs.get_mut(&id).ok_or(Rejected::UnknownRun(id))?;
        run.detached_at = if attached {
            None
        } else {
            run.detached_at.or(Some(self.now))
        };
        Ok(())
    }

    /// Checks that a case is leased to a worker under a generation.
    pub(super) fn leased_case(
        &self,
        worker: WorkerId,
        id: RunId,
        case: CaseIndex,
        generation: Generation,
    ) -> Result<(), Rejected> {
        self.workers.get(&worker).ok_or(Rejected::UnknownWorker(worker))?;
        let run = self.known_run(id)?;
        let state = run.cases.get(case.at()).ok_or(Rejected::UnknownCase(id, case))?;
        match state.phase {
            Phase::Leased(leased) if leased.worker == worker && state.generation == generation => Ok(()),
            _ => Err(Rejected::Stale {
                worker,
                run: id,
                case,
                generation,
            }),
        }
    }

    pub(super) fn case_started(
        &mut self,
        worker: WorkerId,
        id: RunId,
        case: CaseIndex,
        generation: Generation,
    ) -> Result<(), Rejected> {
        self.leased_case(worker, id, case, generation)?;
        self.heard_of(worker)?;
        if let Some(run) = self.runs.get_mut(&id)
            && let Phase::Leased(leased) = &mut run.cases[case.at()].phase
        {
            leased.started = true;
        }
        Ok(())
    }

    pub(super) fn attempt_ended(
        &mut self,
        worker: WorkerId,
        id: RunId,
        case: CaseIndex,
        outcome: Outcome,
        took: Duration,
        out: &mut Vec<Effect>,
    ) {
        if self.heard_of(worker).is_err() || self.release(worker, id, case).is_none() {
            return;
        }
        let random = self.next_random();
        let Some(run) = self.runs.get_mut(&id) else { return };
        let planned = &run.request.cases[case.at()];
        let (binary, retries, flaky) = (planned.binary, planned.retries, planned.flaky_result);
        let attempt = run.cases[case.at()].attempt;
        let stopping = run.stopping.is_some();
        if outcome.is_about_the_case() {
            run.observe(binary, took);
        }
        let again =
            !stopping && !outcome.passes() && (attempt <= retries.count || !outcome.is_about_the_case());
        let delay = if outcome.is_about_the_case() {
            retries.delay_before(attempt.saturating_add(1), random)
        } else {
            Duration::ZERO
        };
        out.push(Effect::AttemptAccepted {
            run: id,
            case,
            attempt,
            worker,
            outcome: outcome.clone(),
            retry_in: again.then_some(delay),
        });
        if again {
            self.retry(id, case, worker, &outcome, delay);
            return;
        }
        let status = match outcome {
            Outcome::Cancelled | Outcome::Lost => CaseStatus::NotRun,
            outcome if outcome.passes() && attempt > 1 => CaseStatus::Flaky {
                passes: flaky == FlakyResult::Pass,
            },
            Outcome::Passed => CaseStatus::Passed,
            outcome => CaseStatus::Ended(outcome),
        };
        self.settle(id, case, status, out);
        self.stop_after_failures(id, out);
        self.end_if_over(id, out);
    }

    fn retry(&mut self, id: RunId, case: CaseIndex, worker: WorkerId, outcome: &Outcome, delay: Duration) {
        let due = self.now.after(delay);
        let Some(run) = self.runs.get_mut(&id) else { return };
        let state = &mut run.cases[case.at()];
        if outcome.is_about_the_case() {
            state.attempt += 1;
            state.avoid = Some(worker);
        }
        if delay.is_zero() {
            run.enqueue(case);
        } else {
            state.phase = Phase::Delayed(due);
            run.delayed.insert((due, case));
        }
    }

    fn stop_after_failures(&mut self, id: RunId, out: &mut Vec<Effect>) {
        let Some(run) = self.runs.get(&id) else { return };
        let max_fail = run.request.max_fail;
        if max_fail.count.is_some_and(|count| run.failures >= count) && !run.is_over() {
            self.stop(id, StopReason::MaxFail, max_fail.kill_running, out);
        }
    }

    pub(super) fn case_returned(
        &mut self,
        worker: WorkerId,
        id: RunId,
        case: CaseIndex,
        out: &mut Vec<Effect>,
    ) {
        if self.heard_of(worker).is_err() || self.release(worker, id, case).is_none() {
            return;
        }
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.stopping.is_some() {
            self.settle(id, case, CaseStatus::NotRun, out);
            self.end_if_over(id, out);
            return;
        }
        let leaving = self
            .workers
            .get(&worker)
            .is_none_or(|worker| worker.cordoned.is_some());
        if leaving {
            run.enqueue(case);
            return;
        }
        let state = &mut run.cases[case.at()];
        state.avoid = Some(worker);
        state.returns += 1;
        if state.returns >= self.policy.returns_max {
            run.enqueue(case);
            return self.stop(id, StopReason::Stranded, false, out);
        }
        // A worker that cannot start a case now would return it again at once.
        let due = self.now.after(self.policy.return_delay);
        state.phase = Phase::Delayed(due);
        run.delayed.insert((due, case));
    }

    /// Takes a leased case back from its worker: its slots, its place in its group. The caller gives it its
    /// next phase. Returns whether it had started; `None` when it was not leased.
    fn release(&mut self, worker: WorkerId, id: RunId, case: CaseIndex) -> Option<bool> {
        let run = self.runs.get_mut(&id)?;
        let Phase::Leased(leased) = run.cases[case.at()].phase else {
            return None;
        };
        if let Some(group) = run.planned(case).group {
            let weight = run.group_weight(group, leased.weight);
            let state = &mut run.groups[group.at()];
            state.used = state.used.saturating_sub(weight);
            if let Some(slot) = leased.group_slot {
                state.slots.remove(&slot);
            }
        }
        if let Some(count) = run.held_by.get_mut(&worker) {
            *count -= 1;
            if *count == 0 {
                run.held_by.remove(&worker);
            }
        }
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.held.remove(&(id, case));
            worker.held_weight = worker.held_weight.saturating_sub(leased.weight);
            worker.held_micros = worker.held_micros.saturating_sub(leased.micros);
        }
        Some(leased.started)
    }
}
