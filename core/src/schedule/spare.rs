//! What idle slots do when nothing is pending: they take over what waits elsewhere, or double what is late.

use std::time::Duration;

use super::class::ClassIndex;
use super::effect::{Effect, GrantReason};
use super::grant::Leases;
use super::mutation::Mutation;
use super::run::{Leased, Phase, Run, micros};
use super::scheduler::Scheduler;
use crate::case::ThreadsRequired;
use crate::id::{CaseIndex, Generation, RunId, WorkerId};
use crate::time::Timestamp;

/// At most so many late cases are looked at in one go.
const LATE_MAX: usize = 64;

impl Scheduler {
    /// Asks workers with more than they can start to give cases back, as many as there are free slots. What
    /// comes back is granted like any pending case; what has started by then stays.
    pub(super) fn recall(&mut self, class: ClassIndex, out: &mut Vec<Effect>) {
        let idle = &self.class(class).idle;
        let free: u64 = idle
            .iter()
            .take(LATE_MAX)
            .map(|(free, _)| u64::from(free.0))
            .sum();
        let mut budget = free.saturating_sub(self.class(class).recalled.into());
        while budget > 0 {
            let Some(&(wait, victim)) = self.class(class).loaded.first() else {
                return;
            };
            let worker = &self.workers[&victim];
            let round_trips = micros(worker.round_trip).saturating_mul(2);
            if wait.0 < micros(self.policy.steal_min).max(round_trips) {
                return;
            }
            // Half of what waits there, so that two workers share the rest of the work evenly.
            let half = worker.waiting.len().div_ceil(2);
            let count = half.min(usize::try_from(budget).unwrap_or(usize::MAX));
            let cases: Vec<(RunId, CaseIndex)> = worker.waiting.iter().rev().take(count).copied().collect();
            budget -= cases.len() as u64;
            self.recall_from(victim, class, cases, out);
        }
    }

    fn recall_from(
        &mut self,
        victim: WorkerId,
        class: ClassIndex,
        cases: Vec<(RunId, CaseIndex)>,
        out: &mut Vec<Effect>,
    ) {
        let mut by_run: Vec<(RunId, Vec<(CaseIndex, Generation)>)> = Vec::new();
        for (id, case) in cases {
            if let Some(worker) = self.workers.get_mut(&victim) {
                worker.waiting.remove(&(id, case));
            }
            let Some(leased) = self.copy_at(victim, id, case) else {
                continue;
            };
            let run = self.runs.get_mut(&id).expect("a copy is of a known run");
            if let Some(copy) = run.copy_mut(case, victim, leased.generation) {
                copy.recalled = true;
                self.class_mut(class).recalled += 1;
            }
            if self.mutated(Mutation::GrantBeforeReturn) {
                self.release(
                    id,
                    case,
                    Leased {
                        recalled: true,
                        ..leased
                    },
                    None,
                );
                self.runs
                    .get_mut(&id)
                    .expect("a copy is of a known run")
                    .enqueue(case);
            }
            match by_run.last_mut().filter(|(of, _)| *of == id) {
                Some((_, cases)) => cases.push((case, leased.generation)),
                None => by_run.push((id, vec![(case, leased.generation)])),
            }
        }
        self.reindex(victim);
        out.extend(by_run.into_iter().map(|(run, cases)| Effect::Revoke {
            worker: victim,
            run,
            cases,
            kill_running: false,
        }));
    }

    /// Starts second copies of cases that run unusually long, each on another worker than the first.
    pub(super) fn hedge(&mut self, class: ClassIndex, leases: &mut Leases) {
        if self.policy.hedge.is_none() || self.class(class).workers < 2 {
            return;
        }
        let late: Vec<(RunId, CaseIndex)> = self
            .runs
            .iter()
            .filter(|(_, run)| run.class == class && run.stopping.is_none())
            .flat_map(|(id, run)| late(run, self.now).map(|case| (*id, case)))
            .take(LATE_MAX)
            .collect();
        for (id, case) in late {
            let run = &self.runs[&id];
            let Phase::Leased(Leased { worker: first, .. }) = run.cases[case.at()].phase else {
                continue;
            };
            let required = run.planned(case).threads_required;
            let Some(second) = self.spare_worker(class, first, required) else {
                continue;
            };
            let (copy, grant) = self.copy_for(second, id, case, GrantReason::Hedge);
            let run = self.runs.get_mut(&id).expect("a late case's run is known");
            run.hedges.insert(case, copy);
            if let Some(at) = run.cases[case.at()].hedge_from.take() {
                run.hedge_from.remove(&(at, case));
            }
            leases.entry((second, id)).or_default().push(grant);
        }
    }

    /// A worker with free slots for a case, other than `first`.
    fn spare_worker(
        &self,
        class: ClassIndex,
        first: WorkerId,
        required: ThreadsRequired,
    ) -> Option<WorkerId> {
        let idle = self.class(class).idle.iter().take(2).map(|(_, id)| *id);
        idle.filter(|id| *id != first).find(|id| {
            let worker = &self.workers[id];
            worker.weight(required) <= worker.free()
        })
    }

    /// From when a second copy of a case that starts now is worth it; `None`: never. A case of a test group
    /// runs once at a time, and one that several workers were lost with is not spread further.
    pub(super) fn hedge_at(&self, id: RunId, case: CaseIndex) -> Option<Timestamp> {
        let hedge = self.policy.hedge?;
        let run = self.runs.get(&id)?;
        let planned = run.planned(case);
        if planned.group.is_some() || run.cases[case.at()].losses > 0 {
            return None;
        }
        let estimate = Duration::from_micros(run.present_micros(case));
        let after = planned
            .rarely_over
            .unwrap_or_else(|| estimate.saturating_mul(hedge.estimates));
        Some(self.now.after(after.max(hedge.after_min)))
    }

    /// When the next case of a run is late enough for a second copy. Those that are late already wait for a
    /// slot, which is an event of its own.
    pub(super) fn hedge_deadline(&self, run: &Run) -> Option<Timestamp> {
        let class = self.class(run.class);
        if run.stopping.is_some() || class.workers < 2 || class.idle.is_empty() {
            return None;
        }
        let later = (self.now.after(Duration::from_micros(1)), CaseIndex(0));
        run.hedge_from.range(later..).next().map(|(at, _)| *at)
    }
}

/// The cases of a run that are due for a second copy.
fn late(run: &Run, now: Timestamp) -> impl Iterator<Item = CaseIndex> {
    run.hedge_from
        .iter()
        .take_while(move |(at, _)| *at <= now)
        .map(|(_, case)| *case)
        .take(LATE_MAX)
}
