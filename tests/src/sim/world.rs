//! The farm, and what happens in it, one event after the other.

use std::collections::BTreeMap;
use std::fmt::Write;

use thresh_core::id::RunId;
use thresh_core::schedule::{RunRequest, Violation, Witness};

use super::coordinator::{Command, Coordinator};
use super::counts::Counts;
use super::draw::{BEGIN, Drawn};
use super::follow::Client;
use super::journal::Journal;
use super::ledger::{Ledger, violation};
use super::machine::Machine;
use super::message::Message;
use super::network::Network;
use super::random::Random;
use super::simulation::{Make, Played, Simulation};
use super::step::{ConnId, MachineAt, OnMachine, ProcessId, Step};

/// More steps than any farm needs: whatever takes more goes round in circles.
const STEPS_MAX: u64 = 300_000;

pub(super) struct World<'a> {
    pub(super) seed: u64,
    pub(super) make: Make<'a>,
    pub(super) looks_inside: bool,
    pub(super) now: u64,
    pub(super) drawn: Drawn,
    pub(super) machines: Vec<Machine>,
    pub(super) clients: Vec<Client>,
    pub(super) network: Network,
    pub(super) coordinator: Option<Coordinator>,
    pub(super) epoch: u32,
    pub(super) journal: Journal,
    /// Watches what is durable.
    pub(super) durable: Witness,
    pub(super) ledger: Ledger,
    /// Decides what shells and the network do.
    pub(super) random: Random,
    /// Decides what cases do.
    pub(super) truth: Random,
    pub(super) last_process: ProcessId,
    /// The coordinator is to be killed during its next commit, for so long.
    pub(super) crash_in_commit: Option<u64>,
    /// How much longer the next commit takes.
    pub(super) stall: u64,
    /// What was found broken where nothing could be returned.
    pub(super) broken: Option<Violation>,
    counts: Counts,
    transcript: Option<String>,
    queue: BTreeMap<(u64, u64), Step>,
    pushed: u64,
    pub(super) calm: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(of: Simulation<'a>) -> Self {
        let seed = of.seed;
        let drawn = Drawn::new(seed);
        let machines = drawn.machines.iter().cloned().map(Machine::new).collect();
        Self {
            seed,
            make: of.make,
            looks_inside: of.looks_inside,
            now: BEGIN,
            machines,
            clients: vec![Client::default(); drawn.runs.len()],
            network: Network::new(drawn.weather.clone(), Random::new(seed, "network")),
            coordinator: None,
            epoch: 0,
            journal: Journal::default(),
            durable: Witness::new(),
            ledger: Ledger::new(&drawn.policy),
            random: Random::new(seed, "shells"),
            truth: Random::new(seed, "truth"),
            last_process: 0,
            crash_in_commit: None,
            stall: 0,
            broken: None,
            counts: Counts::default(),
            transcript: of.records.then(String::new),
            queue: BTreeMap::new(),
            pushed: 0,
            calm: false,
            drawn,
        }
    }

    /// Plays it to its end, or to the first violation.
    pub(super) fn play(mut self) -> Played {
        let (violation, steps) = self.run();
        Played {
            seed: self.seed,
            violation,
            counts: self.counts,
            transcript: self.transcript.unwrap_or_default(),
            steps,
            micros: self.now - BEGIN,
        }
    }

    fn run(&mut self) -> (Option<Violation>, u64) {
        self.push(BEGIN, Step::Restart);
        for machine in 0..self.machines.len() {
            let at = BEGIN + self.random.below(3_000_000);
            self.push(at, Step::Boot(machine));
        }
        self.begin_clients();
        for (at, fault) in (0..)
            .zip(self.drawn.faults.clone())
            .map(|(at, (time, _))| (at, time))
        {
            self.push(fault, Step::Fault(at));
        }
        let mut steps = 0;
        let mut found = None;
        while found.is_none() && !self.is_over() {
            let Some(((at, _), step)) = self.queue.pop_first() else {
                break;
            };
            self.now = at;
            steps += 1;
            found = self.next(step, steps).err().or_else(|| self.broken.take());
        }
        if let Some(violation) = &found {
            let text = violation.to_string();
            self.note(|| text);
        }
        (found, steps)
    }

    fn next(&mut self, step: Step, steps: u64) -> Result<(), Violation> {
        if self.now > self.drawn.ends_by || steps > STEPS_MAX {
            let open: Vec<u128> = self
                .drawn
                .runs
                .iter()
                .map(|of| of.run)
                .filter(|run| !self.journal.ended(*run))
                .map(|run| run.as_u128())
                .collect();
            return violation("every-run-ends", || {
                format!(
                    "the runs {open:?} go on after {steps} steps, {} s after the last fault",
                    (self.now.saturating_sub(self.drawn.calm_from)) / 1_000_000
                )
            });
        }
        if !self.calm && self.now >= self.drawn.calm_from {
            self.calm = true;
            self.calm_down();
        }
        self.step(step)
    }

    /// Over when every run is, and every process.
    fn is_over(&self) -> bool {
        let ended = |of: &super::workload::Submission| self.journal.ended(of.run);
        self.drawn.runs.iter().all(ended) && self.ledger.processes.is_empty()
    }

    /// Nothing goes wrong from now on: what needs somebody's hand gets it.
    fn calm_down(&mut self) {
        self.note(|| "calm from now on".to_owned());
        for at in 0..self.machines.len() {
            let machine = &self.machines[at];
            let cordoned = machine.live.as_ref().is_some_and(|live| live.cordoned);
            if machine.disk_full || (cordoned && machine.leaving.is_none()) {
                self.crash(at, false, 100_000);
            }
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Violation> {
        match step {
            Step::Arrives(conn, message) => self.arrives(conn, message),
            Step::Broken { conn, worker_side } => self.learns_broken(conn, worker_side),
            Step::On { machine, life, what } => self.on(machine, life, what),
            Step::Boot(machine) => {
                self.boot(machine);
                Ok(())
            }
            Step::Take { epoch } if epoch == self.epoch => self.take(),
            Step::Committed { epoch } if epoch == self.epoch => self.committed(),
            Step::Crash { epoch, down } if epoch == self.epoch => {
                self.coordinator_crashes(down);
                Ok(())
            }
            Step::Take { .. } | Step::Committed { .. } | Step::Crash { .. } => Ok(()),
            Step::Restart => self.coordinator_starts(),
            Step::Client { run, what } => {
                self.client(run, what);
                Ok(())
            }
            Step::Asked(command) => {
                self.asked(command);
                Ok(())
            }
            Step::Fault(at) => {
                self.fault(at);
                Ok(())
            }
            Step::Cut(conn) => {
                self.cut(conn, true, true);
                Ok(())
            }
            Step::Reap(process) => self.reap(process),
        }
    }

    fn arrives(&mut self, id: ConnId, message: Message) -> Result<(), Violation> {
        let conn = self.network.conn(id);
        let (machine, life) = (conn.machine, conn.life);
        if conn.cut_at.is_some() {
            return Ok(());
        }
        match message {
            Message::Up(up) if conn.epoch == self.epoch => {
                self.note(|| format!("m{machine}.{id} says: {}", Message::Up(up.clone())));
                self.asked(Command::Said(id, up));
                Ok(())
            }
            Message::Up(_) => Ok(()),
            Message::Down(down) => {
                if let Some(until) = self.machines[machine].frozen_until(self.now) {
                    self.push(until, Step::Arrives(id, Message::Down(down)));
                    return Ok(());
                }
                if !conn.worker_open || self.machines[machine].life != life {
                    return Ok(());
                }
                self.note(|| format!("m{machine}.{id} hears: {}", Message::Down(down.clone())));
                self.worker_hears(machine, id, down)
            }
        }
    }

    fn learns_broken(&mut self, id: ConnId, worker_side: bool) -> Result<(), Violation> {
        let conn = self.network.conn(id);
        let (machine, life, epoch) = (conn.machine, conn.life, conn.epoch);
        if !worker_side {
            if epoch == self.epoch {
                self.asked(Command::Broken(id));
            }
            return Ok(());
        }
        if let Some(until) = self.machines[machine].frozen_until(self.now) {
            self.push(
                until,
                Step::Broken {
                    conn: id,
                    worker_side,
                },
            );
            return Ok(());
        }
        if self.machines[machine].life == life {
            self.worker_hears(machine, id, super::message::Down::Closed)?;
        }
        Ok(())
    }

    fn on(&mut self, at: MachineAt, life: u32, what: OnMachine) -> Result<(), Violation> {
        let machine = &self.machines[at];
        if machine.life != life || !machine.on {
            return Ok(());
        }
        if let Some(until) = machine.frozen_until(self.now) {
            self.push(
                until,
                Step::On {
                    machine: at,
                    life,
                    what,
                },
            );
            return Ok(());
        }
        match what {
            OnMachine::Connect => {
                self.connect(at);
                Ok(())
            }
            OnMachine::NoWelcome(conn) => {
                self.not_welcomed(at, conn);
                Ok(())
            }
            OnMachine::Wake => {
                if machine.leaving.is_some() {
                    self.leave(at)?;
                }
                self.wake(at)
            }
            OnMachine::Prepared { conn, run, binary } => self.prepared(at, conn, run, binary),
            OnMachine::ProcessEnds(process) => self.process_ends(at, process),
            OnMachine::Resend(message) => {
                self.resend(at, message);
                Ok(())
            }
        }
    }

    /// A process whose lease is over must be gone by now, unless its machine stood still, or its connection lost
    /// what told it so.
    fn reap(&mut self, process: ProcessId) -> Result<(), Violation> {
        let Some((seen, over)) = self.ledger.over_since(process) else {
            return Ok(());
        };
        let machine = &self.machines[seen.machine];
        let conn = self.network.conn(seen.conn);
        let stood_still = machine.frozen_between(over, self.now);
        let from = if conn.lossy {
            conn.cut_at.unwrap_or(self.now).max(over)
        } else {
            over
        };
        let gone_by = from + stood_still + self.ledger.outlives_max();
        if machine.frozen_until(self.now).is_some() || self.now < gone_by {
            self.push(gone_by.max(self.now + 100_000), Step::Reap(process));
            return Ok(());
        }
        violation("lost-lease-dies", || {
            let late = (self.now - over) / 1_000;
            format!(
                "p{process} of {} runs on m{} {late} ms after its lease was over",
                seen.grant, seen.machine
            )
        })
    }

    /// The processes of a test group take at most what it allows, over all connected workers.
    pub(super) fn groups_hold(&self, run: RunId) -> Result<(), Violation> {
        let request = self.request(run);
        let mut used = vec![0u32; request.groups.len()];
        for seen in self
            .ledger
            .processes
            .values()
            .filter(|seen| seen.grant.run == run)
        {
            let conn = self.network.conn(seen.conn);
            let connected = conn.coordinator_open && conn.epoch == self.epoch && self.coordinator.is_some();
            if let Some(group) = request.cases[seen.grant.case.at()].group.filter(|_| connected) {
                used[group.at()] += seen.weight.min(allowed(request, group.at()));
            }
        }
        let over = used
            .iter()
            .enumerate()
            .find(|(at, used)| **used > allowed(request, *at));
        match over {
            Some((at, used)) => violation("group-holds-over-processes", || {
                format!(
                    "group {at} of run {run}: {used} of {} in use",
                    allowed(request, at)
                )
            }),
            None => Ok(()),
        }
    }

    pub(super) fn at_of(&self, run: RunId) -> usize {
        let at = self.drawn.runs.iter().position(|of| of.run == run);
        at.expect("only drawn runs are submitted")
    }

    pub(super) fn request(&self, run: RunId) -> &RunRequest {
        &self.drawn.runs[self.at_of(run)].request
    }

    pub(super) fn send(&mut self, conn: ConnId, message: Message) {
        let up = matches!(message, Message::Up(_));
        let arrivals = self.network.send(self.now, conn, up, &mut self.counts);
        if let Some(at) = arrivals.breaks_at {
            self.push(at, Step::Cut(conn));
        }
        for at in arrivals.at {
            self.push(at, Step::Arrives(conn, message.clone()));
        }
    }

    pub(super) fn push(&mut self, at: u64, step: Step) {
        self.pushed += 1;
        self.queue.insert((at.max(self.now), self.pushed), step);
    }

    pub(super) fn count(&mut self, what: &str) {
        self.counts.add(what);
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let passed = self.now - BEGIN;
        if let Some(transcript) = &mut self.transcript {
            let (secs, micros) = (passed / 1_000_000, passed % 1_000_000);
            writeln!(transcript, "{secs:>4}.{micros:06} {}", text()).expect("a string takes every write");
        }
    }
}

fn allowed(request: &RunRequest, group: usize) -> u32 {
    match request.groups[group].max_threads {
        thresh_core::case::ThreadsRequired::Count(count) => count.max(1),
        _ => u32::MAX,
    }
}
