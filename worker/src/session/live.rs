//! A session while it lasts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use thresh_core::fault::Fault;
use thresh_core::id::{CaseIndex, Generation, RunId};
use thresh_core::session::{Effect, Event, Session, Terms};
use thresh_core::time::Timestamp;
use thresh_proto::convert::InvalidMessage;
use thresh_proto::v1::worker_message::Message;
use thresh_proto::v1::worker_report::Report;
use thresh_proto::v1::{self, LeasedCase, cordon};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use super::clock::{Clock, START};
use super::outbox::Outbox;
use super::worker::Parts;
use crate::exec::Killer;
use crate::inputs::{Brief, News, Preparation, PrepareError, Ready};
use crate::slots::{Said, Word};

/// So often cases may come back for want of usable inputs before the worker takes no more.
const FAILURES_MAX: u32 = 3;

/// A grant of a case.
pub(super) type Grant = (CaseIndex, Generation);

/// A session while it lasts: the core's decisions, and what is needed to carry them out.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) parts: Arc<Parts>,
    pub(super) core: Session,
    pub(super) effects: Vec<Effect>,
    pub(super) runs: BTreeMap<RunId, Run>,
    pub(super) outbox: Outbox,
    /// Processes that have been started and have not ended.
    pub(super) busy: u32,
    /// Why the session is over, once it is.
    pub(super) over: Option<String>,
    pub(super) draining: bool,
    /// Whether processes that are to end may first try to (SIGTERM).
    pub(super) gently: bool,
    /// Preparations that were cancelled.
    pub(super) ending: JoinSet<()>,
    /// Killers of cases that have ended which were asked for nothing, for further cases.
    pub(super) spare: Vec<Killer>,
    pub(super) said: UnboundedSender<Said>,
    pub(super) news: UnboundedSender<(RunId, News)>,
    clock: Clock,
    failures: u32,
    cordoned: bool,
}

/// A run that the coordinator told of.
#[derive(Debug)]
pub(super) struct Run {
    /// Or why it cannot be understood.
    pub(super) brief: Result<Arc<Brief>, InvalidMessage>,
    pub(super) preparation: Option<Preparation>,
    pub(super) ready: Option<Arc<Ready>>,
    /// Why inputs of it are not usable.
    pub(super) failure: Option<PrepareError>,
    /// Leased and not started.
    pub(super) waiting: BTreeMap<Grant, LeasedCase>,
    pub(super) running: BTreeMap<Grant, Killer>,
}

impl Live {
    /// `greeted` is when the worker said hello. `said` and `news` lead back to this session's loop. Unbounded: see their senders.
    pub(super) fn new(
        parts: Arc<Parts>,
        terms: Terms,
        greeted: Instant,
        said: UnboundedSender<Said>,
        news: UnboundedSender<(RunId, News)>,
    ) -> Self {
        Self {
            core: Session::new(terms, parts.config.slots, START),
            parts,
            effects: Vec::new(),
            runs: BTreeMap::new(),
            outbox: Outbox::default(),
            busy: 0,
            over: None,
            draining: false,
            gently: false,
            ending: JoinSet::new(),
            spare: Vec::new(),
            said,
            news,
            clock: Clock::starting(greeted),
            failures: 0,
            cordoned: false,
        }
    }

    /// Lets time pass, as far as it has.
    pub(super) fn advance(&mut self) -> Timestamp {
        let now = self.clock.now();
        self.core.advance(now, &mut self.effects);
        if self.effects.contains(&Effect::Over) {
            self.over.get_or_insert_with(|| {
                "the coordinator was not heard for longer than the leases live".to_owned()
            });
        }
        self.settle();
        now
    }

    /// Tells the core of an event and carries out what follows. Time comes first.
    pub(super) fn apply(&mut self, event: Event) {
        let now = self.advance();
        self.core.apply(now, event, &mut self.effects);
        self.settle();
    }

