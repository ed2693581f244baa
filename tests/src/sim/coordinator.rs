//! The coordinator's shell around its scheduler: gathers, applies, and leaves the rest to the commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use thresh_core::id::{RunId, WorkerId};
use thresh_core::schedule::{
    CordonReason, Effect, Event, Rejected, Scheduler, Violation, Witness, WorkerProcess,
};
use thresh_core::time::Timestamp;

use super::clock::Clock;
use super::journal::Entry;
use super::ledger::violation;
use super::message::{Down, Up};
use super::step::{ConnId, Step};
use super::workload::PLATFORM;
use super::world::World;

/// What the coordinator is asked.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Said(ConnId, Up),
    /// A connection broke.
    Broken(ConnId),
    /// The client of the run with this position asks.
    Submit(usize),
    Watch(usize),
    Unwatch(usize),
    Cancel(usize),
}

/// A coordinator while it lives.
#[derive(Debug)]
pub(super) struct Coordinator {
    pub(super) epoch: u32,
    pub(super) scheduler: Scheduler,
    pub(super) clock: Clock,
    /// Watches all that is applied, durable or not yet.
    pub(super) witness: Witness,
    pub(super) inbox: VecDeque<Command>,
    /// What is being committed.
    pub(super) batch: Option<Batch>,
    pub(super) conns: BTreeMap<WorkerId, ConnId>,
    pub(super) workers: BTreeMap<ConnId, WorkerId>,
    pub(super) briefed: BTreeMap<WorkerId, BTreeSet<RunId>>,
    pub(super) watching: BTreeSet<usize>,
    pub(super) wake_at: u64,
    pub(super) last_worker: u64,
    heard: BTreeMap<WorkerId, Timestamp>,
}

/// What is applied together and committed at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) replies: Vec<(ConnId, Down)>,
}

impl Coordinator {
    pub(super) fn new(epoch: u32, scheduler: Scheduler, clock: Clock, witness: Witness) -> Self {
        Self {
            epoch,
            scheduler,
            clock,
            witness,
            inbox: VecDeque::new(),
            batch: None,
            conns: BTreeMap::new(),
            workers: BTreeMap::new(),
            briefed: BTreeMap::new(),
            watching: BTreeSet::new(),
            wake_at: u64::MAX,
            last_worker: 0,
            heard: BTreeMap::new(),
        }
    }
}

