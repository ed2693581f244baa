//! A model farm: the real scheduler, workers that start cases in the order of their leases, and a network that
//! takes always the same time. It has no clock and no chance: the same load gives the same schedule.
//!
//! Deliberately absent: faults, which the simulation is for, and the time to fetch binaries. A hedged case takes as
//! long as its first copy, so that hedging can only cost here.

use super::load::Load;
use rustix::time::{ClockId, clock_gettime};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;
use thresh_core::id::{CaseIndex, Generation, RunId, WorkerId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::{Effect, Event, Policy, Scheduler, StopReason};
use thresh_core::time::Timestamp;

const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// So many events the coordinator's driver takes at most before it lets the scheduler grant.
const BATCH_MAX: usize = 1_024;

/// A farm to be.
#[derive(Clone, Copy)]
pub(crate) struct Farm {
    pub(crate) workers: u32,
    /// Of each worker.
    pub(crate) slots: u32,
    /// A message and its answer.
    pub(crate) round_trip: Duration,
    /// The coordinator gathers what comes within this.
    pub(crate) gather: Duration,
    /// The size of every test binary, which affinity weighs; 0: every worker has the files.
    pub(crate) binary_bytes: u64,
}

/// What a run on it came to.
pub(crate) struct Ran {
    /// From submission to the end of the run, at the coordinator.
    pub(crate) took: Duration,
    /// CPU time that was spent in the scheduler.
    pub(crate) core: Duration,
}

impl Farm {
    /// Of all workers together.
    pub(crate) fn all_slots(self) -> usize {
        (self.workers * self.slots) as usize
    }

    /// Runs a load.
    ///
    /// # Panics
    /// When the run does not end, or not as it should.
    pub(crate) fn run(self, load: &Load) -> Ran {
        self.run_as(RunId::from_u128(1), load)
    }

    /// Runs a load as the run of that id, from which the order of cases without history follows.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub(crate) fn run_as(self, run: RunId, load: &Load) -> Ran {
        let mut model = Model::new(self, run, load);
        model.begin();
        while model.ended.is_none() {
            let Reverse((at, _, happening)) =
                model.queue.pop().expect("a run under way has something to come");
            model.happen(at, happening);
            while let Some(Reverse((next, ..))) = model.queue.peek()
                && *next == at
            {
                let Reverse((.., happening)) = model.queue.pop().expect("it was there a line before");
                model.happen(at, happening);
            }
            model.coordinate();
        }
        Ran {
            took: Duration::from_micros(model.ended.expect("the loop ends with the run")),
            core: model.core,
        }
    }
}

/// A copy of a case that is leased to a worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    case: CaseIndex,
    generation: Generation,
}

/// What a worker says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Alive,
    Started(Held),
    Passed(Held),
    Returned(Held),
}

/// What happens at a time. Workers are numbered from 0.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// It is time for the coordinator to look.
    Due,
    /// A worker's word reaches the coordinator.
    Heard(u32, Said),
    /// A lease reaches a worker.
    Leased(u32, Vec<Held>),
    /// A worker is to give cases back; and end those that run.
    Revoked(u32, Vec<(CaseIndex, Generation)>, bool),
    /// A process ends.
    Exited(u32, Held),
    /// A worker's heartbeat is due.
    Beat(u32),
}

struct Worker {
    free: u32,
    waiting: VecDeque<Held>,
    running: Vec<Held>,
}

struct Model<'a> {
    farm: Farm,
    run: RunId,
    load: &'a Load,
    scheduler: Scheduler,
    workers: Vec<Worker>,
    /// In microseconds since the submission.
    now: u64,
    /// By time, then in the order of their making.
    queue: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    made: u64,
    heard: Vec<(u32, Said)>,
    /// When the coordinator is to look at the latest, and whether it is time.
    due: Option<u64>,
    is_due: bool,
    effects: Vec<Effect>,
    core: Duration,
    ended: Option<u64>,
}

