//! What workers say of the cases that are leased to them.

use std::time::Duration;

use super::effect::{Effect, GrantReason, StopReason};
use super::event::Rejected;
use super::mutation::Mutation;
use super::run::{Avoid, Leased, Phase, micros};
use super::scheduler::Scheduler;
use crate::id::{CaseIndex, Generation, RunId, WorkerId};
use crate::outcome::Outcome;
use crate::verdict::CaseStatus;

/// How far a worker's clock may be ahead over the time of an attempt.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Finds the copy of a case that is leased to a worker under a generation.
    pub(super) fn leased_case(
        &self,
        worker: WorkerId,
        id: RunId,
        case: CaseIndex,
        generation: Generation,
    ) -> Result<Leased, Rejected> {
        self.workers.get(&worker).ok_or(Rejected::UnknownWorker(worker))?;
        let run = self.known_run(id)?;
        if case.at() >= run.cases.len() {
            return Err(Rejected::UnknownCase(id, case));
        }
        let mistaken = |copy: &Leased| {
            (copy.worker == worker && self.mutated(Mutation::SkipGenerationCheck))
                || (copy.generation == generation && self.mutated(Mutation::SkipHolderCheck))
        };
        let found = run.copy(case, worker, generation).copied();
        found
            .or_else(|| run.copies(case).find(mistaken))
            .ok_or(Rejected::Stale {
                worker,
                run: id,
                case,
                generation,
            })
    }

    pub(super) fn case_started(
        &mut self,
        worker: WorkerId,
        id: RunId,
        case: CaseIndex,
        generation: Generation,
    ) -> Result<(), Rejected> {
        let leased = self.leased_case(worker, id, case, generation)?;
        self.heard_of(worker)?;
        if leased.started_at.is_some() {
            return Ok(());
        }
        let hedge_at = self.hedge_at(id, case);
        let now = self.now;
        if let Some(run) = self.runs.get_mut(&id) {
            if let Some(copy) = run.copy_mut(case, worker, generation) {
                copy.started_at = Some(now);
                copy.recalled = false;
            }
            if let Some(at) = hedge_at.filter(|_| !run.hedges.contains_key(&case)) {
                run.cases[case.at()].hedge_from = Some(at);
                run.hedge_from.insert((at, case));
            }
        }
        if let Some(held) = self.workers.get_mut(&worker) {
            held.waiting.remove(&(id, case));
            held.unstarted_micros = held.unstarted_micros.saturating_sub(leased.micros);
            let class = held.class;
            self.reindex(worker);
            if leased.recalled {
                // It started before it was asked for, and will not come back.
                self.class_mut(class).recalled -= 1;
            }
        }
        Ok(())
    }

    pub(super) fn attempt_ended(
        &mut self,
        id: RunId,
        case: CaseIndex,
        leased: Leased,
        outcome: Outcome,
        took: Duration,
        out: &mut Vec<Effect>,
    ) {
        let worker = leased.worker;
        if self.heard_of(worker).is_err() {
            return;
        }
        let about = outcome.is_about_the_case();
        // It cannot have run before it was granted, whatever its worker claims.
        let took = took.min(self.now.since(leased.granted_at).saturating_add(CLOCK_SLACK));
        let another = self.release(id, case, leased, about.then_some(took));
        let random = self.next_random();
        let Some(run) = self.runs.get_mut(&id) else { return };
        if about {
            run.observe(case, took);
        } else if another {
            return;
        }
        let planned = &run.request.cases[case.at()];
        let (retries, attempt) = (planned.retries, run.cases[case.at()].attempt);
        let again = run.stopping.is_none() && !outcome.passes() && (attempt <= retries.count || !about);
        let delay = if about && !another {
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
            took,
            retry_in: again.then_some(delay),
        });
        if again {
            return self.retry(id, case, worker, about, another, delay);
        }
        if another {
            self.cancel_copies(id, case, out);
        }
        self.settle_last(id, case, attempt, outcome, out);
    }

    /// Settles a case by its last outcome, and the run if that decides it.
    pub(super) fn settle_last(
        &mut self,
        id: RunId,
        case: CaseIndex,
        attempt: u32,
        outcome: Outcome,
        out: &mut Vec<Effect>,
    ) {
        let Some(run) = self.runs.get(&id) else { return };
        let status = run.planned(case).status_after(attempt, &outcome);
        self.settle(id, case, status, out);
        self.stop_after_failures(id, out);
        self.end_if_over(id, out);
    }

    /// Has a case tried again; where `another` copy of it runs, that one is the next attempt.
    fn retry(
        &mut self,
        id: RunId,
        case: CaseIndex,
        worker: WorkerId,
        about_the_case: bool,
        another: bool,
        delay: Duration,
    ) {
        let due = self.now.after(delay);
        let until = due.after(self.policy.elsewhere_max);
        let Some(run) = self.runs.get_mut(&id) else { return };
        let state = &mut run.cases[case.at()];
        if about_the_case {
            state.attempt += 1;
            let until = Some(until);
            state.avoid = Some(Avoid { worker, until });
            run.avoids.extend(until);
        }
        let state = &mut run.cases[case.at()];
        if another {
            return;
        }
        state.again = Some(GrantReason::Retry);
        if delay.is_zero() {
            run.enqueue(case);
        } else {
            state.phase = Phase::Delayed(due);
            run.delayed.insert((due, case));
        }
    }

    pub(super) fn case_returned(
        &mut self,
        id: RunId,
        case: CaseIndex,
        leased: Leased,
        out: &mut Vec<Effect>,
    ) {
        let worker = leased.worker;
        if self.heard_of(worker).is_err() || self.release(id, case, leased, None) {
            return;
        }
        let leaving = self
            .workers
            .get(&worker)
            .is_none_or(|worker| worker.cordoned.is_some());
        let due = self.now.after(self.policy.return_delay);
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.stopping.is_some() {
            self.settle(id, case, CaseStatus::NotRun, out);
            return self.end_if_over(id, out);
        }
        let state = &mut run.cases[case.at()];
        if leased.recalled {
            state.again = Some(GrantReason::Stolen);
            return run.enqueue(case);
        }
        state.again = Some(GrantReason::Returned);
        if leaving {
            return run.enqueue(case);
        }
        state.avoid = Some(Avoid { worker, until: None });
        state.returns += 1;
        if state.returns >= self.policy.returns_max {
            run.enqueue(case);
            return self.stop(id, StopReason::Stranded, false, out);
        }
        // A worker that cannot start a case now would return it again at once.
        state.phase = Phase::Delayed(due);
        run.delayed.insert((due, case));
    }

    /// Ends every copy of a case that is still out: another one has decided.
    pub(super) fn cancel_copies(&mut self, id: RunId, case: CaseIndex, out: &mut Vec<Effect>) {
        let Some(run) = self.runs.get(&id).filter(|_| !self.mutated(Mutation::KeepLoser)) else {
            return;
        };
        let (attempt, copies) = (run.cases[case.at()].attempt, run.copies(case).collect::<Vec<_>>());
        for copy in copies {
            self.release(id, case, copy, None);
            let Leased {
                worker, generation, ..
            } = copy;
            out.push(Effect::Revoke {
                worker,
                run: id,
                cases: vec![(case, generation)],
                kill_running: true,
            });
            out.push(Effect::CopyCancelled {
                run: id,
                case,
                attempt,
                worker,
                generation,
            });
        }
    }

    /// Takes a copy of a case back from its worker: its slots, its place in its group. Where another copy is
    /// out, that is the one; else the caller gives the case its next phase. Returns whether there is another.
    /// `took` corrects what the submitter was charged.
    pub(super) fn release(
        &mut self,
        id: RunId,
        case: CaseIndex,
        leased: Leased,
        took: Option<Duration>,
    ) -> bool {
        let worker_id = leased.worker;
        let mut class = None;
        let freed = if self.mutated(Mutation::KeepSlots) {
            0
        } else {
            leased.weight
        };
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.held.remove(&(id, case));
            worker.waiting.remove(&(id, case));
            worker.held_weight = worker.held_weight.saturating_sub(freed);
            worker.suspects -= u32::from(leased.suspect);
            worker.held_micros = worker.held_micros.saturating_sub(leased.micros);
            if leased.started_at.is_none() {
                worker.unstarted_micros = worker.unstarted_micros.saturating_sub(leased.micros);
            }
            class = Some(worker.class);
        }
        if let Some(class) = class.filter(|_| leased.recalled) {
            self.class_mut(class).recalled -= 1;
        }
        self.reindex(worker_id);
        let Some(run) = self.runs.get_mut(&id) else {
            return false;
        };
        let used = took.map_or(0, |took| micros(took).saturating_mul(leased.weight.into()));
        let correction = if took.is_some() || leased.started_at.is_none() {
            i64::try_from(used).unwrap_or(i64::MAX) - i64::try_from(leased.micros).unwrap_or(i64::MAX)
        } else {
            0
        };
        self.shares
            .ended(run.queue(), &run.request.submitter, leased.granted_at, correction);
        if let Some(group) = run.planned(case).group {
            let weight = run.group_weight(group, leased.weight);
            let state = &mut run.groups[group.at()];
            state.used = state.used.saturating_sub(weight);
            if let Some(slot) = leased.group_slot {
                state.slots.remove(&slot);
            }
        }
        if let Some(count) = run.held_by.get_mut(&worker_id) {
            *count -= 1;
            if *count == 0 {
                run.held_by.remove(&worker_id);
            }
        }
        run.drop_copy(case, leased.generation)
    }
}
