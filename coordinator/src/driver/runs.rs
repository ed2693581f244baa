//! What clients ask.

use std::sync::Arc;

use prost::bytes::Bytes;
use thresh_core::id::{CaseIndex, RunId};
use thresh_core::reuse::KeyParts;
use thresh_core::schedule::{Event, Rejected, RunRequest};
use thresh_core::time::Timestamp;
use thresh_proto::v1;
use thresh_proto::v1::run_event::Event as News;

use super::Refusal;
use super::command::{Capacity, Confirmed, Reply};
use super::link::Link;
use super::log::RunLog;
use super::run_state::RunState;
use super::submission::Submission;
use super::task::{Driver, answer};
use crate::restore::RestoredRun;
use crate::store::{JournalEntry, PassRecord};

impl Driver {
    /// When the oldest run that goes on was submitted.
    pub(super) fn oldest_run(&self) -> Option<Timestamp> {
        let running = self.runs.values().filter(|run| run.is_running());
        running.map(|run| run.submitted).min()
    }

    /// `encoded` is the submission for the journal, where there is one.
    pub(super) fn submit(
        &mut self,
        now: Timestamp,
        mut submission: Submission,
        encoded: Option<Bytes>,
    ) -> Result<(), Refusal> {
        let id = submission.run;
        if let Some(why) = self.outlet.trouble() {
            return Err(Refusal::NotDurable(why));
        }
        if self.runs.contains_key(&id) {
            return Err(Rejected::DuplicateRun(id).into());
        }
        let cases = std::mem::take(&mut submission.request.cases);
        let request = RunRequest {
            cases,
            ..submission.request.clone()
        };
        let slots = self
            .capacity(Some((request.platform.clone(), request.in_place)))
            .slots;
        let submitted = encoded.map(|request| JournalEntry::Submitted {
            run: id,
            project: submission.project.clone(),
            at: now,
            request,
        });
        let mut run = RunState::new(submission, now, submitted.is_some());
        run.publish(now, News::Planned(run.submission.planned(slots)));
        let reused = run.submission.reused();
        if !reused.is_empty() {
            run.publish(now, News::Reused(v1::CaseReused { cases: reused }));
        }
        self.runs.insert(id, run);
        if let Err(rejected) = self.apply(now, Event::RunSubmitted(id, request)) {
            self.runs.remove(&id);
            return Err(rejected.into());
        }
        self.submitted.extend(submitted);
        // The client has its grace period to begin to follow; one that died after submitting never will. A
        // run that is over at once is unknown to the scheduler by now.
        let _ = self.apply(now, Event::ClientDetached(id));
        Ok(())
    }

    /// Carries on a run of an earlier coordinator, or keeps one that has ended for those who follow it.
    pub(super) fn restore(&mut self, now: Timestamp, run: RestoredRun) {
        let (id, open) = (run.submission.run, run.ended.is_none());
        let recovery = run.recovery.clone();
        let mut state = RunState::restored(now, run);
        let cases = std::mem::take(&mut state.submission.request.cases);
        let request = RunRequest {
            cases,
            ..state.submission.request.clone()
        };
        self.runs.insert(id, state);
        if !open {
            return;
        }
        let restored = Event::RunRestored {
            run: id,
            request,
            recovery,
        };
        if let Err(rejected) = self.apply(now, restored) {
            tracing::error!("run {id} cannot be carried on: {rejected}");
            self.runs.remove(&id);
        }
    }

    pub(super) fn cancel(&mut self, now: Timestamp, run: RunId) -> Result<(), Refusal> {
        if self.run_mut(run)?.is_running() {
            self.apply(now, Event::RunCancelled(run))?;
        }
        Ok(())
    }

    pub(super) fn watch(&mut self, now: Timestamp, id: RunId) -> Result<Arc<RunLog>, Refusal> {
        let run = self.run_mut(id)?;
        run.watchers += 1;
        let log = run.log.clone();
        if run.is_running() && run.watchers == 1 {
            self.apply(now, Event::ClientAttached(id))?;
        }
        Ok(log)
    }

    pub(super) fn unwatch(&mut self, now: Timestamp, id: RunId) {
        let Ok(run) = self.run_mut(id) else { return };
        run.watchers = run.watchers.saturating_sub(1);
        if run.is_running() && run.watchers == 0 {
            // The run is known to be running; a rejection could only say that it is not.
            let _ = self.apply(now, Event::ClientDetached(id));
        }
    }

    /// Stores passes: where it is known what the case read, with that; the others of an in-place run as they are. Stores what
    /// its audits found, unless that may be due to files that changed.
    pub(super) fn confirm(&mut self, id: RunId, confirmed: &Confirmed, reply: Reply<u32>) {
        let run = match self.run_mut(id) {
            Ok(run) if run.is_running() => return answer(reply, Err(Refusal::NotEnded(id))),
            Ok(run) => run,
            Err(refusal) => return answer(reply, Err(refusal)),
        };
        let in_place = run.submission.is_in_place();
        let (passes, findings) = (std::mem::take(&mut run.passes), std::mem::take(&mut run.findings));
        let with_seen = |(case, pass): (CaseIndex, PassRecord)| {
            let seen = confirmed.seen.get(&case);
            let parts = seen.and_then(|seen| run.submission.parts_with_seen(case.at(), *seen));
            let coarse = run.submission.coarse_pass(case.at(), pass.at);
            (coarse.unwrap_or_else(|| pass.clone()), pass, parts)
        };
        let passes: Vec<(PassRecord, PassRecord, Option<KeyParts>)> =
            passes.into_iter().map(with_seen).collect();
        if !confirmed.changed {
            findings
                .into_iter()
                .for_each(|finding| self.recorder.audit(finding));
        }
        let mut stored: u32 = 0;
        for (coarse, mut pass, with_seen) in passes {
            match with_seen {
                Some(parts) => {
                    // Who uses the other cache does not know what was seen here, nor what the case can reach.
                    if in_place && !confirmed.changed {
                        self.recorder.share(&coarse);
                    }
                    pass.parts = parts;
                }
                None if !in_place || confirmed.changed => continue,
                None => {}
            }
            stored = stored.saturating_add(1);
            self.recorder.pass(pass);
        }
        let written = self.recorder.flush();
        tokio::spawn(async move {
            let result = match written.await {
                Ok(Ok(())) => Ok(stored),
                Ok(Err(why)) => Err(Refusal::NotStored(id, why)),
                Err(_) => Err(Refusal::ShuttingDown),
            };
            answer(reply, result);
        });
    }

    pub(super) fn capacity(&self, of: Option<(String, bool)>) -> Capacity {
        let counts = |link: &&Link| {
            let is_right_kind = of
                .as_ref()
                .is_none_or(|(platform, in_place)| link.suits(platform, *in_place));
            is_right_kind && !link.cordoned
        };
        let links = || self.links.values().filter(counts);
        Capacity {
            workers: u32::try_from(links().count()).unwrap_or(u32::MAX),
            slots: links().map(Link::slots).fold(0, u32::saturating_add),
        }
    }

    fn run_mut(&mut self, id: RunId) -> Result<&mut RunState, Refusal> {
        self.runs
            .get_mut(&id)
            .ok_or(Refusal::Rejected(Rejected::UnknownRun(id)))
    }
}