impl<'a> Model<'a> {
    fn new(farm: Farm, run: RunId, load: &'a Load) -> Self {
        let worker = || Worker {
            free: farm.slots,
            waiting: VecDeque::new(),
            running: Vec::new(),
        };
        Self {
            farm,
            run,
            load,
            scheduler: Scheduler::new(Policy::default(), 1, 0),
            workers: (0..farm.workers).map(|_| worker()).collect(),
            now: 0,
            queue: BinaryHeap::new(),
            made: 0,
            heard: Vec::new(),
            due: None,
            is_due: false,
            effects: Vec::new(),
            core: Duration::ZERO,
            ended: None,
        }
    }

    /// The workers join, and say how far away they are; then the run is submitted.
    fn begin(&mut self) {
        let heartbeat = micros(Policy::default().heartbeat);
        for worker in 0..self.farm.workers {
            let joined = Event::WorkerJoined {
                worker: id(worker),
                slots: self.farm.slots,
                cpus: self.farm.slots,
                platform: PLATFORM.into(),
                in_place: false,
                process: None,
            };
            self.tell(joined);
            self.tell(self.event(worker, Said::Alive));
            let first = heartbeat * u64::from(worker) / u64::from(self.farm.workers);
            self.at(first, Happening::Beat(worker));
        }
        let submitted = Event::RunSubmitted(self.run, self.load.request(PLATFORM, self.farm.binary_bytes));
        let started = cpu_time();
        self.tell(submitted);
        self.core += cpu_time() - started;
        self.at(0, Happening::Due);
    }

    fn tell(&mut self, event: Event) {
        self.scheduler
            .apply(Timestamp::from_micros(self.now), event, &mut self.effects)
            .expect("workers and runs are new");
    }

    fn at(&mut self, micros: u64, happening: Happening) {
        self.made += 1;
        self.queue.push(Reverse((micros, self.made, happening)));
    }

    fn happen(&mut self, at: u64, happening: Happening) {
        self.now = at;
        match happening {
            Happening::Due => {
                self.due = self.due.filter(|due| *due > at);
                self.is_due |= self.due.is_none();
            }
            Happening::Heard(worker, said) => self.heard.push((worker, said)),
            Happening::Leased(worker, cases) => {
                self.workers[worker as usize].waiting.extend(cases);
                self.start(worker);
            }
            Happening::Revoked(worker, cases, kill) => self.give_back(worker, &cases, kill),
            Happening::Exited(worker, held) => {
                if self.stop(worker, held) {
                    self.say(worker, Said::Passed(held));
                    self.start(worker);
                }
            }
            Happening::Beat(worker) => {
                self.say(worker, Said::Alive);
                self.at(at + micros(Policy::default().heartbeat), Happening::Beat(worker));
            }
        }
    }

    /// Fills a worker's slots.
    fn start(&mut self, number: u32) {
        loop {
            let worker = &mut self.workers[number as usize];
            if worker.free == 0 {
                return;
            }
            let Some(held) = worker.waiting.pop_front() else {
                return;
            };
            worker.free -= 1;
            worker.running.push(held);
            let took = self.load.cases[held.case.at()].took;
            self.at(self.now + micros(took).max(1), Happening::Exited(number, held));
            self.say(number, Said::Started(held));
        }
    }

    /// Ends a process. Returns whether it ran.
    fn stop(&mut self, number: u32, held: Held) -> bool {
        let worker = &mut self.workers[number as usize];
        let Some(at) = worker.running.iter().position(|other| *other == held) else {
            return false;
        };
        worker.running.swap_remove(at);
        worker.free += 1;
        true
    }

    fn give_back(&mut self, number: u32, cases: &[(CaseIndex, Generation)], kill: bool) {
        for &(case, generation) in cases {
            let held = Held { case, generation };
            let waiting = &mut self.workers[number as usize].waiting;
            if let Some(at) = waiting.iter().position(|other| *other == held) {
                waiting.remove(at);
                self.say(number, Said::Returned(held));
            } else if kill && self.stop(number, held) {
                self.start(number);
            }
        }
    }

