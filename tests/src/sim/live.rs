//! A worker's shell around its session.

use std::collections::{BTreeMap, BTreeSet};

use thresh_core::id::RunId;
use thresh_core::schedule::{CordonReason, Violation};
use thresh_core::session::{Effect, Event, LeasedCase, Session, Terms};

use super::ledger::violation;
use super::message::{Down, Grant, Message, Up};
use super::step::{ConnId, MachineAt, OnMachine, Step};
use super::world::World;

/// A session while it lasts.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) conn: ConnId,
    session: Session,
    pub(super) runs: BTreeSet<RunId>,
    /// The slots that waiting cases will take.
    weights: BTreeMap<Grant, u32>,
    /// The leases that came, and whether they were given back at once: those are done with.
    came: BTreeMap<Grant, bool>,
    pub(super) over: bool,
    draining: bool,
    pub(super) cordoned: bool,
    wake_at: u64,
}

impl World<'_> {
    /// Something arrives at a worker.
    pub(super) fn worker_hears(
        &mut self,
        at: MachineAt,
        conn: ConnId,
        message: Down,
    ) -> Result<(), Violation> {
        if let Down::Welcome(_) = message {
            return self.welcomed(at, conn);
        }
        let Some(live) = self.machines[at].live.as_mut().filter(|live| live.conn == conn) else {
            // The first word must be the welcome.
            self.not_welcomed(at, conn);
            return Ok(());
        };
        match message {
            Down::Welcome(_) => Ok(()),
            Down::Heartbeat(sent) => self.tell(at, Event::HeartbeatAnswered { sent }),
            Down::Brief(run) => {
                live.runs.insert(run);
                Ok(())
            }
            Down::Lease(run, cases) => self.leased(at, run, cases),
            Down::Revoke {
                run,
                cases,
                kill_running,
            } => self.tell(
                at,
                Event::Revoked {
                    run,
                    cases,
                    kill_running,
                },
            ),
            Down::Forget(run) => {
                live.runs.remove(&run);
                self.tell(at, Event::Forgotten(run))
            }
            Down::Closed => self.tell(at, Event::Disconnected),
        }
    }

    fn welcomed(&mut self, at: MachineAt, conn: ConnId) -> Result<(), Violation> {
        let machine = &mut self.machines[at];
        let Some((_, greeted)) = machine.connecting.filter(|(to, _)| *to == conn) else {
            return Ok(());
        };
        if !machine.processes.is_empty() {
            return violation("session-begins-idle", || format!("m{at} still runs processes"));
        }
        machine.connecting = None;
        let terms = Terms {
            heartbeat: self.drawn.policy.heartbeat,
            lease_ttl: self.drawn.policy.lease_ttl,
        };
        machine.live = Some(Live {
            conn,
            session: Session::new(terms, machine.spec.slots, greeted),
            runs: BTreeSet::new(),
            weights: BTreeMap::new(),
            came: BTreeMap::new(),
            over: false,
            draining: false,
            cordoned: false,
            wake_at: u64::MAX,
        });
        for report in std::mem::take(&mut machine.unsaid) {
            self.count("worker: an outcome of the session before");
            self.send(conn, Message::Up(report));
        }
        if self.machines[at].leaving.is_some() {
            self.leave(at)?;
        }
        self.wake(at)
    }

    fn leased(&mut self, at: MachineAt, run: RunId, mut cases: Vec<LeasedCase>) -> Result<(), Violation> {
        let Some(live) = &mut self.machines[at].live else {
            return Ok(());
        };
        let grant = |case: &LeasedCase| Grant {
            run,
            case: case.case,
            generation: case.generation,
        };
        cases.retain(|case| live.came.get(&grant(case)) != Some(&true));
        if live.draining || !live.runs.contains(&run) {
            let conn = live.conn;
            cases.retain(|case| live.came.insert(grant(case), true).is_none());
            let cases = cases.iter().map(|case| (case.case, case.generation)).collect();
            self.send(conn, Message::Up(Up::Returned(run, cases)));
            return Ok(());
        }
        live.came.extend(cases.iter().map(|case| (grant(case), false)));
        live.weights
            .extend(cases.iter().map(|case| (grant(case), case.weight)));
        self.tell(at, Event::Leased { run, cases })
    }

    /// Tells the session; time comes first.
    pub(super) fn tell(&mut self, at: MachineAt, event: Event) -> Result<(), Violation> {
        let mut out = Vec::new();
        let machine = &mut self.machines[at];
        let now = machine.clock.read(self.now);
        if let Some(live) = &mut machine.live {
            live.session.advance(now, &mut out);
            live.session.apply(now, event, &mut out);
        }
        self.carry_out_session(at, out)
    }

    /// Lets a session's time pass.
    pub(super) fn wake(&mut self, at: MachineAt) -> Result<(), Violation> {
        let mut out = Vec::new();
        let machine = &mut self.machines[at];
        let now = machine.clock.read(self.now);
        if let Some(live) = &mut machine.live {
            live.wake_at = u64::MAX;
            live.session.advance(now, &mut out);
        }
        self.carry_out_session(at, out)
    }

    fn carry_out_session(&mut self, at: MachineAt, effects: Vec<Effect>) -> Result<(), Violation> {
        for effect in effects {
            self.session_effect(at, effect)?;
        }
        let now = self.now;
        let machine = &mut self.machines[at];
        let Some(live) = &mut machine.live else {
            return Ok(());
        };
        if let Some(deadline) = live.session.next_deadline() {
            let due = machine.clock.shows(now, deadline).max(now + 1);
            if due < live.wake_at {
                live.wake_at = due;
                self.on_machine(at, due, OnMachine::Wake);
            }
        }
        self.end_of_session(at);
        Ok(())
    }

    fn session_effect(&mut self, at: MachineAt, effect: Effect) -> Result<(), Violation> {
        let Some(live) = &mut self.machines[at].live else {
            return Ok(());
        };
        let conn = live.conn;
        match effect {
            Effect::Prepare { run, binary } => self.prepare(at, conn, run, binary),
            Effect::Start {
                run,
                case,
                generation,
                ..
            } => {
                let grant = Grant {
                    run,
                    case,
                    generation,
                };
                let weight = live.weights.remove(&grant).unwrap_or(1);
                self.start(at, conn, grant, weight)?;
            }
            Effect::Kill {
                run,
                case,
                generation,
            } => {
                let grant = Grant {
                    run,
                    case,
                    generation,
                };
                self.kill(at, conn, grant);
            }
            Effect::Return { run, cases } => {
                if live.runs.contains(&run) && !live.over {
                    self.count("worker: gives cases back");
                    self.send(conn, Message::Up(Up::Returned(run, cases)));
                }
            }
            Effect::Release(_) => {}
            Effect::SendHeartbeat { sent, .. } => self.send(conn, Message::Up(Up::Heartbeat(sent))),
            Effect::Over => {
                live.over = true;
                self.note(|| format!("m{at}: its session is over"));
                self.send(conn, Message::Up(Up::Closed));
                self.network.conn_mut(conn).worker_open = false;
            }
        }
        Ok(())
    }

    /// Tells a worker to leave and to come back after a while.
    pub(super) fn drain(&mut self, at: MachineAt, away: u64) {
        let machine = &mut self.machines[at];
        if machine.on && machine.leaving.is_none() {
            machine.leaving = Some(away.max(100_000));
            self.on_machine(at, self.now, OnMachine::Wake);
        }
    }

    /// Gives back what has not started and takes nothing more, once.
    pub(super) fn leave(&mut self, at: MachineAt) -> Result<(), Violation> {
        let Some(live) = self.machines[at].live.as_mut().filter(|live| !live.over) else {
            return Ok(());
        };
        if std::mem::replace(&mut live.draining, true) {
            return Ok(());
        }
        live.cordoned = true;
        let (conn, runs) = (live.conn, live.runs.clone());
        self.send(conn, Message::Up(Up::Cordon(CordonReason::Drain)));
        for run in runs {
            self.tell(
                at,
                Event::Revoked {
                    run,
                    cases: Vec::new(),
                    kill_running: false,
                },
            )?;
        }
        Ok(())
    }

    /// Ends what is over, or what has drained, once nothing runs any more.
    fn end_of_session(&mut self, at: MachineAt) {
        let machine = &mut self.machines[at];
        let Some(live) = &machine.live else { return };
        if !machine.processes.is_empty() || !(live.over || live.draining) {
            return;
        }
        let (conn, leaving) = (live.conn, live.draining.then_some(machine.leaving).flatten());
        machine.live = None;
        self.send(conn, Message::Up(Up::Closed));
        self.network.conn_mut(conn).worker_open = false;
        match leaving {
            Some(away) => {
                let machine = &mut self.machines[at];
                machine.on = false;
                machine.life += 1;
                self.push(self.now + away, Step::Boot(at));
            }
            None => self.connect_later(at),
        }
    }
}
