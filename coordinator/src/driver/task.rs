//! The driver's loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use thresh_core::id::{RunId, WorkerId};
use thresh_core::schedule::{Effect, Event, Policy, Rejected, Scheduler};
use thresh_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::command::{Command, Measured, Reply};
use super::handle::Handle;
use super::link::Link;
use super::outlet::{Departure, Outlet, Turn};
use super::refusal::Refusal;
use super::run_state::RunState;
use crate::clock::Clock;
use crate::recorder::Recorder;
use crate::restore::RestoredRun;
use crate::store::JournalEntry;

/// The most commands that are taken at one reading of the clock; also how many can wait, so that a sender
/// that is faster than the driver is slowed down, and with it the connection that it reads from.
const BATCH_MAX: usize = 1_024;

/// Followers are woken no more often, so that the events of very short cases share messages.
const NEWS_PACE: Duration = Duration::from_millis(20);

/// How long to sleep when nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// How long shutting down waits until what was decided is in the journal. What is not never left, and is decided
/// anew.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(10);

/// How long it waits until the history is written, whose last moments the next coordinator records once more.
const LAST_RECORD_MAX: Duration = Duration::from_secs(30);

/// Owns the scheduler, and what belongs to runs and workers besides.
pub(super) struct Driver {
    pub(super) scheduler: Scheduler,
    pub(super) policy: Policy,
    pub(super) version: String,
    pub(super) runs: BTreeMap<RunId, RunState>,
    pub(super) links: BTreeMap<WorkerId, Link>,
    pub(super) last_worker: u64,
    pub(super) recorder: Recorder,
    pub(super) outlet: Outlet,
    /// What this turn of the loop leads to.
    pub(super) departures: Vec<Departure>,
    /// Runs of this turn for the journal, and ends.
    pub(super) submitted: Vec<JournalEntry>,
    pub(super) closed: Vec<JournalEntry>,
    /// Of the attempt whose end is just being told to the scheduler.
    pub(super) measured: Option<Measured>,
    /// Reports that were refused, except those about runs that have ended.
    pub(super) stale_reports: Arc<AtomicU64>,
    clock: Clock,
    effects: Vec<Effect>,
    /// When followers may be woken again.
    news_at: Timestamp,
}

/// What a driver is started with.
pub(crate) struct Start {
    pub(crate) policy: Policy,
    /// The program's version, for messages.
    pub(crate) version: String,
    pub(crate) seed: u64,
    pub(crate) epoch: u32,
    pub(crate) clock: Clock,
    pub(crate) recorder: Recorder,
    pub(crate) outlet: Outlet,
    /// Runs of an earlier coordinator, in the order in which they were submitted.
    pub(crate) restored: Vec<RestoredRun>,
}

