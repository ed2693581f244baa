//! Workers come, are heard, and go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::effect::{Effect, GrantReason, LossCause};
use super::event::{CordonReason, Rejected};
use super::mutation::Mutation;
use super::process::WorkerProcess;
use super::run::{Leased, Phase};
use super::scheduler::Scheduler;
use super::worker::{Place, Worker};
use crate::id::{CaseIndex, RunId, WorkerId};
use crate::outcome::Outcome;
use crate::verdict::CaseStatus;

/// No round trip is believed to be longer.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);

/// What a worker says of itself when it joins.
pub(super) struct Joining {
    pub(super) slots: u32,
    pub(super) cpus: u32,
    pub(super) in_place: bool,
    pub(super) process: Option<WorkerProcess>,
}

impl Scheduler {
    pub(super) fn worker_joined(
        &mut self,
        id: WorkerId,
        joining: Joining,
        platform: &str,
        out: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        let Joining {
            slots,
            cpus,
            in_place,
            process,
        } = joining;
        if self.workers.contains_key(&id) {
            return Err(Rejected::DuplicateWorker(id));
        }
        if slots == 0 || slots > self.policy.slots_max {
            return Err(Rejected::Slots {
                slots,
                max: self.policy.slots_max,
            });
        }
        if let Some(old) = process.filter(|process| self.processes.has_had(*process)) {
            return Err(Rejected::OldConnection {
                connection: old.connection,
            });
        }
        if let Some(process) = process {
            let returned = self.processes.joined(process, id);
            if let Some(older) = returned.older {
                // The process ended all that ran there when it gave the connection up.
                self.remove_worker(older, LossCause::Replaced, out);
            }
            self.forgive(returned.ran);
        }
        self.account_slots();
        let class = self.class_of(in_place, platform);
        let worker = Worker {
            slots,
            cpus,
            process,
            class,
            cordoned: None,
            heard_at: self.now,
            listed_at: self.now,
            round_trip: Duration::ZERO,
            held: BTreeSet::new(),
            waiting: BTreeSet::new(),
            held_weight: 0,
            held_micros: 0,
            unstarted_micros: 0,
            suspects: 0,
            holds: BTreeSet::new(),
            place: Place::default(),
        };
        self.workers.insert(id, worker);
        self.heard.insert((self.now, id));
        let class = self.class_mut(class);
        class.workers += 1;
        class.slots += u64::from(slots);
        self.reindex(id);
        Ok(())
    }

    pub(super) fn worker_heartbeat(
        &mut self,
        id: WorkerId,
        round_trip: Option<Duration>,
    ) -> Result<(), Rejected> {
        self.heard_of(id)?;
        if let Some(round_trip) = round_trip
            && let Some(worker) = self.workers.get_mut(&id)
        {
            worker.round_trip = round_trip.min(ROUND_TRIP_MAX);
            self.reindex(id);
        }
        Ok(())
    }

    pub(super) fn heard_of(&mut self, id: WorkerId) -> Result<(), Rejected> {
        let worker = self.workers.get_mut(&id).ok_or(Rejected::UnknownWorker(id))?;
        worker.heard_at = self.now;
        Ok(())
    }

    /// Gives up the workers that were not heard for too long. A worker's place in the list is put right only
    /// here, when it comes up: once in a time to live, not at every word from it.
    pub(super) fn give_up_silent_workers(&mut self, out: &mut Vec<Effect>) {
        while let Some(&(listed_at, id)) = self.heard.first()
            && listed_at.after(self.policy.lease_ttl) <= self.now
            && !self.mutated(Mutation::KeepSilentWorkers)
        {
            match self.workers.get_mut(&id) {
                Some(worker) if worker.heard_at > listed_at => {
                    worker.listed_at = worker.heard_at;
                    self.heard.remove(&(listed_at, id));
                    self.heard.insert((worker.listed_at, id));
                }
                _ => self.remove_worker(id, LossCause::Silent, out),
            }
        }
    }

    pub(super) fn worker_cordoned(&mut self, id: WorkerId, reason: CordonReason) -> Result<(), Rejected> {
        self.heard_of(id)?;
        self.account_slots();
        let Some(worker) = self.workers.get_mut(&id) else {
            return Ok(());
        };
        let (class, slots, first) = (worker.class, worker.slots, worker.cordoned.is_none());
        worker.cordoned = Some(reason);
        if first {
            let class = self.class_mut(class);
            class.workers -= 1;
            class.slots -= u64::from(slots);
        }
        self.reindex(id);
        Ok(())
    }

    pub(super) fn worker_left(&mut self, id: WorkerId, out: &mut Vec<Effect>) -> Result<(), Rejected> {
        self.workers.get(&id).ok_or(Rejected::UnknownWorker(id))?;
        self.remove_worker(id, LossCause::Left, out);
        Ok(())
    }

