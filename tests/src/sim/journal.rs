//! What is durable.

use std::collections::BTreeMap;

use thresh_core::id::RunId;
use thresh_core::schedule::{Effect, Event, Recovery, RunRequest};
use thresh_core::time::Timestamp;

/// What a coordinator accepted, and what it wants done.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Event(Event),
    Effect(Effect),
}

/// What survives a coordinator.
#[derive(Debug, Default)]
pub(super) struct Journal {
    runs: BTreeMap<RunId, Kept>,
}

#[derive(Debug)]
struct Kept {
    request: RunRequest,
    recovery: Recovery,
    ended: bool,
}

impl Journal {
    pub(super) fn knows(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    pub(super) fn ended(&self, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|kept| kept.ended)
    }

    /// The events that tell a new coordinator of the runs that go on.
    pub(super) fn restore(&mut self) -> Vec<Event> {
        let open = self.runs.iter().filter(|(_, kept)| !kept.ended);
        let restored = open.map(|(&run, kept)| Event::RunRestored {
            run,
            request: kept.request.clone(),
            recovery: kept.recovery.clone(),
        });
        restored.collect()
    }

    pub(super) fn absorb(&mut self, now: Timestamp, entry: &Entry) {
        match entry {
            Entry::Event(Event::RunSubmitted(run, request)) => {
                let kept = Kept {
                    request: request.clone(),
                    recovery: Recovery::new(now),
                    ended: false,
                };
                self.runs.insert(*run, kept);
            }
            Entry::Event(Event::CaseStarted { run, case, .. }) => {
                if let Some(kept) = self.runs.get_mut(run) {
                    kept.recovery.started(now, *case);
                }
            }
            Entry::Event(_) => {}
            Entry::Effect(effect) => self.absorb_effect(effect),
        }
    }

    fn absorb_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::AttemptAccepted {
                run,
                case,
                attempt,
                outcome,
                retry_in,
                ..
            } => {
                if let Some(Kept {
                    request, recovery, ..
                }) = self.runs.get_mut(run)
                {
                    recovery.accepted(request, *case, *attempt, outcome, retry_in.is_some());
                }
            }
            Effect::RunStopping { run, reason } => {
                if let Some(kept) = self.runs.get_mut(run) {
                    kept.recovery.stopping(*reason);
                }
            }
            Effect::CaseSettled { run, case, status } => {
                if let Some(kept) = self.runs.get_mut(run) {
                    kept.recovery.settled(*case, status.clone());
                }
            }
            Effect::RunEnded { run, .. } => {
                if let Some(kept) = self.runs.get_mut(run) {
                    kept.ended = true;
                }
            }
            Effect::Grant { .. }
            | Effect::Revoke { .. }
            | Effect::CopyCancelled { .. }
            | Effect::WorkerLost { .. } => {}
        }
    }
}