/// Starts the driver. It ends on [`Handle::shutdown`], or when no handle is left. Returns with it the count of
/// stale reports.
pub(crate) fn start(start: Start) -> (Handle, Arc<AtomicU64>) {
    let Start {
        policy,
        version,
        seed,
        epoch,
        clock,
        recorder,
        outlet,
        restored,
    } = start;
    let (commands, inbox) = mpsc::channel(BATCH_MAX);
    let stale_reports = Arc::new(AtomicU64::new(0));
    let handle = Handle::new(commands, outlet.is_journaled());
    let mut driver = Driver {
        scheduler: Scheduler::new(policy.clone(), seed, epoch),
        policy,
        version,
        runs: BTreeMap::new(),
        links: BTreeMap::new(),
        last_worker: 0,
        recorder,
        outlet,
        departures: Vec::new(),
        submitted: Vec::new(),
        closed: Vec::new(),
        measured: None,
        stale_reports: stale_reports.clone(),
        clock,
        effects: Vec::new(),
        news_at: Timestamp::from_micros(0),
    };
    for run in restored {
        driver.restore(clock.now(), run);
    }
    tokio::spawn(driver.run(inbox));
    (handle, stale_reports)
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut batch = Vec::new();
        // What restored runs led to.
        self.depart();
        loop {
            tokio::select! {
                count = inbox.recv_many(&mut batch, BATCH_MAX) => if count == 0 { break },
                () = sleep_until(self.wake_at()) => {}
            }
            let now = self.clock.now();
            let mut ending = None;
            for command in batch.drain(..) {
                if let Command::Shutdown { orderly, reply } = command {
                    ending = Some((orderly, reply));
                } else {
                    self.take(now, command);
                }
            }
            self.advance(now);
            self.depart();
            if let Some((orderly, reply)) = ending {
                self.end(orderly, reply).await;
                return;
            }
        }
    }

    fn take(&mut self, now: Timestamp, command: Command) {
        match command {
            Command::Submit(submission, encoded, reply) => {
                let submitted = self.submit(now, *submission, encoded);
                self.answer_durably(reply, submitted);
            }
            Command::Cancel(run, reply) => {
                let cancelled = self.cancel(now, run);
                self.answer_durably(reply, cancelled);
            }
            Command::Watch(run, reply) => answer(reply, self.watch(now, run)),
            Command::Unwatch(run) => self.unwatch(now, run),
            Command::Confirm(run, confirmed, reply) => self.confirm(run, &confirmed, reply),
            Command::Join(profile, outbound, reply) => answer(reply, self.join(now, profile, outbound)),
            Command::Said(worker, said) => self.said(now, worker, said),
            Command::Leave(worker) => self.leave(now, worker),
            Command::Capacity(of, reply) => answer(reply, Ok(self.capacity(of))),
            Command::OldestRun(reply) => answer(reply, Ok(self.oldest_run())),
            // Taken out before, since it ends the loop.
            Command::Shutdown { reply, .. } => answer(reply, Ok(())),
        }
    }

    /// Tells of what was done once it is durable, also that it was done before; of any other refusal at once.
    fn answer_durably(&mut self, reply: Reply<()>, result: Result<(), Refusal>) {
        match result {
            Ok(()) | Err(Refusal::Rejected(Rejected::DuplicateRun(_))) => {
                self.departures.push(Departure::Answer(reply, result));
            }
            refused => answer(reply, refused),
        }
    }

    /// Tells the scheduler, and does what it says.
    pub(super) fn apply(&mut self, now: Timestamp, event: Event) -> Result<(), Rejected> {
        let mut effects = std::mem::take(&mut self.effects);
        let result = self.scheduler.apply(now, event, &mut effects);
        self.carry_out(now, effects);
        result
    }

    fn advance(&mut self, now: Timestamp) {
        let mut effects = std::mem::take(&mut self.effects);
        self.scheduler.advance(now, &mut effects);
        self.carry_out(now, effects);
        #[cfg(debug_assertions)]
        if let Err(violation) = self.scheduler.check_invariants() {
            panic!("the scheduler is broken: {violation}");
        }
        if now >= self.news_at && self.has_news() {
            let delivered = self.runs.values_mut().filter_map(RunState::deliver);
            self.departures.extend(delivered);
            self.news_at = now.after(NEWS_PACE);
        }
        self.runs
            .retain(|_, run| run.forgotten_at().is_none_or(|at| now < at));
    }

    fn carry_out(&mut self, now: Timestamp, mut effects: Vec<Effect>) {
        for effect in effects.drain(..) {
            self.effect(now, effect);
        }
        self.effects = effects;
    }

    fn wake_at(&self) -> Instant {
        let forgets = self.runs.values().filter_map(RunState::forgotten_at);
        let news = self.has_news().then_some(self.news_at);
        let deadlines = self.scheduler.next_deadline().into_iter().chain(news);
        let next = deadlines.chain(forgets).min();
        next.and_then(|at| self.clock.instant_of(at))
            .unwrap_or_else(|| Instant::now() + IDLE)
    }

    fn has_news(&self) -> bool {
        self.runs.values().any(RunState::has_news)
    }

    /// Hands over what this turn led to.
    fn depart(&mut self) {
        let mut entries = std::mem::take(&mut self.submitted);
        entries.extend(self.runs.values_mut().flat_map(RunState::take_unjournaled));
        entries.append(&mut self.closed);
        let departures = std::mem::take(&mut self.departures);
        if !entries.is_empty() || !departures.is_empty() {
            self.outlet.send(Turn { entries, departures });
        }
    }

    /// Ends all connections; `orderly`: when everything is written.
    async fn end(mut self, orderly: bool, reply: Reply<()>) {
        let news = self.runs.values_mut().filter_map(RunState::deliver);
        self.departures.extend(news);
        let (mark, marked) = oneshot::channel();
        self.departures.push(Departure::Mark(mark));
        self.depart();
        for link in self.links.into_values() {
            link.close(tonic::Status::unavailable("the coordinator is shutting down"));
        }
        if orderly {
            // Too late or superseded: another coordinator decides about what was not committed.
            let _ = tokio::time::timeout(LAST_COMMIT_MAX, marked).await;
            // Runs that have ended are published by then; the others never will be, by this coordinator.
            let _ = tokio::time::timeout(LAST_RECORD_MAX, self.recorder.flush()).await;
        }
        for run in self.runs.values() {
            run.log.abandon();
        }
        answer(reply, Ok(()));
    }
}

pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, Refusal>) {
    // Whoever asked may have gone.
    let _ = reply.send(result);
}
