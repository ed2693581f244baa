//! What holds over time, checked from outside: by what the scheduler was told and what it ordered, not by what
//! it remembers.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::{CaseGrant, Effect, GrantReason, StopReason};
use super::event::Event;
use super::invariants::{Violation, check};
use crate::id::{CaseIndex, Generation, RunId, WorkerId};
use crate::verdict::{CaseStatus, Tally, Verdict};

/// Watches a scheduler. Feed it every accepted event and every effect in order.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    runs: BTreeMap<RunId, Watched>,
}

#[derive(Clone, Debug)]
struct Watched {
    tally: Tally,
    settled: Vec<bool>,
    latest: Vec<Generation>,
    /// The copies that are out, by case.
    out: BTreeMap<CaseIndex, BTreeMap<Generation, WorkerId>>,
}

impl Witness {
    /// Watches from the beginning.
    pub fn new() -> Self {
        Self::default()
    }

    /// The runs that are under way.
    pub fn open_runs(&self) -> impl Iterator<Item = RunId> {
        self.runs.keys().copied()
    }

    /// Takes note of an event that was accepted, before its effects.
    ///
    /// # Errors
    /// - `stale-outcome-is-refused`: the event reports on a lease that is not out.
    /// - `settled-case-stays-settled`: a run is restored without a status that one of its cases had.
    pub fn accepted(&mut self, event: &Event) -> Result<(), Violation> {
        match event {
            Event::RunSubmitted(run, request) => {
                self.watch(*run, request.cases.len());
            }
            Event::RunRestored {
                run,
                request,
                recovery,
            } => {
                let watched = self.watch(*run, request.cases.len());
                // The leases of the coordinator before went with it.
                watched.out.clear();
                let mut missing = watched.settled.clone();
                for (case, status) in recovery.statuses() {
                    missing[case.at()] = false;
                    if !std::mem::replace(&mut watched.settled[case.at()], true) {
                        watched.tally.count(status);
                    }
                }
                let forgotten = missing.iter().position(|missing| *missing);
                check("settled-case-stays-settled", forgotten.is_none(), || {
                    format!("run {run} is restored without the status of case {forgotten:?}")
                })?;
            }
            Event::AttemptEnded {
                worker,
                run,
                case,
                generation,
                ..
            }
            | Event::CaseReturned {
                worker,
                run,
                case,
                generation,
            } => {
                let watched = self.runs.get_mut(run);
                let copies = watched.and_then(|watched| watched.out.get_mut(case));
                let holder = copies.and_then(|copies| copies.remove(generation));
                check("stale-outcome-is-refused", holder == Some(*worker), || {
                    format!(
                        "{worker} reported on case {} of run {run} under generation {}",
                        case.0, generation.0
                    )
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes note of an event that was refused.
    ///
    /// # Errors
    /// - `outcome-under-a-lease-is-accepted`: the event reports on a lease that is out.
    pub fn refused(&self, event: &Event) -> Result<(), Violation> {
        let (Event::AttemptEnded {
            worker,
            run,
            case,
            generation,
            ..
        }
        | Event::CaseReturned {
            worker,
            run,
            case,
            generation,
        }) = event
        else {
            return Ok(());
        };
        let copies = self.runs.get(run).and_then(|watched| watched.out.get(case));
        let holder = copies.and_then(|copies| copies.get(generation));
        check(
            "outcome-under-a-lease-is-accepted",
            holder != Some(worker),
            || {
                format!(
                    "{worker} was refused for case {} of run {run} under generation {}",
                    case.0, generation.0
                )
            },
        )
    }

    fn watch(&mut self, run: RunId, cases: usize) -> &mut Watched {
        let planned = u32::try_from(cases).unwrap_or(u32::MAX);
        self.runs.entry(run).or_insert(Watched {
            tally: Tally::new(planned),
            settled: vec![false; cases],
            latest: vec![Generation::default(); cases],
            out: BTreeMap::new(),
        })
    }

    /// Takes note of an effect.
    ///
    /// # Errors
    /// - `generation-is-new`: a lease carries a generation that its case has had.
    /// - `copies-are-apart`: a case is leased to a worker that holds it, or more than twice.
    /// - `second-copy-is-a-hedge`: a case is leased for another reason while a copy of it is out.
    /// - `settled-case-stays-settled`: a case is granted or settled after it was settled.
    /// - `run-ends-with-every-case-settled`: a run ends before each of its cases has a status.
    /// - `green-needs-every-case`: a run is green though nobody reported on one of its cases.
    pub fn effect(&mut self, effect: &Effect) -> Result<(), Violation> {
        match effect {
            Effect::Grant {
                worker, run, cases, ..
            } => {
                for grant in cases {
                    self.granted(*worker, *run, grant)?;
                }
            }
            Effect::CopyCancelled {
                run,
                case,
                generation,
                ..
            } => {
                if let Some(copies) = self.runs.get_mut(run).and_then(|run| run.out.get_mut(case)) {
                    copies.remove(generation);
                }
            }
            Effect::WorkerLost { worker, .. } => {
                for watched in self.runs.values_mut() {
                    for copies in watched.out.values_mut() {
                        copies.retain(|_, holder| holder != worker);
                    }
                }
            }
            Effect::CaseSettled { run, case, status } => self.settled(*run, *case, status)?,
            Effect::RunEnded { run, reason, .. } => self.run_ended(*run, *reason)?,
            Effect::Revoke { .. } | Effect::AttemptAccepted { .. } | Effect::RunStopping { .. } => {}
        }
        Ok(())
    }

    fn granted(&mut self, worker: WorkerId, id: RunId, grant: &CaseGrant) -> Result<(), Violation> {
        let CaseGrant {
            case,
            generation,
            reason,
            ..
        } = *grant;
        let Some(run) = self.runs.get_mut(&id) else {
            return check("run-ends-with-every-case-settled", false, || {
                format!("a case of run {id} is granted, which is not under way")
            });
        };
        check("settled-case-stays-settled", !run.settled[case.at()], || {
            format!("case {} of run {id} is granted after it was settled", case.0)
        })?;
        check("generation-is-new", generation > run.latest[case.at()], || {
            format!("case {} of run {id} is granted under {}", case.0, generation.0)
        })?;
        run.latest[case.at()] = generation;
        let copies = run.out.entry(case).or_default();
        let declared = copies.is_empty() || reason == GrantReason::Hedge;
        check("second-copy-is-a-hedge", declared, || {
            format!(
                "case {} of run {id} is granted ({reason:?}) and out at {copies:?}",
                case.0
            )
        })?;
        let apart = copies.len() < 2 && copies.values().all(|holder| *holder != worker);
        copies.insert(generation, worker);
        check("copies-are-apart", apart, || {
            format!("case {} of run {id} is out at {copies:?}", case.0)
        })
    }

    fn settled(&mut self, id: RunId, case: CaseIndex, status: &CaseStatus) -> Result<(), Violation> {
        let run = self.runs.get_mut(&id);
        let first = run.is_some_and(|run| {
            run.tally.count(status);
            run.out.remove(&case);
            !std::mem::replace(&mut run.settled[case.at()], true)
        });
        check("settled-case-stays-settled", first, || {
            format!("case {} of run {id} is settled once more", case.0)
        })
    }

    fn run_ended(&mut self, id: RunId, reason: StopReason) -> Result<(), Violation> {
        let Some(run) = self.runs.remove(&id) else {
            return check("run-ends-with-every-case-settled", false, || {
                format!("run {id} ends, which is not under way")
            });
        };
        let unsettled: BTreeSet<usize> = (0..run.settled.len()).filter(|at| !run.settled[*at]).collect();
        check("run-ends-with-every-case-settled", unsettled.is_empty(), || {
            format!("run {id} ends without a status for {unsettled:?}")
        })?;
        let tally = run.tally;
        let green = matches!(tally.verdict(), Verdict::Pass | Verdict::Flaky);
        let all = tally.reported() == tally.planned;
        check("green-needs-every-case", all || !green, || {
            format!("run {id} ended {reason:?} with {tally:?}")
        })?;
        Ok(())
    }
}