    /// Sends a worker's word to the coordinator, which takes it up with all that came since it looked last.
    fn say(&mut self, worker: u32, said: Said) {
        let gather = micros(self.farm.gather).max(1);
        let arrives = self.now + micros(self.farm.round_trip / 2);
        self.at(arrives.next_multiple_of(gather), Happening::Heard(worker, said));
    }

    fn event(&self, worker: u32, said: Said) -> Event {
        let number = worker;
        let (worker, run) = (id(number), self.run);
        match said {
            Said::Alive => Event::WorkerHeartbeat {
                worker,
                round_trip: Some(self.farm.round_trip),
            },
            Said::Started(Held { case, generation }) => Event::CaseStarted {
                worker,
                run,
                case,
                generation,
            },
            Said::Passed(Held { case, generation }) => Event::AttemptEnded {
                worker,
                run,
                case,
                generation,
                outcome: Outcome::Passed,
                took: self.load.cases[case.at()].took,
            },
            Said::Returned(Held { case, generation }) => Event::CaseReturned {
                worker,
                run,
                case,
                generation,
            },
        }
    }

    /// Does what the coordinator's driver does: takes events by the batch, and lets the scheduler grant after each.
    fn coordinate(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        let now = Timestamp::from_micros(self.now);
        if heard.is_empty() && !std::mem::take(&mut self.is_due) {
            return;
        }
        self.is_due = false;
        for batch in heard.chunks(BATCH_MAX).chain(heard.is_empty().then_some(&[][..])) {
            let events: Vec<Event> = batch
                .iter()
                .map(|(worker, said)| self.event(*worker, *said))
                .collect();
            let mut effects = std::mem::take(&mut self.effects);
            let started = cpu_time();
            for event in events {
                // What is said of a copy that was cancelled meanwhile is stale, and refused.
                let _ = self.scheduler.apply(now, event, &mut effects);
            }
            self.scheduler.advance(now, &mut effects);
            let deadline = self.scheduler.next_deadline();
            self.core += cpu_time() - started;
            self.carry_out(&mut effects);
            self.effects = effects;
            self.look_again(deadline);
        }
    }

    fn look_again(&mut self, deadline: Option<Timestamp>) {
        let Some(deadline) = deadline else { return };
        let at = deadline.as_micros().max(self.now + 1);
        if self.due.is_none_or(|due| at < due) {
            self.due = Some(at);
            self.at(at, Happening::Due);
        }
    }

    fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        let arrives = self.now + micros(self.farm.round_trip / 2);
        for effect in effects.drain(..) {
            match effect {
                Effect::Grant { worker, cases, .. } => {
                    let held = cases.iter().map(|grant| Held {
                        case: grant.case,
                        generation: grant.generation,
                    });
                    self.at(arrives, Happening::Leased(number(worker), held.collect()));
                }
                Effect::Revoke {
                    worker,
                    cases,
                    kill_running,
                    ..
                } => self.at(arrives, Happening::Revoked(number(worker), cases, kill_running)),
                Effect::RunEnded { reason, .. } => {
                    assert_eq!(reason, StopReason::Complete, "nothing fails here");
                    self.ended = Some(self.now);
                }
                Effect::WorkerLost { worker, .. } => panic!("{worker} was heard all the time"),
                Effect::AttemptAccepted { .. }
                | Effect::CopyCancelled { .. }
                | Effect::CaseSettled { .. }
                | Effect::RunStopping { .. } => {}
            }
        }
    }
}

/// The CPU time of this thread: unlike real time it does not count what other processes take.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

fn id(number: u32) -> WorkerId {
    WorkerId(u64::from(number) + 1)
}

fn number(worker: WorkerId) -> u32 {
    u32::try_from(worker.0 - 1).expect("workers are numbered from 1 here")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
