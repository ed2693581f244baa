//! What goes wrong.

use super::message::{Message, Up};
use super::step::{MachineAt, OnMachine, Step};
use super::weather::Chaos;
use super::world::World;

/// Something that goes wrong; lengths in microseconds.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A machine is off for a while. `silent`: nobody tells the coordinator.
    Crash {
        machine: MachineAt,
        silent: bool,
        down: u64,
    },
    /// A machine stands still for a while, its clock with it or not.
    Freeze {
        machine: MachineAt,
        length: u64,
        clock_stops: bool,
    },
    /// Nothing gets through for a while, from the machine, to it, or both.
    Partition {
        machine: MachineAt,
        length: u64,
        up: bool,
        down: bool,
    },
    /// A connection breaks.
    Break {
        machine: MachineAt,
        noticed_by_worker: bool,
        noticed_by_coordinator: bool,
    },
    /// Messages are lost, doubled and overtaken.
    Chaos { machine: MachineAt, chaos: Chaos },
    /// A machine's clock jumps ahead.
    ClockJumps { machine: MachineAt, by: u64 },
    /// A machine's disk is full, until the machine is restarted.
    DiskFull { machine: MachineAt },
    /// A worker is told to leave, and comes back after a while.
    Drain { machine: MachineAt, away: u64 },
    /// The coordinator is killed, now or in its next commit, and another one starts after a while.
    CoordinatorCrashes { down: u64, in_commit: bool },
    /// Commits take this long for once.
    StoreStalls { length: u64 },
}

impl World<'_> {
    pub(super) fn fault(&mut self, at: usize) {
        let (_, fault) = self.drawn.faults[at].clone();
        let now = self.now;
        self.note(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Crash {
                machine,
                silent,
                down,
            } => {
                self.count("fault: a worker crashes");
                self.crash(machine, silent, down);
            }
            Fault::Freeze {
                machine,
                length,
                clock_stops,
            } => {
                self.count("fault: a worker freezes");
                self.machines[machine].freeze(now, length, clock_stops);
            }
            Fault::Partition {
                machine,
                length,
                up,
                down,
            } => {
                self.count(if up && down {
                    "fault: a partition"
                } else {
                    "fault: a one-way partition"
                });
                let weather = &mut self.network.weather[machine];
                if up {
                    weather.up_blocked_until = weather.up_blocked_until.max(now + length);
                }
                if down {
                    weather.down_blocked_until = weather.down_blocked_until.max(now + length);
                }
            }
            Fault::Break {
                machine,
                noticed_by_worker,
                noticed_by_coordinator,
            } => {
                self.count("fault: a connection breaks");
                for conn in self.network.open_conns(Some(machine)) {
                    self.cut(conn, noticed_by_worker, noticed_by_coordinator);
                }
            }
            Fault::Chaos { machine, chaos } => {
                self.count("fault: chaos");
                self.network.weather[machine].chaos = chaos;
            }
            Fault::ClockJumps { machine, by } => {
                self.count("fault: a clock jumps");
                self.machines[machine].clock.jump(now, by);
                self.on_machine(machine, now, OnMachine::Wake);
            }
            Fault::DiskFull { machine } => {
                self.count("fault: a disk is full");
                self.machines[machine].disk_full = true;
            }
            Fault::Drain { machine, away } => {
                self.count("fault: a worker drains");
                self.drain(machine, away);
            }
            Fault::CoordinatorCrashes { down, in_commit } => {
                if in_commit {
                    self.crash_in_commit = Some(down);
                } else {
                    self.coordinator_crashes(down);
                }
            }
            Fault::StoreStalls { length } => {
                self.count("fault: the store stalls");
                self.stall = length;
            }
        }
    }

    /// Cuts a connection; its ends learn of it soon, or never.
    pub(super) fn cut(&mut self, conn: u64, worker_side: bool, coordinator_side: bool) {
        let now = self.now;
        self.network.conn_mut(conn).cut_at.get_or_insert(now);
        for (told, worker_side) in [(worker_side, true), (coordinator_side, false)] {
            if told {
                let at = now + self.random.below(300_000);
                self.push(at, Step::Broken { conn, worker_side });
            }
        }
    }

    /// Switches a machine off, and on again after `down`.
    pub(super) fn crash(&mut self, at: MachineAt, silent: bool, down: u64) {
        let machine = &mut self.machines[at];
        if !machine.on {
            return;
        }
        machine.on = false;
        machine.life += 1;
        let gone: Vec<u64> = machine.processes.keys().copied().collect();
        machine.processes.clear();
        machine.live = None;
        machine.connecting = None;
        machine.unsaid.clear();
        for process in gone {
            self.ledger.process_gone(process);
        }
        for conn in self.network.open_conns(Some(at)) {
            if silent {
                self.cut(conn, false, false);
            } else {
                self.send(conn, Message::Up(Up::Closed));
            }
            self.network.conn_mut(conn).worker_open = false;
        }
        self.push(self.now + down.max(50_000), Step::Boot(at));
    }
}
