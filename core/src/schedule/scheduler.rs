//! The scheduler's state and its few verbs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::effect::{Effect, StopReason};
use super::event::{CordonReason, Event, Rejected};
use super::policy::Policy;
use super::run::{Phase, Run};
use super::worker::Worker;
use crate::id::{CaseIndex, RunId, WorkerId};
use crate::time::Timestamp;
use crate::verdict::CaseStatus;

/// Decides which worker runs which case, and when. See the [module](super).
#[derive(Debug)]
pub struct Scheduler {
    pub(super) policy: Policy,
    pub(super) now: Timestamp,
    pub(super) runs: BTreeMap<RunId, Run>,
    /// The runs in the order of their submission.
    pub(super) order: Vec<RunId>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    /// Workers by the time of their last sign of life.
    pub(super) heard: BTreeSet<(Timestamp, WorkerId)>,
    pub(super) next_lease: u64,
    random: u64,
}

impl Scheduler {
    /// Starts with no runs and no workers. `seed` feeds the jitter of retry delays.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            now: Timestamp::default(),
            runs: BTreeMap::new(),
            order: Vec::new(),
            workers: BTreeMap::new(),
            heard: BTreeSet::new(),
            next_lease: 1,
            random: seed,
        }
    }

    /// Takes one event.
    ///
    /// # Errors
    /// A [`Rejected`] event changes nothing.
    pub fn apply(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) -> Result<(), Rejected> {
        self.now = self.now.max(now);
        match event {
            Event::WorkerJoined {
                worker,
                slots,
                cpus,
                platform,
                in_place,
            } => self.worker_joined(worker, slots, cpus, platform, in_place),
            Event::WorkerHeartbeat(worker) => self.heard_of(worker),
            Event::WorkerLeft(worker) => self.worker_left(worker, out),
            Event::WorkerCordoned(worker, reason) => self.worker_cordoned(worker, reason),
            Event::RunSubmitted(run, request) => self.run_submitted(run, request, out),
            Event::RunCancelled(run) => {
                self.known_run(run)?;
                self.stop(run, StopReason::Cancelled, true, out);
                Ok(())
            }
            Event::SetupScriptFailed(run, worker) => self.setup_script_failed(run, worker, out),
            Event::ClientAttached(run) => self.client_attached(run, true),
            Event::ClientDetached(run) => self.client_attached(run, false),
            Event::CaseStarted {
                worker,
                run,
                case,
                generation,
            } => self.case_started(worker, run, case, generation),
            Event::AttemptEnded {
                worker,
                run,
                case,
                generation,
                outcome,
                took,
            } => {
                self.leased_case(worker, run, case, generation)?;
                self.attempt_ended(worker, run, case, outcome, took, out);
                Ok(())
            }
            Event::CaseReturned {
                worker,
                run,
                case,
                generation,
            } => {
                self.leased_case(worker, run, case, generation)?;
                self.case_returned(worker, run, case, out);
                Ok(())
            }
        }
    }

    /// Lets time pass: gives up silent workers, ends waits, grants leases.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        while let Some(&(heard_at, worker)) = self.heard.first()
            && heard_at.after(self.policy.lease_ttl) <= self.now
        {
            self.remove_worker(worker, out);
        }
        for run in self.order.clone() {
            self.advance_run(run, out);
        }
        self.grant(out);
    }

    /// When to call [`advance`](Self::advance) next at the latest.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let silence = self
            .heard
            .first()
            .map(|(heard_at, _)| heard_at.after(self.policy.lease_ttl));
        let runs = self.runs.values().flat_map(|run| self.run_deadlines(run));
        silence.into_iter().chain(runs.map(|(at, _)| at)).min()
    }

    /// How many slots the workers that are connected now offer, and how many workers there are.
    pub fn capacity(&self) -> (u32, u32) {
        let slots = self
            .workers
            .values()
            .map(|worker| worker.slots)
            .fold(0, u32::saturating_add);
        (slots, u32::try_from(self.workers.len()).unwrap_or(u32::MAX))
    }

    /// The times at which something happens to a run by itself, each with what then stops it, if it does.
    fn run_deadlines(&self, run: &Run) -> impl Iterator<Item = (Timestamp, Option<StopReason>)> + use<> {
        let client_gone = run.detached_at.map(|at| at.after(self.policy.client_grace));
        let stranded = run.stranded_at.map(|at| at.after(self.policy.stranded_grace));
        let stops = [
            (run.deadline, Some(StopReason::GlobalTimeout)),
            (client_gone, Some(StopReason::Cancelled)),
            (stranded, Some(StopReason::Stranded)),
        ];
        // A run that stops by itself may still wait for a case that hangs: that wait has an end, too.
        let may_stop = run.stopping.is_none_or(|stopping| !stopping.kill_running);
        let stops = stops.into_iter().filter(|_| may_stop);
        let delayed = (run.delayed.first().map(|(at, _)| *at), None);
        stops
            .chain([delayed])
            .filter_map(|(at, stop)| at.map(|at| (at, stop)))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn advance_run(&mut self, id: RunId, out: &mut Vec<Effect>) {
        let now = self.now;
        let Some(run) = self.runs.get_mut(&id) else { return };
        while let Some(&(due, case)) = run.delayed.first()
            && due <= now
        {
            run.delayed.remove(&(due, case));
            run.enqueue(case);
        }
        self.note_stranded(id);
        let due = self
            .run_deadlines(&self.runs[&id])
            .filter(|(at, _)| *at <= now)
            .find_map(|(_, stop)| stop);
        if let Some(reason) = due {
            self.stop(id, reason, true, out);
        }
    }

    /// A run is stranded while none of its cases is out and no worker could take one.
    fn note_stranded(&mut self, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let hopeless =
            run.leased_count() == 0 && !self.workers.values().any(|worker| worker.can_take(&run.request));
        run.stranded_at = if hopeless {
            run.stranded_at.or(Some(self.now))
        } else {
            None
        };
    }

    /// Gives a case its final status.
    pub(super) fn settle(&mut self, id: RunId, case: CaseIndex, status: CaseStatus, out: &mut Vec<Effect>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.cases[case.at()].phase = Phase::Settled;
        run.settled += 1;
        if status.fails() {
            run.failures += 1;
        }
        out.push(Effect::CaseSettled {
            run: id,
            case,
            status,
        });
    }

    /// Stops a run: nothing more is started; with `kill_running` what runs is ended, too.
    pub(super) fn stop(&mut self, id: RunId, reason: StopReason, kill_running: bool, out: &mut Vec<Effect>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let stopping = super::run::Stopping { reason, kill_running };
        match run.stopping {
            Some(before) if before.kill_running || !kill_running => return,
            Some(before) => {
                run.stopping = Some(super::run::Stopping {
                    kill_running,
                    ..before
                })
            }
            None => run.stopping = Some(stopping),
        }
        let unstarted: Vec<CaseIndex> = (0..)
            .map(CaseIndex)
            .zip(&run.cases)
            .filter(|(_, state)| matches!(state.phase, Phase::Pending | Phase::Delayed(_)))
            .map(|(case, _)| case)
            .collect();
        run.queues.iter_mut().for_each(BTreeSet::clear);
        run.delayed.clear();
        run.pending_micros = 0;
        out.extend(run.held_by.keys().map(|&worker| Effect::Revoke {
            worker,
            run: id,
            kill_running,
        }));
        for case in unstarted {
            self.settle(id, case, CaseStatus::NotRun, out);
        }
        self.end_if_over(id, out);
    }

    /// Ends a run all of whose cases are settled.
    pub(super) fn end_if_over(&mut self, id: RunId, out: &mut Vec<Effect>) {
        if !self.runs.get(&id).is_some_and(Run::is_over) {
            return;
        }
        self.account_slots();
        let Some(run) = self.runs.remove(&id) else { return };
        self.order.retain(|other| *other != id);
        let took = run
            .first_grant_at
            .map_or(Duration::ZERO, |first| self.now.since(first));
        let slots = run.slot_micros.checked_div(took.as_micros()).unwrap_or(0);
        let least = u128::from(run.first_grant_at.is_some());
        out.push(Effect::RunEnded {
            run: id,
            reason: run
                .stopping
                .map_or(StopReason::Complete, |stopping| stopping.reason),
            took,
            slots: u32::try_from(slots.max(least)).unwrap_or(u32::MAX),
            workers: run.known_to.into_iter().collect(),
        });
    }

    /// Adds up, for every run, the slots that were there for it since the last time. To be called before the
    /// set of workers changes.
    pub(super) fn account_slots(&mut self) {
        for run in self.runs.values_mut() {
            if run.first_grant_at.is_some() {
                let slots: u128 = self
                    .workers
                    .values()
                    .filter(|worker| worker.can_take(&run.request))
                    .map(|worker| u128::from(worker.slots))
                    .sum();
                run.slot_micros += slots * self.now.since(run.slot_micros_to).as_micros();
            }
            run.slot_micros_to = self.now;
        }
    }

    /// The next number in [0, 1) of the scheduler's own sequence (SplitMix64).
    pub(super) fn next_random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn known_run(&self, run: RunId) -> Result<&Run, Rejected> {
        self.runs.get(&run).ok_or(Rejected::UnknownRun(run))
    }

    fn worker_cordoned(&mut self, worker: WorkerId, reason: CordonReason) -> Result<(), Rejected> {
        self.heard_of(worker)?;
        self.account_slots();
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.cordoned = Some(reason);
        }
        Ok(())
    }
}
