//! The scheduler's state and its few verbs.

use std::collections::{BTreeMap, BTreeSet};

use super::class::Class;
use super::effect::{Effect, StopReason};
use super::event::{Event, Rejected};
#[cfg(feature = "mutations")]
use super::mutation::Mutation;
use super::policy::Policy;
use super::process::Processes;
use super::run::Run;
use super::share::Shares;
use super::worker::Worker;
use super::workers::Joining;
use crate::id::{Generation, RunId, WorkerId};
use crate::time::Timestamp;

/// Decides which worker runs which case, and when. See the [module](super).
#[derive(Debug)]
pub struct Scheduler {
    pub(super) policy: Policy,
    pub(super) now: Timestamp,
    pub(super) runs: BTreeMap<RunId, Run>,
    /// The runs in the order of their submission.
    pub(super) order: Vec<RunId>,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) classes: Vec<Class>,
    pub(super) shares: Shares,
    /// Workers by the time of a sign of life, not always of the last.
    pub(super) heard: BTreeSet<(Timestamp, WorkerId)>,
    pub(super) processes: Processes,
    pub(super) next_lease: u64,
    pub(super) generation: Generation,
    random: u64,
    #[cfg(feature = "mutations")]
    pub(super) mutation: Option<Mutation>,
}

impl Scheduler {
    /// Starts with no runs and no workers. `seed` feeds the jitter of retry delays. `epoch` tells this
    /// coordinator from those that used the same store before: leases and generations of different epochs
    /// differ.
    pub fn new(policy: Policy, seed: u64, epoch: u32) -> Self {
        let generation = Generation::before_epoch(epoch);
        Self {
            policy,
            now: Timestamp::default(),
            runs: BTreeMap::new(),
            order: Vec::new(),
            workers: BTreeMap::new(),
            classes: Vec::new(),
            shares: Shares::default(),
            heard: BTreeSet::new(),
            processes: Processes::default(),
            next_lease: generation.0 + 1,
            generation,
            random: seed,
            #[cfg(feature = "mutations")]
            mutation: None,
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
                process,
            } => {
                let joining = Joining {
                    slots,
                    cpus,
                    in_place,
                    process,
                };
                self.worker_joined(worker, joining, &platform, out)
            }
            Event::WorkerHeartbeat { worker, round_trip } => self.worker_heartbeat(worker, round_trip),
            Event::WorkerLeft(worker) => self.worker_left(worker, out),
            Event::WorkerCordoned(worker, reason) => self.worker_cordoned(worker, reason),
            Event::RunSubmitted(run, request) => self.run_submitted(run, request, out),
            Event::RunRestored {
                run,
                request,
                recovery,
            } => self.run_restored(run, request, recovery, out),
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
                let leased = self.leased_case(worker, run, case, generation)?;
                self.attempt_ended(run, case, leased, outcome, took, out);
                Ok(())
            }
            Event::CaseReturned {
                worker,
                run,
                case,
                generation,
            } => {
                let leased = self.leased_case(worker, run, case, generation)?;
                self.case_returned(run, case, leased, out);
                Ok(())
            }
        }
    }

    /// Lets time pass: gives up silent workers, ends waits, grants leases.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        self.give_up_silent_workers(out);
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
            .map(|(listed_at, _)| listed_at.after(self.policy.lease_ttl));
        let runs = self
            .runs
            .values()
            .filter_map(|run| self.run_deadline(run))
            .chain(self.runs.values().filter_map(|run| self.hedge_deadline(run)));
        silence.into_iter().chain(runs).min()
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

    pub(super) fn known_run(&self, run: RunId) -> Result<&Run, Rejected> {
        self.runs.get(&run).ok_or(Rejected::UnknownRun(run))
    }

    /// The next number in [0, 1) of the scheduler's own sequence (SplitMix64).
    pub(super) fn next_random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
