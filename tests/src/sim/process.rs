//! What runs on a machine: its inputs, its processes, and what is reported of them.

use std::time::Duration;

use thresh_core::id::{BinaryIndex, RunId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::{CordonReason, Violation};
use thresh_core::session::Event;

use super::ledger::{Seen, violation};
use super::machine::Process;
use super::message::{Grant, Message, Up};
use super::step::{ConnId, MachineAt, OnMachine, ProcessId, Step};
use super::world::World;

impl World<'_> {
    pub(super) fn prepare(&mut self, at: MachineAt, conn: ConnId, run: RunId, binary: BinaryIndex) {
        let planned = &self.request(run).binaries[binary.at()];
        let (digest, bytes) = (planned.digest, planned.bytes);
        let fetched = self.machines[at].holds.insert(digest);
        let fetch = if fetched { bytes / 100 } else { 0 };
        let took = self.random.within(500, 5_000) + fetch;
        let what = OnMachine::Prepared { conn, run, binary };
        self.on_machine(at, self.now + took, what);
    }

    pub(super) fn prepared(
        &mut self,
        at: MachineAt,
        conn: ConnId,
        run: RunId,
        binary: BinaryIndex,
    ) -> Result<(), Violation> {
        let machine = &mut self.machines[at];
        let Some(live) = machine
            .live
            .as_mut()
            .filter(|live| live.conn == conn && !live.over)
        else {
            return Ok(());
        };
        let setup_fails = self
            .drawn
            .runs
            .iter()
            .find(|of| of.run == run)
            .map_or(0, |of| of.setup_fails);
        let mut usable = true;
        if machine.disk_full {
            usable = false;
            if !std::mem::replace(&mut live.cordoned, true) {
                self.send(conn, Message::Up(Up::Cordon(CordonReason::DiskFull)));
            }
        } else if self.random.chance(setup_fails) {
            usable = false;
            self.send(conn, Message::Up(Up::SetupFailed(run)));
        }
        self.tell(at, Event::Prepared { run, binary, usable })
    }

    pub(super) fn start(
        &mut self,
        at: MachineAt,
        conn: ConnId,
        grant: Grant,
        weight: u32,
    ) -> Result<(), Violation> {
        let machine = &mut self.machines[at];
        let submission = self.drawn.runs.iter().find(|of| of.run == grant.run);
        let fate = &submission.expect("a leased case's run was submitted").fates[grant.case.at()];
        let doing = fate.attempt(&mut self.truth);
        let weight = weight.clamp(1, machine.spec.slots);
        self.last_process += 1;
        let id = self.last_process;
        let process = Process {
            conn,
            grant,
            weight,
            outcome: doing.outcome,
            takes_worker: doing.takes_worker,
            killed: false,
            started: machine.clock.read(self.now),
        };
        machine.processes.insert(id, process);
        let (busy, slots) = (machine.busy(), machine.spec.slots);
        if busy > slots {
            return violation("slots-hold-over-processes", || {
                format!("m{at} runs {busy} on {slots} slots")
            });
        }
        let took = doing.micros * machine.spec.percent / 100;
        self.note(|| format!("m{at}: p{id} runs {grant}"));
        self.on_machine(at, self.now + took, OnMachine::ProcessEnds(id));
        self.send(conn, Message::Up(Up::Started(grant)));
        let reap_at = self.ledger.started(
            Seen {
                process: id,
                machine: at,
                conn,
                grant,
                weight,
            },
            self.now,
        )?;
        if let Some(reap_at) = reap_at {
            self.push(reap_at.max(self.now), Step::Reap(id));
        }
        self.groups_hold(grant.run)
    }

    pub(super) fn kill(&mut self, at: MachineAt, conn: ConnId, grant: Grant) {
        let processes = &mut self.machines[at].processes;
        let found = processes
            .iter_mut()
            .find(|(_, of)| of.conn == conn && of.grant == grant);
        if let Some((&id, process)) = found {
            process.killed = true;
            let grace = self.random.below(200_000);
            self.on_machine(at, self.now + grace, OnMachine::ProcessEnds(id));
        }
    }

    pub(super) fn process_ends(&mut self, at: MachineAt, id: ProcessId) -> Result<(), Violation> {
        let now = self.now;
        let machine = &mut self.machines[at];
        let Some(process) = machine.processes.remove(&id) else {
            return Ok(());
        };
        let took = machine.clock.read(now).since(process.started);
        self.ledger.process_gone(id);
        let grant = process.grant;
        if process.takes_worker && !process.killed {
            self.count("worker: taken down by a case");
            let silent = self.random.chance(500);
            self.crash(at, silent, 500_000);
            return Ok(());
        }
        let outcome = if process.killed {
            Outcome::Cancelled
        } else {
            process.outcome
        };
        if outcome.is_about_the_case() {
            self.ledger.produced(grant.run, grant.case, &outcome);
        }
        self.report(at, Up::Ended(grant, outcome, took));
        self.tell(
            at,
            Event::Ended {
                run: grant.run,
                case: grant.case,
                generation: grant.generation,
            },
        )
    }

    /// Reports an end: as it should, or twice, or late, or with an absurd duration.
    fn report(&mut self, at: MachineAt, report: Up) {
        let stutters = if self.calm {
            0
        } else {
            self.machines[at].spec.stutters
        };
        let Up::Ended(grant, outcome, took) = report else {
            return;
        };
        let machine = &mut self.machines[at];
        let sayable = machine
            .live
            .as_ref()
            .filter(|live| !live.over && live.runs.contains(&grant.run));
        let Some(conn) = sayable.map(|live| live.conn) else {
            if self.random.chance(stutters * 3) {
                machine.unsaid.push(Up::Ended(grant, outcome, took));
            }
            return;
        };
        if self.random.chance(stutters) {
            machine.unsaid.push(Up::Ended(grant, outcome.clone(), took));
        }
        let took = if self.random.chance(stutters / 10) {
            Duration::from_secs(1_000_000_000)
        } else {
            took
        };
        let report = Message::Up(Up::Ended(grant, outcome, took));
        let at_most = self.random.pick(&[20_000, 400_000, 4_000_000]);
        let later = self.now + self.random.below(at_most);
        if self.random.chance(stutters) {
            self.count("worker: an outcome late");
            self.on_machine(at, later, OnMachine::Resend(report));
            return;
        }
        if self.random.chance(stutters) {
            self.count("worker: an outcome twice");
            self.on_machine(at, later, OnMachine::Resend(report.clone()));
        }
        self.send(conn, report);
    }

    /// Sends a report on whatever connection there is by now.
    pub(super) fn resend(&mut self, at: MachineAt, message: Message) {
        let live = self.machines[at].live.as_ref().filter(|live| !live.over);
        if let Some(conn) = live.map(|live| live.conn) {
            self.send(conn, message);
        }
    }
}
