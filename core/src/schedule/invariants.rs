//! What always holds. One definition each, for tests, for simulation and for production.

use std::collections::BTreeMap;

use super::run::{Leased, Phase, Run};
use super::scheduler::Scheduler;
use crate::id::{CaseIndex, RunId, WorkerId};

/// An invariant that does not hold: a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant {invariant} violated: {detail}")]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// Where.
    pub detail: String,
}

pub(super) fn check(
    invariant: &'static str,
    holds: bool,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation {
            invariant,
            detail: detail(),
        })
    }
}

impl Scheduler {
    /// Checks every invariant of the present state. Costs time linear in cases: for tests and debug builds.
    /// What holds over time (no outcome counts twice, every generation is new) is checked by
    /// [`Witness`](super::Witness).
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        for (&id, run) in &self.runs {
            case_is_in_one_place(id, run)?;
            self.lease_has_one_holder(id, run)?;
            group_is_never_exceeded(id, run)?;
            check("ended-run-is-forgotten", !run.is_over(), || {
                format!("run {id} is over and still here")
            })?;
        }
        self.held_matches_leases()?;
        self.class_knows_its_workers()
    }

    /// `lease-has-one-holder`: each copy of a case is held by the one worker that its lease names; two copies
    /// are at two workers, under two generations.
    fn lease_has_one_holder(&self, id: RunId, run: &Run) -> Result<(), Violation> {
        let mut held_by: BTreeMap<WorkerId, u32> = BTreeMap::new();
        for case in (0..).map(CaseIndex).take(run.cases.len()) {
            let copies: Vec<Leased> = run.copies(case).collect();
            for copy in &copies {
                *held_by.entry(copy.worker).or_default() += 1;
                let held = self
                    .workers
                    .get(&copy.worker)
                    .is_some_and(|worker| worker.held.contains(&(id, case)));
                check("lease-has-one-holder", held, || {
                    format!(
                        "run {id}: case {} is leased to {}, which does not hold it",
                        case.0, copy.worker
                    )
                })?;
            }
            let apart = match copies.as_slice() {
                [first, second] => first.worker != second.worker && first.generation != second.generation,
                _ => !run.hedges.contains_key(&case),
            };
            check("lease-has-one-holder", apart, || {
                format!("run {id}: case {} has the copies {copies:?}", case.0)
            })?;
        }
        check("lease-has-one-holder", held_by == run.held_by, || {
            format!("run {id}: held by {held_by:?}, counted {:?}", run.held_by)
        })
    }

    /// `held-matches-leases`: what a worker holds is leased to it, and its slots are counted right; what it
    /// could give back has not started.
    fn held_matches_leases(&self) -> Result<(), Violation> {
        for (&id, worker) in &self.workers {
            let (mut weight, mut micros, mut unstarted, mut suspects) = (0, 0u64, 0u64, 0);
            for &(run, case) in &worker.held {
                let Some(copy) = self.copy_at(id, run, case) else {
                    return check("held-matches-leases", false, || {
                        format!(
                            "{id} holds case {} of run {run}, which is not leased to it",
                            case.0
                        )
                    });
                };
                weight += copy.weight;
                suspects += u32::from(copy.suspect);
                micros = micros.saturating_add(copy.micros);
                if copy.started_at.is_none() {
                    unstarted = unstarted.saturating_add(copy.micros);
                }
                let waits = worker.waiting.contains(&(run, case));
                let may_wait = copy.started_at.is_none() && !copy.recalled && copy.group_slot.is_none();
                check("held-matches-leases", waits == may_wait, || {
                    format!("{id}: case {} of run {run} waits: {waits}, {copy:?}", case.0)
                })?;
            }
            let counted = weight == worker.held_weight
                && micros == worker.held_micros
                && unstarted == worker.unstarted_micros
                && suspects == worker.suspects;
            check("held-matches-leases", counted, || {
                format!("{id} holds {weight} slots' worth, counted {}", worker.held_weight)
            })?;
            check(
                "held-matches-leases",
                worker.waiting.is_subset(&worker.held),
                || format!("{id} is to give back what it does not hold"),
            )?;
        }
        Ok(())
    }

    /// `class-knows-its-workers`: every worker stands in the indexes where its state puts it, and the counts
    /// are right.
    fn class_knows_its_workers(&self) -> Result<(), Violation> {
        for at in self.class_indexes() {
            let class = self.class(at);
            let of = || self.workers.iter().filter(|(_, worker)| worker.class == at);
            let able = || of().filter(|(_, worker)| worker.cordoned.is_none());
            let slots: u64 = able().map(|(_, worker)| u64::from(worker.slots)).sum();
            let idle = of().filter_map(|(&id, worker)| worker.place(id, &self.policy).idle);
            let hungry = of().filter(|&(&id, worker)| worker.place(id, &self.policy).hungry);
            let loaded = of().filter_map(|(&id, worker)| worker.place(id, &self.policy).loaded);
            let recalled = of().flat_map(|(&id, worker)| {
                let copies = worker.held.iter();
                copies.filter_map(move |&(run, case)| self.copy_at(id, run, case))
            });
            let holds = class.slots == slots
                && class.workers as usize == able().count()
                && class.recalled as usize == recalled.filter(|copy| copy.recalled).count()
                && class.idle == idle.collect()
                && class.hungry == hungry.map(|(id, _)| *id).collect()
                && class.loaded == loaded.collect();
            check("class-knows-its-workers", holds, || format!("{class:?}"))?;
        }
        Ok(())
    }
}

