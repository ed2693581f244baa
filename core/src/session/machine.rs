//! The session itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::effect::Effect;
use super::event::{Event, LeasedCase};
use super::slots::Slots;
use crate::id::{BinaryIndex, CaseIndex, Generation, RunId};
use crate::time::Timestamp;

/// What the coordinator asks of a connected worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Send a heartbeat this often.
    pub heartbeat: Duration,
    /// So long after a word that it answers the coordinator gives the worker up.
    pub lease_ttl: Duration,
}

/// One connection of a worker to the coordinator.
#[derive(Debug)]
pub struct Session {
    terms: Terms,
    slots: Slots,
    waiting: VecDeque<(RunId, LeasedCase)>,
    running: BTreeMap<(RunId, CaseIndex), Running>,
    prepared: BTreeMap<(RunId, BinaryIndex), Inputs>,
    /// The newest lease of each case that came. One that is not newer came twice, and starts nothing.
    leased: BTreeMap<(RunId, CaseIndex), Generation>,
    /// The runs that are over: their leases start nothing, however late they come.
    forgotten: BTreeSet<RunId>,
    /// When the last word was sent that the coordinator answered. It heard it no earlier: what it counts from there
    /// ends no earlier, however long words and answers take.
    answered: Timestamp,
    round_trip: Option<Duration>,
    next_heartbeat: Timestamp,
    over: bool,
}

#[derive(Debug)]
struct Running {
    generation: Generation,
    slots: Vec<u32>,
    killed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inputs {
    Pending,
    Usable,
    Unusable,
}

impl Session {
    /// Begins a session of a worker that was welcomed and has `slots` idle slots. `greeted` is when it sent what the
    /// welcome answers.
    pub fn new(terms: Terms, slots: u32, greeted: Timestamp) -> Self {
        Self {
            terms,
            slots: Slots::new(slots.max(1)),
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            prepared: BTreeMap::new(),
            leased: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            answered: greeted,
            round_trip: None,
            next_heartbeat: greeted.after(terms.heartbeat),
            over: false,
        }
    }

    /// Takes one event. After [`Effect::Over`] nothing has an effect any more.
    pub fn apply(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        if self.over {
            return;
        }
        match event {
            Event::Leased { run, cases } => self.leased(run, cases, out),
            Event::Prepared { run, binary, usable } => self.prepared(run, binary, usable, out),
            Event::Ended {
                run,
                case,
                generation,
            } => self.ended(run, case, generation),
            Event::Revoked {
                run,
                cases,
                kill_running,
            } => self.revoked(run, &cases, kill_running, out),
            Event::Forgotten(run) => self.forgotten(run, out),
            Event::HeartbeatAnswered { sent } => self.answered(sent, now),
            Event::Disconnected => self.end(out),
        }
        self.start(out);
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.over {
            return;
        }
        if now >= self.gives_up_at() {
            self.end(out);
        } else if now >= self.next_heartbeat {
            self.next_heartbeat = now.after(self.terms.heartbeat);
            let round_trip = self.round_trip;
            out.push(Effect::SendHeartbeat {
                sent: now,
                round_trip,
            });
        }
    }

    /// When [`advance`](Self::advance) has something to do next; `None` once the session is over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        (!self.over).then(|| self.next_heartbeat.min(self.gives_up_at()))
    }

