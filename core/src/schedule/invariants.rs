//! What always holds. One definition each, for tests, for simulation and for production.

use std::collections::BTreeMap;

use super::run::{Phase, Run};
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

fn check(invariant: &'static str, holds: bool, detail: impl FnOnce() -> String) -> Result<(), Violation> {
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
    /// Checks every invariant. Costs time linear in cases: for tests and debug builds.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        for (&id, run) in &self.runs {
            self.case_is_in_one_place(id, run)?;
            self.lease_has_one_holder(id, run)?;
            group_is_never_exceeded(id, run)?;
            check("ended-run-is-forgotten", !run.is_over(), || {
                format!("run {id} is over and still here")
            })?;
        }
        self.held_matches_leases()
    }

    /// `case-is-in-one-place`: pending cases are in their queue, delayed ones wait for their time, no other
    /// case is in either; the count of settled ones is right.
    fn case_is_in_one_place(&self, id: RunId, run: &Run) -> Result<(), Violation> {
        let queued: usize = run.queues.iter().map(|queue| queue.len()).sum();
        let count = |phase: fn(&Phase) -> bool| run.cases.iter().filter(|case| phase(&case.phase)).count();
        let pending = count(|phase| matches!(phase, Phase::Pending));
        let delayed = count(|phase| matches!(phase, Phase::Delayed(_)));
        let settled = count(|phase| matches!(phase, Phase::Settled));
        let in_place = run.queues.iter().enumerate().all(|(at, queue)| {
            queue
                .iter()
                .all(|key| run.queue_of(key.2) == at && run.cases[key.2.at()].phase == Phase::Pending)
        });
        let holds = in_place
            && queued == pending
            && run.delayed.len() == delayed
            && run.settled as usize == settled
            && run
                .delayed
                .iter()
                .all(|(due, case)| run.cases[case.at()].phase == Phase::Delayed(*due));
        check("case-is-in-one-place", holds, || {
            format!(
                "run {id}: {pending} pending but {queued} queued, {delayed} delayed but {} waiting, {settled} \
                 settled but {} counted",
                run.delayed.len(),
                run.settled
            )
        })
    }

    /// `lease-has-one-holder`: a leased case is held by the one worker that its lease names.
    fn lease_has_one_holder(&self, id: RunId, run: &Run) -> Result<(), Violation> {
        let mut held_by: BTreeMap<WorkerId, u32> = BTreeMap::new();
        for (case, state) in (0..).map(CaseIndex).zip(&run.cases) {
            let Phase::Leased(leased) = state.phase else {
                continue;
            };
            *held_by.entry(leased.worker).or_default() += 1;
            let held = self
                .workers
                .get(&leased.worker)
                .is_some_and(|w| w.held.contains(&(id, case)));
            check("lease-has-one-holder", held, || {
                format!(
                    "run {id}: case {} is leased to {}, which does not hold it",
                    case.0, leased.worker
                )
            })?;
        }
        check("lease-has-one-holder", held_by == run.held_by, || {
            format!("run {id}: held by {:?}, counted {:?}", held_by, run.held_by)
        })
    }

    /// `held-matches-leases`: what a worker holds is leased to it, and its slots are counted right.
    fn held_matches_leases(&self) -> Result<(), Violation> {
        for (&id, worker) in &self.workers {
            let mut weight = 0;
            for (run, case) in &worker.held {
                match self.runs.get(run).map(|run| run.cases[case.at()].phase) {
                    Some(Phase::Leased(leased)) if leased.worker == id => weight += leased.weight,
                    other => {
                        return check("held-matches-leases", false, || {
                            format!("{id} holds case {} of run {run}, which is {other:?}", case.0)
                        });
                    }
                }
            }
            check("held-matches-leases", weight == worker.held_weight, || {
                format!("{id} holds {weight} slots' worth, counted {}", worker.held_weight)
            })?;
        }
        Ok(())
    }
}

/// `group-is-never-exceeded`: the leased cases of a test group take at most what the group allows.
fn group_is_never_exceeded(id: RunId, run: &Run) -> Result<(), Violation> {
    let mut used = vec![0u32; run.groups.len()];
    for (planned, state) in run.request.cases.iter().zip(&run.cases) {
        if let (Some(group), Phase::Leased(leased)) = (planned.group, state.phase) {
            used[group.at()] += run.group_weight(group, leased.weight);
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
