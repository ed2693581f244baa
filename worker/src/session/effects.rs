//! Carries out what the core decides.

use std::io;
use std::sync::Arc;

use thresh_core::fault::Fault;
use thresh_core::id::{BinaryIndex, RunId};
use thresh_core::session::{Effect, Event};
use thresh_proto::v1;
use thresh_proto::v1::outcome::Kind;
use thresh_proto::v1::worker_message::Message;
use thresh_proto::v1::worker_report::Report;
use thresh_proto::v1::{Heartbeat, Started};

use super::live::{Grant, Live, Run, returned};
use crate::exec::Killer;
use crate::inputs::{Preparation, PrepareError};
use crate::slots::Assignment;

impl Live {
    /// Carries out all effects, also those that follow from carrying them out.
    pub(super) fn settle(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare { run, binary } => self.prepare(run, binary),
            Effect::Start {
                run,
                case,
                generation,
                slot,
            } => self.start(run, (case, generation), slot),
            Effect::Kill {
                run,
                case,
                generation,
            } => self.kill(run, (case, generation)),
            Effect::Return { run, cases } => self.give_back(run, &cases),
            Effect::Release(run) => self.release(run),
            Effect::SendHeartbeat { sent, round_trip } => {
                let round_trip = round_trip.map_or(0, |took| took.as_micros().max(1));
                self.outbox.send(Message::Heartbeat(Heartbeat {
                    sent_micros: sent.as_micros(),
                    round_trip_micros: u64::try_from(round_trip).unwrap_or(u64::MAX),
                }));
            }
            Effect::Over => {
                self.over.get_or_insert_with(|| "it was ended".to_owned());
            }
        }
    }

    fn prepare(&mut self, id: RunId, binary: BinaryIndex) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.preparation.is_none() {
            let Ok(brief) = &run.brief else { return };
            let news = self.news.clone();
            let report = move |said| {
                // Fails only when the session has ended, and then nobody wants to know.
                let _ = news.send((id, said));
            };
            match Preparation::start(self.parts.inputs.clone(), brief.clone(), report) {
                Ok(preparation) => run.preparation = Some(preparation),
                Err(cause) => {
                    run.failure = Some(PrepareError::io(
                        "begin with run",
                        id.to_string().as_ref(),
                        &cause,
                    ));
                    return self.apply(Event::Prepared {
                        run: id,
                        binary,
                        usable: false,
                    });
                }
            }
        }
        if let Some(preparation) = &run.preparation {
            preparation.prepare(binary);
        }
    }

    fn start(&mut self, id: RunId, grant: Grant, slot: u32) {
        match self.try_start(id, grant, slot) {
            Ok(()) => {
                let (case, generation) = (grant.0.0, grant.1.0);
                self.report(id, Report::Started(Started { case, generation }));
            }
            Err(cause) => {
                let error = PrepareError::io("start a case in slot", slot.to_string().as_ref(), &cause);
                self.failed(&error);
                self.report(id, returned(&[grant], error.to_string()));
                self.apply(Event::Ended {
                    run: id,
                    case: grant.0,
                    generation: grant.1,
                });
            }
        }
    }

    fn try_start(&mut self, id: RunId, grant: Grant, slot: u32) -> io::Result<()> {
        let run = self
            .runs
            .get_mut(&id)
            .ok_or_else(|| io::Error::other("its run is not known"))?;
        let case = run
            .waiting
            .remove(&grant)
            .ok_or_else(|| io::Error::other("it is not leased"))?;
        let ready = run
            .ready
            .clone()
            .ok_or_else(|| io::Error::other("its run is not ready"))?;
        let killer = match self.spare.pop() {
            Some(killer) => killer,
            None => Killer::new()?,
        };
        let assignment = Assignment {
            run: id,
            ready,
            case,
            killer: killer.clone(),
            said: self.said.clone(),
        };
        if !self.parts.pool.assign(slot, assignment) {
            return Err(io::Error::other("the slot's thread has ended"));
        }
        run.running.insert(grant, killer);
        self.busy += 1;
        Ok(())
    }

    fn kill(&mut self, id: RunId, grant: Grant) {
        if let Some(killer) = self.runs.get(&id).and_then(|run| run.running.get(&grant)) {
            if self.gently && self.over.is_none() {
                killer.terminate();
            } else {
                killer.kill();
            }
        }
    }

    fn give_back(&mut self, id: RunId, grants: &[Grant]) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        for grant in grants {
            run.waiting.remove(grant);
        }
        let failure = run.failure.clone();
        let is_action = run.brief.as_ref().is_ok_and(|brief| brief.outputs.is_some());
        if let Some(error) = failure
            .as_ref()
            .filter(|error| is_action && error.fault() == Fault::Input)
        {
            // Every worker would find the same.
            for grant in grants {
                self.report(id, not_executed(*grant, error));
            }
            return;
        }
        if let Some(error) = &failure {
            self.failed(error);
        }
        let message = failure.map_or_else(|| "asked to".to_owned(), |error| error.to_string());
        self.report(id, returned(grants, message));
    }

    /// Lets go of what was prepared. The run's folders go when its last process has ended.
    pub(super) fn release(&mut self, id: RunId) {
        while self.ending.try_join_next().is_some() {}
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.ready = None;
        if let Some(preparation) = run.preparation.take() {
            preparation.cancel();
            self.ending.spawn(preparation.ended());
        }
    }
}

/// The report on an action that cannot be executed.
fn not_executed((case, generation): Grant, error: &PrepareError) -> Report {
    let outcome = v1::Outcome {
        kind: Kind::Failed.into(),
        exec_error: error.to_string(),
        ..v1::Outcome::default()
    };
    Report::Attempt(v1::Attempt {
        case: case.0,
        generation: generation.0,
        outcome: Some(outcome),
        ..v1::Attempt::default()
    })
}

impl Run {
    pub(super) fn new(
        brief: Result<Arc<crate::inputs::Brief>, thresh_proto::convert::InvalidMessage>,
    ) -> Self {
        Self {
            brief,
            preparation: None,
            ready: None,
            failure: None,
            waiting: Default::default(),
            running: Default::default(),
        }
    }
}
