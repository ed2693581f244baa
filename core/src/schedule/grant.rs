//! Who gets which case next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::effect::{CaseGrant, Effect};
use super::run::{Leased, Phase, QueueKey, Run, micros};
use super::scheduler::Scheduler;
use super::worker::Worker;
use crate::id::{CaseIndex, LeaseId, RunId, WorkerId};

/// How far behind the head of a queue a case is looked for when the head would rather go to another worker.
const AVOID_LOOK: usize = 8;

type Leases = BTreeMap<(WorkerId, RunId), Vec<CaseGrant>>;

impl Scheduler {
    /// Grants what can be granted now.
    pub(super) fn grant(&mut self, out: &mut Vec<Effect>) {
        if !self
            .runs
            .values()
            .any(|run| run.stopping.is_none() && run.has_pending())
        {
            return;
        }
        let mut leases = Leases::new();
        self.fill_slots(&mut leases);
        self.give_ahead(&mut leases);
        for ((worker, run), cases) in leases {
            let lease = LeaseId(self.next_lease);
            self.next_lease += 1;
            out.push(Effect::Grant {
                worker,
                lease,
                run,
                cases,
            });
        }
    }

    /// One case at a time to the worker with the most free slots, so that the longest cases spread out.
    fn fill_slots(&mut self, leases: &mut Leases) {
        let mut hungry: BTreeSet<(Reverse<u32>, WorkerId)> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.cordoned.is_none() && worker.free() > 0)
            .map(|(&id, worker)| (Reverse(worker.free()), id))
            .collect();
        while let Some((_, id)) = hungry.pop_first() {
            if !self.grant_one(id, None, leases) {
                continue;
            }
            let free = self.workers[&id].free();
            if free > 0 {
                hungry.insert((Reverse(free), id));
            }
        }
    }

    /// Short cases beyond the slots, so that a slot need not wait for the next lease.
    fn give_ahead(&mut self, leases: &mut Leases) {
        let lookahead = micros(self.policy.lookahead);
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        for id in workers {
            let worker = &self.workers[&id];
            let enough = lookahead.saturating_mul(worker.slots.into());
            // A refill at half the level, not at every outcome, keeps leases big and few.
            if worker.cordoned.is_some() || worker.held_micros > enough / 2 {
                continue;
            }
            while self.workers[&id].held_micros < enough
                && self.workers[&id].held.len() < self.policy.held_cases_max as usize
                && self.grant_one(id, Some(lookahead), leases)
            {}
        }
    }

    /// Grants one case to a worker; with `ahead`, only one that is shorter than that (in microseconds) and
    /// holds nothing back from others while it waits. Returns whether there was one.
    fn grant_one(&mut self, id: WorkerId, ahead: Option<u64>, leases: &mut Leases) -> bool {
        let Some(worker) = self.workers.get(&id) else {
            return false;
        };
        let picked = self.order.iter().find_map(|run_id| {
            let run = &self.runs[run_id];
            if run.stopping.is_some() || !worker.can_take(&run.request) {
                return None;
            }
            let others = |suits: fn(&Worker) -> bool| {
                self.workers
                    .iter()
                    .any(|(&other, w)| other != id && w.can_take(&run.request) && suits(w))
            };
            pick(run, id, worker, ahead, others).map(|case| (*run_id, case))
        });
        let Some((run, case)) = picked else { return false };
        let grant = self.lease(id, run, case);
        leases.entry((id, run)).or_default().push(grant);
        true
    }

    fn lease(&mut self, id: WorkerId, run_id: RunId, case: CaseIndex) -> CaseGrant {
        let now = self.now;
        let run = self.runs.get_mut(&run_id).expect("a picked case's run is known");
        let worker = self
            .workers
            .get_mut(&id)
            .expect("a case is picked for a known worker");
        run.dequeue(case);
        let weight = worker.weight(run.planned(case).threads_required);
        let group_slot = run.planned(case).group.map(|group| {
            let used = run.group_weight(group, weight);
            let state = &mut run.groups[group.at()];
            state.used += used;
            state.take_slot()
        });
        let micros = run.present_micros(case).saturating_mul(weight.into());
        let state = &mut run.cases[case.at()];
        state.generation.0 += 1;
        state.phase = Phase::Leased(Leased {
            worker: id,
            weight,
            group_slot,
            micros,
            started: false,
        });
        worker.held.insert((run_id, case));
        worker.held_weight += weight;
        worker.held_micros = worker.held_micros.saturating_add(micros);
        let grant = CaseGrant {
            case,
            generation: state.generation,
            attempt: state.attempt,
            weight,
            group_slot,
        };
        if run.first_grant_at.is_none() {
            run.first_grant_at = Some(now);
            run.slot_micros_to = now;
        }
        *run.held_by.entry(id).or_default() += 1;
        run.known_to.insert(id);
        grant
    }
}

/// The best pending case of a run for a worker. A case that failed here goes elsewhere if there are `others`,
/// but no slot idles for that: while none of them has room either, it is tried here again. One that was given
/// back is not.
fn pick(
    run: &Run,
    id: WorkerId,
    worker: &Worker,
    ahead: Option<u64>,
    others: impl Fn(fn(&Worker) -> bool) -> bool,
) -> Option<CaseIndex> {
    let avoids = |case: CaseIndex| run.cases[case.at()].avoid == Some(id);
    let elsewhere = |case: CaseIndex| avoids(case) && others(|_| true);
    let found = best(run, worker, ahead, elsewhere);
    if found.is_some() || ahead.is_some() || others(|other| other.free() > 0) {
        return found;
    }
    best(run, worker, ahead, |case| {
        run.cases[case.at()].returns > 0 && elsewhere(case)
    })
}

/// The first case in order over all queues whose group has room, without those that `skip` names.
fn best(
    run: &Run,
    worker: &Worker,
    ahead: Option<u64>,
    skip: impl Fn(CaseIndex) -> bool,
) -> Option<CaseIndex> {
    // What is given ahead waits at its worker: it must not get there before a case of higher priority.
    let top_priority = run
        .queues
        .iter()
        .filter_map(|queue| queue.first())
        .map(|key| key.0)
        .min();
    let suits = |key: &&QueueKey| {
        let case = key.2;
        let planned = run.planned(case);
        let weight = worker.weight(planned.threads_required);
        !skip(case)
            && match ahead {
                None => planned
                    .group
                    .is_none_or(|group| run.group_has_room(group, weight)),
                Some(most) => {
                    planned.group.is_none()
                        && weight == 1
                        && Some(key.0) == top_priority
                        && run.present_micros(case) <= most
                }
            }
    };
    let heads = run
        .queues
        .iter()
        .filter_map(|queue| queue.iter().take(AVOID_LOOK).find(suits));
    heads.min().map(|key| key.2)
}