impl World<'_> {
    /// Something arrives at the coordinator.
    pub(super) fn asked(&mut self, command: Command) {
        let at = self.now + self.random.below(300);
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.inbox.push_back(command);
            if coordinator.batch.is_none() && at < coordinator.wake_at {
                coordinator.wake_at = at;
                let epoch = coordinator.epoch;
                self.push(at, Step::Take { epoch });
            }
        }
    }

    /// Takes what has arrived, lets time pass, and begins to commit.
    pub(super) fn take(&mut self) -> Result<(), Violation> {
        let Some(mut coordinator) = self.coordinator.take() else {
            return Ok(());
        };
        if coordinator.batch.is_some() || coordinator.wake_at > self.now {
            self.coordinator = Some(coordinator);
            return Ok(());
        }
        coordinator.wake_at = u64::MAX;
        let now = coordinator.clock.read(self.now);
        let mut batch = Batch::default();
        while let Some(command) = coordinator.inbox.pop_front() {
            self.command(&mut coordinator, now, command, &mut batch)?;
        }
        self.advance(&mut coordinator, now, &mut batch)?;
        self.begin_commit(coordinator, batch);
        Ok(())
    }

    fn command(
        &mut self,
        coordinator: &mut Coordinator,
        now: Timestamp,
        command: Command,
        batch: &mut Batch,
    ) -> Result<(), Violation> {
        match command {
            Command::Said(conn, Up::Hello) => self.joins(coordinator, now, conn, batch),
            Command::Said(conn, Up::Closed) | Command::Broken(conn) => {
                let Some(worker) = coordinator.workers.get(&conn).copied() else {
                    return Ok(());
                };
                self.apply(coordinator, now, Event::WorkerLeft(worker), batch)?
                    .ok();
                Ok(())
            }
            Command::Said(conn, said) => match coordinator.workers.get(&conn).copied() {
                Some(worker) => self.said(coordinator, now, (worker, conn), said, batch),
                None => Ok(()),
            },
            Command::Submit(at) => {
                let (run, request) = (self.drawn.runs[at].run, self.drawn.runs[at].request.clone());
                if !self.journal.knows(run)
                    && self
                        .apply(coordinator, now, Event::RunSubmitted(run, request), batch)?
                        .is_ok()
                {
                    self.apply(coordinator, now, Event::ClientDetached(run), batch)?
                        .ok();
                }
                Ok(())
            }
            Command::Watch(at) => {
                coordinator.watching.insert(at);
                let event = Event::ClientAttached(self.drawn.runs[at].run);
                self.apply(coordinator, now, event, batch)?.ok();
                Ok(())
            }
            Command::Unwatch(at) => {
                coordinator.watching.remove(&at);
                let event = Event::ClientDetached(self.drawn.runs[at].run);
                self.apply(coordinator, now, event, batch)?.ok();
                Ok(())
            }
            Command::Cancel(at) => {
                let event = Event::RunCancelled(self.drawn.runs[at].run);
                self.apply(coordinator, now, event, batch)?.ok();
                Ok(())
            }
        }
    }

    fn joins(
        &mut self,
        coordinator: &mut Coordinator,
        now: Timestamp,
        conn: ConnId,
        batch: &mut Batch,
    ) -> Result<(), Violation> {
        if coordinator.workers.contains_key(&conn) {
            return Ok(());
        }
        let at = self.network.conn(conn).machine;
        let (spec, process) = (&self.machines[at].spec, self.machines[at].process(at));
        let process = (!spec.nameless).then_some(WorkerProcess {
            id: process,
            connection: conn,
        });
        let worker = WorkerId(coordinator.last_worker + 1);
        let event = Event::WorkerJoined {
            worker,
            slots: spec.slots,
            cpus: spec.cpus,
            platform: PLATFORM.to_owned(),
            in_place: spec.in_place,
            process,
        };
        coordinator.conns.insert(worker, conn);
        coordinator.workers.insert(conn, worker);
        if self.apply(coordinator, now, event, batch)?.is_err() {
            coordinator.conns.remove(&worker);
            coordinator.workers.remove(&conn);
            return Ok(());
        }
        coordinator.last_worker = worker.0;
        coordinator.heard.insert(worker, now);
        batch.replies.push((conn, Down::Welcome(worker)));
        Ok(())
    }

    fn said(
        &mut self,
        coordinator: &mut Coordinator,
        now: Timestamp,
        (worker, conn): (WorkerId, ConnId),
        said: Up,
        batch: &mut Batch,
    ) -> Result<(), Violation> {
        let mut tell = |world: &mut Self, event| -> Result<bool, Violation> {
            let accepted = world.apply(coordinator, now, event, batch)?.is_ok();
            if let Some(heard) = coordinator.heard.get_mut(&worker).filter(|_| accepted) {
                *heard = now;
            }
            Ok(accepted)
        };
        match said {
            Up::Hello | Up::Closed => {}
            Up::Heartbeat(sent) => {
                let weather = &self.network.weather[self.network.conn(conn).machine];
                let round_trip = Some(std::time::Duration::from_micros(2 * weather.delay));
                if tell(self, Event::WorkerHeartbeat { worker, round_trip })? {
                    batch.replies.push((conn, Down::Heartbeat(sent)));
                }
            }
            Up::Cordon(reason) => {
                self.count(match reason {
                    CordonReason::Drain => "cordoned: drain",
                    CordonReason::DiskFull => "cordoned: disk full",
                    CordonReason::Fault => "cordoned: fault",
                });
                tell(self, Event::WorkerCordoned(worker, reason))?;
            }
            Up::Started(grant) => {
                let (run, case, generation) = (grant.run, grant.case, grant.generation);
                let event = Event::CaseStarted {
                    worker,
                    run,
                    case,
                    generation,
                };
                tell(self, event)?;
            }
            Up::Ended(grant, outcome, took) => {
                let event = Event::AttemptEnded {
                    worker,
                    run: grant.run,
                    case: grant.case,
                    generation: grant.generation,
                    outcome,
                    took,
                };
                tell(self, event)?;
            }
            Up::Returned(run, cases) => {
                for (case, generation) in cases {
                    let event = Event::CaseReturned {
                        worker,
                        run,
                        case,
                        generation,
                    };
                    tell(self, event)?;
                }
            }
            Up::SetupFailed(run) => {
                tell(self, Event::SetupScriptFailed(run, worker))?;
            }
        }
        Ok(())
    }

    /// Applies one event, and has everything checked that can be.
    pub(super) fn apply(
        &mut self,
        coordinator: &mut Coordinator,
        now: Timestamp,
        event: Event,
        batch: &mut Batch,
    ) -> Result<Result<(), Rejected>, Violation> {
        let mut effects = Vec::new();
        let result = coordinator.scheduler.apply(now, event.clone(), &mut effects);
        match &result {
            Ok(()) => {
                self.note(|| format!("  accepts {}", brief(&event)));
                coordinator.witness.accepted(&event)?;
                batch.entries.push(Entry::Event(event));
                self.watch(coordinator, effects, batch)?;
            }
            Err(rejected) => {
                self.note(|| format!("  refuses {}: {rejected}", brief(&event)));
                self.count(word(rejected));
                coordinator.witness.refused(&event)?;
                if !effects.is_empty() {
                    return violation("refused-event-changes-nothing", || {
                        format!("{event:?} had {effects:?}")
                    });
                }
            }
        }
        if self.looks_inside {
            coordinator.scheduler.check_invariants()?;
        }
        Ok(result)
    }

    fn advance(
        &mut self,
        coordinator: &mut Coordinator,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<(), Violation> {
        let mut effects = Vec::new();
        coordinator.scheduler.advance(now, &mut effects);
        self.watch(coordinator, effects, batch)?;
        if self.looks_inside {
            coordinator.scheduler.check_invariants()?;
        }
        let ttl = self.drawn.policy.lease_ttl;
        let silent = coordinator
            .heard
            .iter()
            .find(|(_, heard)| heard.after(ttl) <= now);
        match silent {
            Some((worker, heard)) => violation("silent-worker-is-given-up", || {
                format!("{worker} was heard at {heard}, it is {now}, and it has its leases")
            }),
            None => Ok(()),
        }
    }

    fn watch(
        &mut self,
        coordinator: &mut Coordinator,
        effects: Vec<Effect>,
        batch: &mut Batch,
    ) -> Result<(), Violation> {
        for effect in effects {
            self.note(|| format!("    {effect:?}"));
            coordinator.witness.effect(&effect)?;
            if let Effect::WorkerLost { worker, .. } = &effect {
                coordinator.heard.remove(worker);
            }
            batch.entries.push(Entry::Effect(effect));
        }
        Ok(())
    }
}

fn word(rejected: &Rejected) -> &'static str {
    match rejected {
        Rejected::UnknownWorker(_) => "refused: a worker that was given up",
        Rejected::UnknownRun(_) => "refused: a run that has ended",
        Rejected::Stale { .. } => "refused: stale",
        Rejected::DuplicateRun(_) => "refused: a run that is known",
        _ => "refused: malformed",
    }
}

/// An event in a line, without the whole request.
fn brief(event: &Event) -> String {
    match event {
        Event::RunSubmitted(run, request) => {
            format!(
                "RunSubmitted(run {}, {} cases)",
                run.as_u128(),
                request.cases.len()
            )
        }
        Event::RunRestored { run, recovery, .. } => {
            format!("RunRestored(run {}, {recovery:?})", run.as_u128())
        }
        event => format!("{event:?}"),
    }
}
