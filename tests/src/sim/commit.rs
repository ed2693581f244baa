//! The group commit, what leaves the coordinator after it, and what happens when it is cut short.

use thresh_core::id::{RunId, WorkerId};
use thresh_core::schedule::{CaseGrant, Effect, Event, Violation};
use thresh_core::session::LeasedCase;
use thresh_core::time::Timestamp;

use super::clock::Clock;
use super::coordinator::{Batch, Coordinator};
use super::journal::Entry;
use super::message::{Down, Grant, Message};
use super::step::{ProcessId, Step};
use super::world::World;

impl World<'_> {
    /// Starts the first coordinator, or the next one from what is durable.
    pub(super) fn coordinator_starts(&mut self) -> Result<(), Violation> {
        self.epoch += 1;
        let epoch = self.epoch;
        let scheduler = (self.make)(self.drawn.policy.clone(), self.seed, epoch);
        let shows = self.now + self.random.below(1_000_000);
        let clock = Clock::new(
            self.now,
            shows,
            self.random.pick(&[1_000_000, 1_001_000, 999_000]),
        );
        self.ledger.blame_nobody();
        let mut coordinator = Coordinator::new(epoch, scheduler, clock, self.durable.clone());
        self.note(|| format!("coordinator {epoch} starts"));
        let now = coordinator.clock.read(self.now);
        let mut batch = Batch::default();
        for event in self.journal.restore() {
            if let Event::RunRestored { .. } = event {
                self.count("coordinator: a run goes on");
            }
            // A run that is over at once is not there to be cancelled.
            self.apply(&mut coordinator, now, event, &mut batch)?.ok();
        }
        self.begin_commit(coordinator, batch);
        Ok(())
    }

    pub(super) fn begin_commit(&mut self, mut coordinator: Coordinator, batch: Batch) {
        let heartbeat = |entry: &Entry| matches!(entry, Entry::Event(Event::WorkerHeartbeat { .. }));
        let epoch = coordinator.epoch;
        if batch.entries.iter().all(heartbeat) {
            self.coordinator = Some(coordinator);
            for (conn, reply) in batch.replies {
                self.send(conn, Message::Down(reply));
            }
            return self.wake_coordinator();
        }
        coordinator.batch = Some(batch);
        self.coordinator = Some(coordinator);
        let took = self.random.within(100, 4_000) + std::mem::take(&mut self.stall);
        if let Some(down) = self.crash_in_commit.take_if(|_| !self.calm) {
            let at = self.now + self.random.below(took);
            self.push(at, Step::Crash { epoch, down });
        }
        self.push(self.now + took, Step::Committed { epoch });
    }

    fn wake_coordinator(&mut self) {
        let now = self.now;
        let Some(coordinator) = &mut self.coordinator else {
            return;
        };
        let due = coordinator
            .scheduler
            .next_deadline()
            .map(|at| coordinator.clock.shows(now, at));
        let due = due.unwrap_or(u64::MAX).max(now + 1);
        let due = if coordinator.inbox.is_empty() {
            due
        } else {
            now + 1
        };
        if due < coordinator.wake_at {
            coordinator.wake_at = due;
            let epoch = coordinator.epoch;
            self.push(due, Step::Take { epoch });
        }
    }

    /// A batch is durable: its effects leave.
    pub(super) fn committed(&mut self) -> Result<(), Violation> {
        let Some(batch) = self
            .coordinator
            .as_mut()
            .and_then(|coordinator| coordinator.batch.take())
        else {
            return Ok(());
        };
        self.endure(&batch)?;
        for (conn, reply) in batch.replies {
            self.send(conn, Message::Down(reply));
        }
        for entry in batch.entries {
            if let Entry::Effect(effect) = entry {
                self.carry_out(effect);
            }
        }
        self.wake_coordinator();
        Ok(())
    }

    /// Makes a batch durable, and notes what that means.
    fn endure(&mut self, batch: &Batch) -> Result<(), Violation> {
        for entry in &batch.entries {
            if let Entry::Effect(Effect::WorkerLost { worker, .. }) = entry
                && let Some(conn) = self.conn_of(*worker)
            {
                self.ledger.lost_with(conn);
            }
        }
        let clock = self.coordinator.as_ref().map(|coordinator| &coordinator.clock);
        let at = clock.map_or_else(Timestamp::default, |clock| clock.read(self.now));
        for entry in &batch.entries {
            self.journal.absorb(at, entry);
            match entry {
                Entry::Event(event) => self.event_endures(event)?,
                Entry::Effect(effect) => self.effect_endures(effect)?,
            }
        }
        for entry in &batch.entries {
            if let Entry::Effect(Effect::CaseSettled { run, case, .. }) = entry {
                self.ledger.has_no_lease(*run, *case)?;
            }
        }
        Ok(())
    }

    fn event_endures(&mut self, event: &Event) -> Result<(), Violation> {
        self.durable.accepted(event)?;
        match event {
            Event::CaseStarted {
                run,
                case,
                generation,
                ..
            } => self.ledger.said_started(Grant {
                run: *run,
                case: *case,
                generation: *generation,
            }),
            Event::WorkerJoined { worker, process, .. } => {
                if let Some((conn, process)) = self.conn_of(*worker).zip(*process) {
                    self.ledger.is_there(conn, process.id);
                }
            }
            Event::WorkerCordoned(worker, _) => {
                if let Some(conn) = self.conn_of(*worker) {
                    self.ledger.leaves(conn);
                }
            }
            Event::WorkerLeft(worker) => {
                if let Some(conn) = self.conn_of(*worker) {
                    self.ledger.blame(conn);
                }
            }
            _ => {}
        }
        if let Event::AttemptEnded {
            run,
            case,
            generation,
            ..
        }
        | Event::CaseReturned {
            run,
            case,
            generation,
            ..
        } = event
        {
            let grant = Grant {
                run: *run,
                case: *case,
                generation: *generation,
            };
            let left = self.ledger.lease_over(grant, self.now);
            self.look_for(left);
        }
        Ok(())
    }

    fn effect_endures(&mut self, effect: &Effect) -> Result<(), Violation> {
        self.durable.effect(effect)?;
        let now = self.now;
        match effect {
            Effect::Grant {
                worker, run, cases, ..
            } => {
                let Some(conn) = self.conn_of(*worker) else {
                    return Ok(());
                };
                for grant in cases {
                    self.count(&format!("granted: {}", grant.reason.word()));
                    let grant = Grant {
                        run: *run,
                        case: grant.case,
                        generation: grant.generation,
                    };
                    self.ledger.may_be_granted(grant)?;
                    self.ledger.granted(conn, grant);
                }
            }
            Effect::Revoke { cases, .. } => self.count(match cases.is_empty() {
                true => "revoked: a run's cases",
                false => "revoked: single cases",
            }),
            Effect::AttemptAccepted { outcome, .. } => self.count(&format!("attempt: {}", outcome.word())),
            Effect::CopyCancelled {
                run,
                case,
                generation,
                ..
            } => {
                self.count("a copy is cancelled");
                let grant = Grant {
                    run: *run,
                    case: *case,
                    generation: *generation,
                };
                let left = self.ledger.lease_over(grant, now);
                self.look_for(left);
            }
            Effect::CaseSettled { run, case, status } => {
                self.count(&format!("settled: {}", status.word()));
                let at = self.at_of(*run);
                self.ledger
                    .settled(&self.drawn.runs[at].request, *run, *case, status)?;
            }
            Effect::RunStopping { reason, .. } => self.count(&format!("run stops: {reason:?}")),
            Effect::RunEnded { run, reason, .. } => {
                self.count(&format!("run ended: {reason:?}"));
                self.note(|| format!("run {} ends: {reason:?}", run.as_u128()));
                self.ledger.run_ended(*run, *reason)?;
                let left = self.ledger.all_over(Some(*run), now);
                self.look_for(left);
            }
            Effect::WorkerLost { worker, .. } => {
                self.count("a worker is lost");
                if let Some(conn) = self.conn_of(*worker) {
                    let left = self.ledger.worker_over(conn, now);
                    self.look_for(left);
                }
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Grant {
                worker, run, cases, ..
            } => self.grant(worker, run, &cases),
            Effect::Revoke {
                worker,
                run,
                cases,
                kill_running,
            } => {
                if let Some(conn) = self.conn_of(worker) {
                    let revoke = Down::Revoke {
                        run,
                        cases,
                        kill_running,
                    };
                    self.send(conn, Message::Down(revoke));
                }
            }
            Effect::RunEnded { run, workers, .. } => {
                for worker in workers {
                    if let Some(conn) = self.conn_of(worker) {
                        self.send(conn, Message::Down(Down::Forget(run)));
                    }
                }
            }
            Effect::WorkerLost { worker, .. } => {
                if let Some(conn) = self.conn_of(worker) {
                    self.send(conn, Message::Down(Down::Closed));
                    self.network.conn_mut(conn).coordinator_open = false;
                }
            }
            Effect::RunStopping { .. }
            | Effect::AttemptAccepted { .. }
            | Effect::CopyCancelled { .. }
            | Effect::CaseSettled { .. } => {}
        }
    }

    fn grant(&mut self, worker: WorkerId, run: RunId, cases: &[CaseGrant]) {
        let request = self.request(run);
        let leased = cases.iter().map(|grant| LeasedCase {
            case: grant.case,
            generation: grant.generation,
            binary: request.cases[grant.case.at()].binary,
            weight: grant.weight,
        });
        let leased = leased.collect();
        let Some(conn) = self.conn_of(worker) else { return };
        let briefed = self
            .coordinator
            .as_mut()
            .map(|coordinator| &mut coordinator.briefed);
        if briefed.is_some_and(|briefed| briefed.entry(worker).or_default().insert(run)) {
            self.send(conn, Message::Down(Down::Brief(run)));
        }
        self.send(conn, Message::Down(Down::Lease(run, leased)));
    }

    fn conn_of(&self, worker: WorkerId) -> Option<u64> {
        self.coordinator.as_ref()?.conns.get(&worker).copied()
    }

    /// Looks for processes when they must be gone.
    pub(super) fn look_for(&mut self, left: impl IntoIterator<Item = (ProcessId, u64)>) {
        for (process, at) in left {
            self.push(at, Step::Reap(process));
        }
    }

    /// Kills the coordinator. What it was committing is lost, or only the effects are.
    pub(super) fn coordinator_crashes(&mut self, down: u64) {
        if self.coordinator.is_none() {
            return;
        }
        self.count("fault: the coordinator crashes");
        let batch = self
            .coordinator
            .as_mut()
            .and_then(|coordinator| coordinator.batch.take());
        if let Some(batch) = batch {
            if self.random.chance(500) {
                self.count("coordinator: crashed before a commit");
            } else {
                self.count("coordinator: crashed after a commit, before its effects");
                self.broken = self.endure(&batch).err();
            }
        }
        self.coordinator = None;
        let left = self.ledger.all_over(None, self.now);
        self.look_for(left);
        for conn in self.network.open_conns(None) {
            let noticed = self.random.chance(700);
            self.cut(conn, noticed, false);
            self.network.conn_mut(conn).coordinator_open = false;
        }
        self.push(self.now + down.max(1_000), Step::Restart);
    }
}