    /// Removes a worker; what it held goes back to the queue. One that fell silent may be cut off, or its machine
    /// may be gone, and one that has connected again is there: that says nothing of what it ran.
    pub(super) fn remove_worker(&mut self, id: WorkerId, cause: LossCause, out: &mut Vec<Effect>) {
        let silent = cause != LossCause::Left;
        self.account_slots();
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let (leaving, process) = (worker.cordoned.is_some(), worker.process);
        if let Some(process) = process {
            let ran = if leaving || silent {
                Vec::new()
            } else {
                self.running_on(worker, id)
            };
            self.processes.left(process, ran);
        }
        let held: Vec<(RunId, CaseIndex)> = worker.held.iter().copied().collect();
        let mut requeued: BTreeMap<RunId, u32> = BTreeMap::new();
        for (run, case) in held {
            if self.lose(id, (leaving, silent), run, case, out) {
                *requeued.entry(run).or_default() += 1;
            }
        }
        for run in self.runs.values_mut() {
            run.known_to.remove(&id);
        }
        if let Some(worker) = self.workers.remove(&id) {
            self.heard.remove(&(worker.listed_at, id));
            self.unindex(id, worker.class, worker.place);
            if !leaving {
                let class = self.class_mut(worker.class);
                class.workers -= 1;
                class.slots -= u64::from(worker.slots);
            }
        }
        out.push(Effect::WorkerLost {
            worker: id,
            cause,
            requeued: requeued.into_iter().collect(),
        });
    }

    fn running_on(&self, worker: &Worker, id: WorkerId) -> Vec<(RunId, CaseIndex)> {
        let runs = |&(run, case): &(RunId, CaseIndex)| {
            let copy = self.copy_at(id, run, case);
            copy.is_some_and(|copy| copy.started_at.is_some())
        };
        worker.held.iter().copied().filter(runs).collect()
    }

    /// A process is there: what ran when its connection ended before did not take it down.
    fn forgive(&mut self, ran: Vec<(RunId, CaseIndex)>) {
        for (id, case) in ran {
            let Some(run) = self.runs.get_mut(&id) else {
                continue;
            };
            // Another run may have come under the same id.
            let Some(state) = run.cases.get_mut(case.at()) else {
                continue;
            };
            if state.phase != Phase::Settled && state.losses > 0 {
                state.losses -= 1;
                run.suspects -= u32::from(state.losses == 0);
            }
        }
    }

    /// Handles a held case whose worker went. Returns whether it went back to the queue.
    fn lose(
        &mut self,
        worker: WorkerId,
        (leaving, silent): (bool, bool),
        id: RunId,
        case: CaseIndex,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(leased) = self.copy_at(worker, id, case) else {
            return false;
        };
        let another = self.release(id, case, leased, None);
        let forgets_losses = self.mutated(Mutation::ForgetLosses);
        let forgets = self.mutated(Mutation::ForgetRequeue);
        let (losses_max, others_max) = (self.policy.losses_max, self.policy.other_losses_max);
        let Some(run) = self.runs.get_mut(&id) else {
            return false;
        };
        let state = &mut run.cases[case.at()];
        let was_running = leased.started_at.is_some();
        // A worker that said that it is leaving was not taken down by what it ran.
        match was_running && !silent {
            _ if leaving => {}
            true if forgets_losses => {}
            true => {
                state.losses += 1;
                run.suspects += u32::from(state.losses == 1);
            }
            false => state.other_losses += 1,
        }
        let took_workers = state.losses >= losses_max;
        let hopeless = took_workers || state.other_losses >= others_max;
        let (attempt, stopping) = (state.attempt, run.stopping.is_some());
        if another && !took_workers {
            return false;
        }
        let requeue = !hopeless && !stopping;
        let outcome = if took_workers {
            Outcome::TookWorker
        } else {
            Outcome::Lost
        };
        let decided = !requeue && !stopping;
        if was_running || decided {
            out.push(Effect::AttemptAccepted {
                run: id,
                case,
                attempt,
                worker,
                outcome: outcome.clone(),
                took: leased.started_at.map_or(Duration::ZERO, |at| self.now.since(at)),
                retry_in: requeue.then_some(Duration::ZERO),
            });
        }
        if requeue {
            run.cases[case.at()].again = Some(GrantReason::Lost);
            if !forgets {
                run.enqueue(case);
            }
        } else if was_running || decided {
            if another {
                self.cancel_copies(id, case, out);
            }
            self.settle_last(id, case, attempt, outcome, out);
        } else {
            self.settle(id, case, CaseStatus::NotRun, out);
            self.end_if_over(id, out);
        }
        requeue
    }

    /// The copy of a case that a worker holds.
    pub(super) fn copy_at(&self, worker: WorkerId, id: RunId, case: CaseIndex) -> Option<Leased> {
        let run = self.runs.get(&id)?;
        run.copies(case).find(|leased| leased.worker == worker)
    }
}