    /// How many processes run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    fn gives_up_at(&self) -> Timestamp {
        self.answered.after(self.terms.lease_ttl)
    }

    fn answered(&mut self, sent: Timestamp, now: Timestamp) {
        let sent = sent.min(now);
        self.answered = self.answered.max(sent);
        self.round_trip = Some(now.since(sent));
    }

    fn leased(&mut self, run: RunId, cases: Vec<LeasedCase>, out: &mut Vec<Effect>) {
        let mut unusable = Vec::new();
        for case in cases {
            if self.is_old(run, &case) {
                continue;
            }
            self.leased.insert((run, case.case), case.generation);
            match self.prepared.get(&(run, case.binary)) {
                Some(Inputs::Unusable) => unusable.push((case.case, case.generation)),
                Some(Inputs::Pending | Inputs::Usable) => self.waiting.push_back((run, case)),
                None => {
                    self.prepared.insert((run, case.binary), Inputs::Pending);
                    out.push(Effect::Prepare {
                        run,
                        binary: case.binary,
                    });
                    self.waiting.push_back((run, case));
                }
            }
        }
        give_back(run, unusable, out);
    }

    /// Whether a lease came before, or is of a run that is over.
    fn is_old(&self, run: RunId, case: &LeasedCase) -> bool {
        let newest = self.leased.get(&(run, case.case));
        self.forgotten.contains(&run) || newest.is_some_and(|newest| *newest >= case.generation)
    }

    fn prepared(&mut self, run: RunId, binary: BinaryIndex, usable: bool, out: &mut Vec<Effect>) {
        let Some(inputs) = self.prepared.get_mut(&(run, binary)) else {
            return;
        };
        *inputs = if usable { Inputs::Usable } else { Inputs::Unusable };
        if !usable {
            let dropped = self.drop_waiting(|of, case| of == run && case.binary == binary);
            give_back(run, dropped, out);
        }
    }

    fn ended(&mut self, run: RunId, case: CaseIndex, generation: Generation) {
        let is_this = self
            .running
            .get(&(run, case))
            .is_some_and(|running| running.generation == generation);
        if is_this && let Some(ended) = self.running.remove(&(run, case)) {
            self.slots.give_back(&ended.slots);
        }
    }

    fn revoked(
        &mut self,
        run: RunId,
        cases: &[(CaseIndex, Generation)],
        kill_running: bool,
        out: &mut Vec<Effect>,
    ) {
        let meant = |of: RunId, case: CaseIndex, generation: Generation| {
            of == run && (cases.is_empty() || cases.contains(&(case, generation)))
        };
        let dropped = self.drop_waiting(|of, leased| meant(of, leased.case, leased.generation));
        give_back(run, dropped, out);
        if kill_running {
            self.kill(
                |(of, case), running| meant(of, case, running.generation) && !running.killed,
                out,
            );
            for (case, generation) in cases {
                // The lease may be on its way still.
                let newest = self.leased.entry((run, *case)).or_insert(*generation);
                *newest = (*newest).max(*generation);
            }
        }
    }

    fn forgotten(&mut self, run: RunId, out: &mut Vec<Effect>) {
        self.drop_waiting(|of, _| of == run);
        self.kill(|(of, _), _| of == run, out);
        self.leased.retain(|(of, _), _| *of != run);
        self.forgotten.insert(run);
        let before = self.prepared.len();
        self.prepared.retain(|(of, _), _| *of != run);
        if self.prepared.len() != before {
            out.push(Effect::Release(run));
        }
    }

    fn end(&mut self, out: &mut Vec<Effect>) {
        self.over = true;
        self.waiting.clear();
        // Also those that were revoked: the shell may still be giving them time to end.
        self.kill(|_, _| true, out);
        let mut runs: Vec<RunId> = self.prepared.keys().map(|(run, _)| *run).collect();
        runs.dedup();
        out.extend(runs.into_iter().map(Effect::Release));
        out.push(Effect::Over);
    }

    /// Kills what `which` chooses.
    fn kill(&mut self, which: impl Fn((RunId, CaseIndex), &Running) -> bool, out: &mut Vec<Effect>) {
        for ((run, case), running) in &mut self.running {
            if which((*run, *case), running) {
                running.killed = true;
                out.push(Effect::Kill {
                    run: *run,
                    case: *case,
                    generation: running.generation,
                });
            }
        }
    }

    fn drop_waiting(&mut self, which: impl Fn(RunId, &LeasedCase) -> bool) -> Vec<(CaseIndex, Generation)> {
        let mut dropped = Vec::new();
        self.waiting.retain(|(run, case)| {
            let drop = which(*run, case);
            if drop {
                dropped.push((case.case, case.generation));
            }
            !drop
        });
        dropped
    }

    /// Starts waiting cases, first come first served, for as long as slots are free.
    fn start(&mut self, out: &mut Vec<Effect>) {
        let mut at = 0;
        while self.slots.free() > 0 {
            let Some((run, case)) = self.waiting.get(at) else {
                return;
            };
            let (run, key) = (*run, (*run, case.case));
            let ready = self.prepared.get(&(run, case.binary)) == Some(&Inputs::Usable)
                && !self.running.contains_key(&key);
            if !ready {
                at += 1;
                continue;
            }
            let Some(slots) = self.slots.take(case.weight) else {
                return;
            };
            let generation = case.generation;
            out.push(Effect::Start {
                run,
                case: case.case,
                generation,
                slot: slots[0],
            });
            self.running.insert(
                key,
                Running {
                    generation,
                    slots,
                    killed: false,
                },
            );
            self.waiting.remove(at);
        }
    }
}

fn give_back(run: RunId, cases: Vec<(CaseIndex, Generation)>, out: &mut Vec<Effect>) {
    if !cases.is_empty() {
        out.push(Effect::Return { run, cases });
    }
}
