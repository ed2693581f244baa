//! A worker's machine: what runs on it, its clock, its power.

use std::collections::{BTreeMap, BTreeSet};

use thresh_core::digest::Digest;
use thresh_core::outcome::Outcome;
use thresh_core::time::Timestamp;

use super::clock::Clock;
use super::draw::{BEGIN, MachineSpec};
use super::live::Live;
use super::message::{Grant, Message, Up};
use super::step::{ConnId, MachineAt, OnMachine, ProcessId, Step};
use super::world::World;

/// How long a worker waits for its welcome, in microseconds.
const WELCOME_MAX: u64 = 10_000_000;

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) spec: MachineSpec,
    pub(super) clock: Clock,
    pub(super) on: bool,
    /// Counts how often it was switched on.
    pub(super) life: u32,
    pub(super) disk_full: bool,
    pub(super) holds: BTreeSet<Digest>,
    /// The connection on which it said hello, and when, by its clock.
    pub(super) connecting: Option<(ConnId, Timestamp)>,
    pub(super) live: Option<Live>,
    pub(super) processes: BTreeMap<ProcessId, Process>,
    /// Reports of this session that the worker wrongly says in the next one.
    pub(super) unsaid: Vec<Up>,
    /// When it is back, once it was told to leave.
    pub(super) leaving: Option<u64>,
    /// When it stood still, from and to; the latest last.
    frozen: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) conn: ConnId,
    pub(super) grant: Grant,
    pub(super) weight: u32,
    pub(super) outcome: Outcome,
    pub(super) takes_worker: bool,
    pub(super) killed: bool,
    pub(super) started: Timestamp,
}

impl Machine {
    pub(super) fn new(spec: MachineSpec) -> Self {
        Self {
            clock: Clock::new(BEGIN, spec.clock_shows, spec.clock_rate),
            spec,
            on: false,
            life: 0,
            disk_full: false,
            holds: BTreeSet::new(),
            connecting: None,
            live: None,
            processes: BTreeMap::new(),
            unsaid: Vec::new(),
            leaving: None,
            frozen: Vec::new(),
        }
    }

    /// Names the process of its worker, which is another one each time it is switched on.
    pub(super) fn process(&self, at: MachineAt) -> u64 {
        ((at as u64 + 1) << 32) + u64::from(self.life)
    }

    pub(super) fn freeze(&mut self, now: u64, length: u64, clock_stops: bool) {
        if self.frozen_until(now).is_some() {
            return;
        }
        self.frozen.push((now, now + length));
        if clock_stops {
            self.clock.stand_still(now, now + length);
        }
    }

    /// Until when it stands still, if it does.
    pub(super) fn frozen_until(&self, now: u64) -> Option<u64> {
        let until = self.frozen.last().map(|(_, until)| *until);
        until.filter(|until| self.on && now < *until)
    }

    /// How long it stood still between two times, in microseconds.
    pub(super) fn frozen_between(&self, from: u64, to: u64) -> u64 {
        let parts = self.frozen.iter();
        parts
            .map(|(begin, end)| (*end).min(to).saturating_sub((*begin).max(from)))
            .sum()
    }

    /// The slots that its processes take.
    pub(super) fn busy(&self) -> u32 {
        self.processes.values().map(|process| process.weight).sum()
    }
}

impl World<'_> {
    pub(super) fn on_machine(&mut self, machine: MachineAt, at: u64, what: OnMachine) {
        let life = self.machines[machine].life;
        self.push(at, Step::On { machine, life, what });
    }

    pub(super) fn boot(&mut self, at: MachineAt) {
        let machine = &mut self.machines[at];
        machine.on = true;
        machine.life += 1;
        machine.disk_full = false;
        machine.leaving = None;
        self.note(|| format!("m{at} is on"));
        self.on_machine(at, self.now, OnMachine::Connect);
    }

    /// Connects, if nothing of an earlier session is left; else, or where there is nobody, tries again.
    pub(super) fn connect(&mut self, at: MachineAt) {
        let machine = &self.machines[at];
        if machine.live.is_some() || machine.connecting.is_some() {
            return;
        }
        let Some(epoch) = self.coordinator.as_ref().map(|coordinator| coordinator.epoch) else {
            return self.connect_later(at);
        };
        let conn = self.network.open(at, machine.life, epoch);
        let machine = &mut self.machines[at];
        machine.connecting = Some((conn, machine.clock.read(self.now)));
        self.send(conn, Message::Up(Up::Hello));
        self.on_machine(at, self.now + WELCOME_MAX, OnMachine::NoWelcome(conn));
    }

    pub(super) fn connect_later(&mut self, at: MachineAt) {
        let wait = self.random.within(100_000, 1_000_000);
        self.on_machine(at, self.now + wait, OnMachine::Connect);
    }

    pub(super) fn not_welcomed(&mut self, at: MachineAt, conn: ConnId) {
        if (self.machines[at].connecting).is_some_and(|(to, _)| to == conn) {
            self.machines[at].connecting = None;
            self.send(conn, Message::Up(Up::Closed));
            self.network.conn_mut(conn).worker_open = false;
            self.connect_later(at);
        }
    }
}
