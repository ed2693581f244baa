//! What the coordinator says.

use std::sync::Arc;

use thresh_core::id::{BinaryIndex, CaseIndex, Generation, RunId};
use thresh_core::session::{Event, LeasedCase};
use thresh_core::time::Timestamp;
use thresh_proto::convert::{InvalidMessage, run_id_from_wire};
use thresh_proto::v1::coordinator_message::Message;
use thresh_proto::v1::{self, CoordinatorMessage};

use super::live::{Grant, Live, Run, returned};
use crate::inputs::Brief;

impl Live {
    /// Takes one message. One that cannot be understood changes nothing.
    pub(super) fn receive(&mut self, message: CoordinatorMessage) {
        let taken = match message.message {
            Some(Message::Heartbeat(reply)) => {
                let sent = Timestamp::from_micros(reply.sent_micros);
                self.apply(Event::HeartbeatAnswered { sent });
                Ok(())
            }
            Some(Message::Run(brief)) => self.told_of_run(brief),
            Some(Message::Lease(lease)) => self.leased(lease),
            Some(Message::Revoke(revoke)) => self.revoked(&revoke),
            Some(Message::Forget(forget)) => self.forgotten(&forget),
            Some(Message::Welcome(_)) | None => {
                Err(InvalidMessage::new("message", "is none that can come here"))
            }
        };
        if let Err(error) = taken {
            tracing::warn!("the coordinator sent what cannot be understood: {error}");
        }
    }

    fn told_of_run(&mut self, brief: v1::RunBrief) -> Result<(), InvalidMessage> {
        let header = brief.header.as_ref();
        let id = run_id_from_wire(header.map_or(&[][..], |header| &header.run_id))?;
        let brief = Brief::from_wire(brief).map(Arc::new);
        // A second brief changes nothing: cases of the first may run.
        self.runs.entry(id).or_insert_with(|| Run::new(brief));
        Ok(())
    }

    fn leased(&mut self, lease: v1::Lease) -> Result<(), InvalidMessage> {
        let id = run_id_from_wire(&lease.run_id)?;
        if self.draining {
            let grants: Vec<Grant> = lease.cases.iter().map(grant).collect();
            self.send_back(id, &grants, "the worker is leaving".to_owned());
            return Ok(());
        }
        let Some(run) = self.runs.get_mut(&id) else {
            let grants: Vec<Grant> = lease.cases.iter().map(grant).collect();
            self.send_back(id, &grants, "the worker was not told of the run".to_owned());
            return Ok(());
        };
        let (mut cases, mut wrong) = (Vec::with_capacity(lease.cases.len()), Vec::new());
        let mut problem = None;
        for case in lease.cases {
            let checked = match &run.brief {
                Ok(brief) => brief.check(&case),
                Err(error) => Err(error.clone()),
            };
            match checked {
                Ok(()) => {
                    cases.push(LeasedCase {
                        case: CaseIndex(case.case),
                        generation: Generation(case.generation),
                        binary: BinaryIndex(case.binary),
                        weight: case.weight,
                    });
                    run.waiting.insert(grant(&case), case);
                }
                Err(error) => {
                    wrong.push(grant(&case));
                    problem = Some(error);
                }
            }
        }
        if let Some(problem) = problem {
            // The words are the client's, passed on.
            let error = crate::inputs::PrepareError::other(
                thresh_core::fault::Fault::Input,
                format!("the coordinator's words: {problem}"),
            );
            self.failed(&error);
            self.send_back(id, &wrong, error.to_string());
        }
        self.apply(Event::Leased { run: id, cases });
        Ok(())
    }

    fn revoked(&mut self, revoke: &v1::Revoke) -> Result<(), InvalidMessage> {
        let run = run_id_from_wire(&revoke.run_id)?;
        self.gently = true;
        self.apply(Event::Revoked {
            run,
            cases: revoke.cases.iter().map(granted).collect(),
            kill_running: revoke.kill_running,
        });
        self.gently = false;
        Ok(())
    }

    fn forgotten(&mut self, forget: &v1::Forget) -> Result<(), InvalidMessage> {
        let run = run_id_from_wire(&forget.run_id)?;
        self.apply(Event::Forgotten(run));
        self.release(run);
        self.runs.remove(&run);
        Ok(())
    }

    /// Gives back cases that the core never saw, also of runs that are not known.
    fn send_back(&mut self, run: RunId, grants: &[Grant], message: String) {
        if self.over.is_none() && !grants.is_empty() {
            self.outbox.report(run, returned(grants, message));
        }
    }
}

fn granted(case: &v1::CaseGrant) -> Grant {
    (CaseIndex(case.case), Generation(case.generation))
}

fn grant(case: &v1::LeasedCase) -> Grant {
    (CaseIndex(case.case), Generation(case.generation))
}