    /// When something is due by itself.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.core
            .next_deadline()
            .map(|deadline| self.clock.instant(deadline))
    }

    /// Ends the session: everything is killed.
    pub(super) fn end(&mut self, cause: String) {
        self.over.get_or_insert(cause);
        self.apply(Event::Disconnected);
    }

    /// Takes no more cases, and gives back those that have not started.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.cordon(cordon::Reason::Drain, "the worker is leaving".to_owned());
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        for run in runs {
            self.apply(Event::Revoked {
                run,
                cases: Vec::new(),
                kill_running: false,
            });
        }
    }

    /// Whether a draining session has nothing left to do.
    pub(super) fn is_done(&self) -> bool {
        self.draining && self.busy == 0 && self.outbox.is_empty()
    }

    /// Whether what is to be sent may wait a little: no slot waits for what comes of it.
    pub(super) fn may_wait(&self) -> bool {
        self.busy == self.parts.config.slots && !self.outbox.is_empty() && !self.outbox.is_urgent()
    }

    /// A slot said something.
    pub(super) fn heard(&mut self, said: Said) {
        let Said {
            run,
            case,
            generation,
            word,
        } = said;
        match word {
            Word::Slow(slow) => {
                let elapsed = Some(thresh_proto::convert::duration_to_wire(slow.elapsed));
                let will_terminate = slow.will_terminate;
                let slow = v1::Slow {
                    case: case.0,
                    generation: generation.0,
                    elapsed,
                    will_terminate,
                };
                self.report(run, Report::Slow(slow));
            }
            Word::Ended(attempt) => self.ended(run, (case, generation), Report::Attempt(*attempt)),
            Word::NotKept(message) => {
                let error = PrepareError::other(Fault::Environment, message);
                self.failed(&error);
                let report = returned(&[(case, generation)], error.to_string());
                self.ended(run, (case, generation), report);
            }
            Word::NotStarted(cause) => {
                let error = PrepareError::io("prepare temp folders in", "the run's folder".as_ref(), &cause);
                self.failed(&error);
                let report = returned(&[(case, generation)], error.to_string());
                self.ended(run, (case, generation), report);
            }
        }
    }

    fn ended(&mut self, run: RunId, grant: Grant, report: Report) {
        self.busy -= 1;
        let killer = (self.runs.get_mut(&run)).and_then(|run| run.running.remove(&grant));
        self.spare.extend(killer.filter(Killer::is_unused));
        self.report(run, report);
        self.apply(Event::Ended {
            run,
            case: grant.0,
            generation: grant.1,
        });
    }

    /// A preparation said something.
    pub(super) fn learnt(&mut self, id: RunId, news: News) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match news {
            News::SetupScript(script) => {
                let script = v1::SetupScriptEnded {
                    worker: self.parts.config.name.clone(),
                    ..*script
                };
                self.report(id, Report::SetupScript(script));
            }
            News::Prepared { binary, result } => {
                let usable = result.is_ok();
                match result {
                    Ok(ready) => run.ready = Some(ready),
                    Err(error) => {
                        tracing::warn!(run = %id, fault = %error.fault(), "failed to {error}");
                        run.failure = Some(error);
                    }
                }
                self.apply(Event::Prepared {
                    run: id,
                    binary,
                    usable,
                });
            }
        }
    }

    /// Reports, unless the run or the session is over.
    pub(super) fn report(&mut self, run: RunId, report: Report) {
        if self.over.is_none() && self.runs.contains_key(&run) {
            self.outbox.report(run, report);
        }
    }

    /// Cases come back because of `error`: after several such failures, or at once where the next would fail in
    /// the same way, the worker takes no more. A run that no worker can prepare must not cost the farm its
    /// workers.
    pub(super) fn failed(&mut self, error: &PrepareError) {
        match error {
            PrepareError::DiskFull(_) => self.cordon(cordon::Reason::DiskFull, error.to_string()),
            // About the run, not about the worker.
            PrepareError::SetupScript(_)
            | PrepareError::Cancelled
            | PrepareError::Other {
                fault: Fault::Input, ..
            } => {}
            PrepareError::Other { .. } => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    self.cordon(
                        cordon::Reason::Fault,
                        format!("{error} (and {FAILURES_MAX} failures in all)"),
                    );
                }
            }
        }
    }

    fn cordon(&mut self, reason: cordon::Reason, message: String) {
        if !self.cordoned || reason == cordon::Reason::Drain {
            self.cordoned = true;
            tracing::warn!("this worker takes no more cases: {message}");
            self.outbox.send(Message::Cordon(v1::Cordon {
                reason: reason.into(),
                message,
            }));
        }
    }
}

/// The report that gives cases back.
pub(super) fn returned(grants: &[Grant], message: String) -> Report {
    let cases = grants
        .iter()
        .map(|(case, generation)| v1::CaseGrant {
            case: case.0,
            generation: generation.0,
        })
        .collect();
    Report::Returned(v1::Returned { cases, message })
}
