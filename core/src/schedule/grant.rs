//! Who gets which case next.

use std::collections::BTreeMap;

use super::class::ClassIndex;
use super::effect::{CaseGrant, Effect, GrantReason};
use super::order::Ready;
use super::pick::{Choice, Picked, Wanted, pick};
use super::run::{Leased, Phase, micros};
use super::scheduler::Scheduler;
use crate::id::{CaseIndex, LeaseId, RunId, WorkerId};

/// After so many workers in turn for which there was nothing, the others are not asked. A case is kept from at
/// most two workers (where it failed, and where its other copy runs), so that a third would have got it.
const REFUSALS_MAX: usize = 4;

/// While much is left, a slot gets ahead what it would do in this part of the remaining time.
const AHEAD_PART: u64 = 8;

pub(super) type Leases = BTreeMap<(WorkerId, RunId), Vec<CaseGrant>>;

impl Scheduler {
    /// Grants what can be granted now.
    pub(super) fn grant(&mut self, out: &mut Vec<Effect>) {
        let mut leases = Leases::new();
        for class in self.class_indexes() {
            let has_room = !self.class(class).idle.is_empty() || !self.class(class).hungry.is_empty();
            if !has_room {
                continue;
            }
            let mut ready = self.ready(class);
            if !ready.is_empty() {
                self.fill_slots(class, &mut ready, &mut leases);
                self.give_ahead(class, &mut ready, &mut leases);
            }
            if ready.is_empty() && !self.class(class).idle.is_empty() {
                self.recall(class, out);
                self.hedge(class, &mut leases);
            }
        }
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
    fn fill_slots(&mut self, class: ClassIndex, ready: &mut Ready, leases: &mut Leases) {
        let mut refused = Vec::new();
        while !ready.is_empty() && refused.len() < REFUSALS_MAX {
            let mut idle = self.class(class).idle.iter();
            let Some(&(_, id)) = idle.find(|(_, id)| !refused.contains(id)) else {
                return;
            };
            if self.grant_one(id, None, ready, leases) != Choice::This(()) {
                refused.push(id);
            }
        }
    }

    /// Cases beyond the slots, so that a slot need not wait for the next lease: many while much is left, fewer
    /// towards the end.
    fn give_ahead(&mut self, class: ClassIndex, ready: &mut Ready, leases: &mut Leases) {
        let hungry: Vec<WorkerId> = self.class(class).hungry.iter().copied().collect();
        let mut refusals = 0;
        for id in hungry {
            if ready.is_empty() || refusals >= REFUSALS_MAX {
                return;
            }
            let slots = self.class(class).slots.max(1);
            let worker = &self.workers[&id];
            let least = worker.lookahead(&self.policy);
            let most = micros(self.policy.lookahead_max).max(least);
            let ahead = (ready.pending_micros / slots / AHEAD_PART).clamp(least, most);
            let enough = ahead.saturating_mul(worker.slots.into());
            let mut refused = true;
            while self.workers[&id].unstarted_micros < enough
                && self.workers[&id].held.len() < self.policy.held_cases_max as usize
            {
                match self.grant_one(id, Some(ahead), ready, leases) {
                    Choice::This(()) => refused = false,
                    Choice::Waits => return,
                    Choice::Nothing => break,
                }
            }
            refusals = if refused { refusals + 1 } else { 0 };
        }
    }

    /// Grants one case to a worker; with `ahead`, only one that is shorter than that (in microseconds) and
    /// holds nothing back from others while it waits.
    fn grant_one(
        &mut self,
        id: WorkerId,
        ahead: Option<u64>,
        ready: &mut Ready,
        leases: &mut Leases,
    ) -> Choice<()> {
        let Some(worker) = self.workers.get(&id) else {
            return Choice::Nothing;
        };
        let class = self.class(worker.class);
        let wanted = Wanted {
            id,
            worker,
            ahead,
            left_micros: ready.pending_micros / class.slots.max(1),
            slots: class.slots.max(1),
            fetch_rate: self.policy.fetch_rate,
            others: class.workers > 1,
            now: self.now,
        };
        let first = ready.iter().find_map(|(rank, run)| {
            let choice = pick(&self.runs[&run], &wanted);
            (choice != Choice::Nothing).then_some((rank, run, choice))
        });
        let (rank, run, picked) = match first {
            Some((rank, run, Choice::This(picked))) => (rank, run, picked),
            Some((.., Choice::Waits)) => return Choice::Waits,
            Some((.., Choice::Nothing)) | None => return Choice::Nothing,
        };
        let granted = self.runs[&run].present_micros(picked.case);
        let grant = self.lease(id, run, picked);
        self.rerank(ready, rank, run, granted);
        leases.entry((id, run)).or_default().push(grant);
        Choice::This(())
    }

    /// Leases a pending case to a worker.
    fn lease(&mut self, id: WorkerId, run_id: RunId, picked: Picked) -> CaseGrant {
        let Picked { case, reason } = picked;
        let run = self.runs.get_mut(&run_id).expect("a picked case's run is known");
        run.dequeue(case);
        run.tried(case);
        let reason = run.cases[case.at()].again.take().unwrap_or(reason);
        let (leased, grant) = self.copy_for(id, run_id, case, reason);
        let run = self.runs.get_mut(&run_id).expect("a picked case's run is known");
        run.cases[case.at()].phase = Phase::Leased(leased);
        grant
    }

    /// Makes a copy of a case for a worker. The caller keeps it.
    pub(super) fn copy_for(
        &mut self,
        id: WorkerId,
        run_id: RunId,
        case: CaseIndex,
        reason: GrantReason,
    ) -> (Leased, CaseGrant) {
        let now = self.now;
        let run = self.runs.get_mut(&run_id).expect("a granted case's run is known");
        let worker = self
            .workers
            .get_mut(&id)
            .expect("a case is granted to a known worker");
        let weight = worker.weight(run.planned(case).threads_required);
        let group_slot = run.planned(case).group.map(|group| {
            let used = run.group_weight(group, weight);
            let state = &mut run.groups[group.at()];
            state.used += used;
            state.take_slot()
        });
        let micros = run.present_micros(case).saturating_mul(weight.into());
        let generation = &mut run.cases[case.at()].generation;
        generation.0 += 1;
        let generation = *generation;
        let leased = Leased {
            worker: id,
            generation,
            weight,
            group_slot,
            micros,
            granted_at: now,
            started_at: None,
            recalled: false,
            suspect: run.cases[case.at()].losses > 0,
        };
        worker.suspects += u32::from(leased.suspect);
        worker.held.insert((run_id, case));
        if group_slot.is_none() {
            worker.waiting.insert((run_id, case));
        }
        worker.held_weight += weight;
        worker.held_micros = worker.held_micros.saturating_add(micros);
        worker.unstarted_micros = worker.unstarted_micros.saturating_add(micros);
        run.first_grant_at.get_or_insert(now);
        if run.slots_from.is_none() {
            run.slots_from = Some(now);
            run.slot_micros_to = now;
        }
        *run.held_by.entry(id).or_default() += 1;
        let binary = run.planned(case).binary;
        let planned = &run.request.binaries[binary.at()];
        let known = run.known_to.entry(id).or_default();
        if planned.bytes > 0 && known.insert(binary) {
            worker.sent(planned.digest);
        }
        self.shares.granted(run.queue(), &run.request.submitter, micros);
        let grant = CaseGrant {
            case,
            generation: leased.generation,
            attempt: run.cases[case.at()].attempt,
            weight,
            group_slot,
            reason,
        };
        self.reindex(id);
        (leased, grant)
    }
}