/// `case-is-in-one-place`: pending cases are in their lane, delayed ones wait for their time, no other case is
/// in either; the counts are right.
fn case_is_in_one_place(id: RunId, run: &Run) -> Result<(), Violation> {
    let queued: usize = run.lanes.iter().map(|lane| lane.len()).sum();
    let count = |phase: fn(&Phase) -> bool| run.cases.iter().filter(|case| phase(&case.phase)).count();
    let pending = count(|phase| matches!(phase, Phase::Pending));
    let delayed = count(|phase| matches!(phase, Phase::Delayed(_)));
    let settled = count(|phase| matches!(phase, Phase::Settled));
    let in_place = run.lanes.iter().enumerate().all(|(at, lane)| {
        let mut cases = lane.cases();
        cases.all(|case| run.lane_of(case) == at && run.cases[case.at()].phase == Phase::Pending)
    });
    let waits = |(due, case): &(_, CaseIndex)| run.cases[case.at()].phase == Phase::Delayed(*due);
    let holds = in_place
        && queued == pending
        && run.delayed.len() == delayed
        && run.settled as usize == settled
        && run.delayed.iter().all(waits);
    check("case-is-in-one-place", holds, || {
        format!(
            "run {id}: {pending} pending but {queued} queued, {delayed} delayed but {} waiting, {settled} \
             settled but {} counted",
            run.delayed.len(),
            run.settled
        )
    })
}

/// `group-is-never-exceeded`: the leased cases of a test group take at most what the group allows.
fn group_is_never_exceeded(id: RunId, run: &Run) -> Result<(), Violation> {
    let mut used = vec![0u32; run.groups.len()];
    for (planned, case) in run.request.cases.iter().zip((0..).map(CaseIndex)) {
        if let Some(group) = planned.group {
            let copies = run.copies(case);
            used[group.at()] += copies
                .map(|copy| run.group_weight(group, copy.weight))
                .sum::<u32>();
        }
    }
    for (at, (used, group)) in used.into_iter().zip(&run.groups).enumerate() {
        check(
            "group-is-never-exceeded",
            used == group.used && used <= group.max,
            || {
                format!(
                    "run {id}, group {at}: {used} in use, {} counted, {} allowed",
                    group.used, group.max
                )
            },
        )?;
    }
    Ok(())
}
