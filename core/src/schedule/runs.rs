//! Runs begin, stop and end.

use std::time::Duration;

use super::effect::{Effect, GrantReason, StopReason};
use super::event::Rejected;
use super::mutation::Mutation;
use super::recovery::Recovery;
use super::request::RunRequest;
use super::run::{Phase, Run, Stopping};
use super::scheduler::Scheduler;
use crate::id::{CaseIndex, RunId, WorkerId};
use crate::time::Timestamp;
use crate::verdict::CaseStatus;

impl Scheduler {
    pub(super) fn run_submitted(
        &mut self,
        id: RunId,
        request: RunRequest,
        out: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        let mut run = self.begin(id, request, self.now)?;
        let mut reused = Vec::new();
        for case in (0..).map(CaseIndex).take(run.cases.len()) {
            if run.planned(case).reused {
                reused.push(case)
            } else {
                run.enqueue(case)
            }
        }
        self.insert(id, run);
        for case in reused {
            self.settle(id, case, CaseStatus::Reused, out);
        }
        self.end_if_over(id, out);
        Ok(())
    }

    pub(super) fn run_restored(
        &mut self,
        id: RunId,
        request: RunRequest,
        recovery: Recovery,
        out: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        let last = recovery.progress.last_key_value();
        if last.is_some_and(|(case, _)| case.at() >= request.cases.len()) {
            let fault = "its progress names a case that it does not have";
            return Err(Rejected::Malformed(id, fault));
        }
        let mut run = self.begin(id, request, recovery.submitted)?;
        let longer = self
            .policy
            .restored_grace
            .saturating_sub(self.policy.client_grace);
        run.detached_at = Some(self.now.after(longer));
        run.first_grant_at = recovery.first_grant.map(|at| at.min(self.now));
        run.stopping = recovery.stopping.map(|reason| Stopping {
            reason,
            kill_running: true,
        });
        let forgets = self.mutated(Mutation::ForgetSettled);
        let mut known = vec![false; run.cases.len()];
        for (case, progress) in recovery.progress {
            run.cases[case.at()].attempt = progress.attempt.max(1);
            if progress.started {
                run.cases[case.at()].again = Some(GrantReason::Lost);
            }
            if let Some(status) = progress.settled.filter(|_| !forgets) {
                known[case.at()] = true;
                run.settled += 1;
                run.failures += u32::from(status.fails());
            }
        }
        let open: Vec<CaseIndex> = (0..)
            .map(CaseIndex)
            .zip(&known)
            .filter_map(|(case, known)| (!known).then_some(case))
            .collect();
        let stopping = run.stopping.is_some();
        if !stopping {
            open.iter().for_each(|case| run.enqueue(*case));
        }
        self.insert(id, run);
        if stopping {
            // What ran has ended with the coordinator before.
            for case in open {
                self.settle(id, case, CaseStatus::NotRun, out);
            }
        }
        self.stop_after_failures(id, out);
        self.end_if_over(id, out);
        Ok(())
    }

    fn begin(&mut self, id: RunId, request: RunRequest, submitted: Timestamp) -> Result<Run, Rejected> {
        if self.runs.contains_key(&id) {
            return Err(Rejected::DuplicateRun(id));
        }
        if let Some(fault) = fault_of(&request) {
            return Err(Rejected::Malformed(id, fault));
        }
        let class = self.class_of(request.in_place, &request.platform);
        let unknown = self.policy.unknown_estimate;
        // The low bits of a run's id are random: no two runs without history have the same bad luck.
        let salt = id.as_u128() as u32;
        let mut run = Run::new(
            request,
            class,
            self.generation,
            unknown,
            self.now,
            submitted.min(self.now),
            salt,
        );
        if self.mutated(Mutation::IgnoreGroupLimit) {
            run.groups.iter_mut().for_each(|group| group.max = u32::MAX);
        }
        Ok(run)
    }

    fn insert(&mut self, id: RunId, run: Run) {
        let submitter = run.request.submitter.as_str();
        let share = self.policy.shares.get(submitter).copied().unwrap_or(1);
        self.shares.enter(run.queue(), submitter, share, self.now);
        self.runs.insert(id, run);
        self.order.push(id);
    }

    pub(super) fn setup_script_failed(
        &mut self,
        run: RunId,
        worker: WorkerId,
        out: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        self.known_run(run)?;
        self.heard_of(worker)?;
        self.stop(run, StopReason::SetupScriptFailed, true, out);
        Ok(())
    }

    pub(super) fn client_attached(&mut self, id: RunId, attached: bool) -> Result<(), Rejected> {
        let run = self.runs.get_mut(&id).ok_or(Rejected::UnknownRun(id))?;
        run.detached_at = if attached {
            None
        } else {
            run.detached_at.or(Some(self.now))
        };
        Ok(())
    }

    /// The times at which a run is stopped, each with why.
    fn stops(&self, run: &Run) -> [Option<(Timestamp, StopReason)>; 3] {
        // A run that stops by itself may still wait for a case that hangs: that wait has an end, too.
        if run.stopping.is_some_and(|stopping| stopping.kill_running) {
            return [None; 3];
        }
        let client_gone = run.detached_at.map(|at| at.after(self.policy.client_grace));
        let stranded = run.stranded_at.map(|at| at.after(self.policy.stranded_grace));
        [
            run.ends_at.map(|at| (at, StopReason::GlobalTimeout)),
            client_gone.map(|at| (at, StopReason::Cancelled)),
            stranded.map(|at| (at, StopReason::Stranded)),
        ]
    }

    /// The next time at which something happens to a run by itself.
    pub(super) fn run_deadline(&self, run: &Run) -> Option<Timestamp> {
        let stops = self.stops(run).into_iter().flatten().map(|(at, _)| at);
        let delayed = run.delayed.first().map(|(at, _)| *at);
        stops.chain(delayed).chain(run.avoids.first().copied()).min()
    }

    pub(super) fn advance_run(&mut self, id: RunId, out: &mut Vec<Effect>) {
        let (now, forgets) = (self.now, self.mutated(Mutation::ForgetDelayedRetry));
        let Some(run) = self.runs.get_mut(&id) else { return };
        while let Some(&(due, case)) = run.delayed.first()
            && due <= now
        {
            run.delayed.remove(&(due, case));
            if !forgets {
                run.enqueue(case);
            }
        }
        while run.avoids.first().is_some_and(|until| *until <= now) {
            run.avoids.pop_first();
        }
        self.note_stranded(id);
        let stops = self.stops(&self.runs[&id]);
        let due = stops.into_iter().flatten().find(|(at, _)| *at <= now);
        if let Some((_, reason)) = due {
            self.stop(id, reason, true, out);
        }
    }

    /// A run is stranded while none of its cases is out and no worker could take one.
    fn note_stranded(&mut self, id: RunId) {
        let Some(run) = self.runs.get(&id) else { return };
        let hopeless = run.held_by.is_empty() && self.class(run.class).workers == 0;
        let (now, run) = (
            self.now,
            self.runs.get_mut(&id).expect("it was there a line before"),
        );
        run.stranded_at = if hopeless {
            run.stranded_at.or(Some(now))
        } else {
            None
        };
    }

    /// Gives a case its final status.
    pub(super) fn settle(&mut self, id: RunId, case: CaseIndex, status: CaseStatus, out: &mut Vec<Effect>) {
        if self.mutated(Mutation::SettleTwice) {
            out.push(Effect::CaseSettled {
                run: id,
                case,
                status: status.clone(),
            });
        }
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.cases[case.at()].phase = Phase::Settled;
        run.settled += 1;
        run.suspects -= u32::from(run.cases[case.at()].losses > 0);
        if status.fails() {
            run.failures += 1;
        }
        out.push(Effect::CaseSettled {
            run: id,
            case,
            status,
        });
    }

    pub(super) fn stop_after_failures(&mut self, id: RunId, out: &mut Vec<Effect>) {
        let Some(run) = self.runs.get(&id) else { return };
        let max_fail = run.request.max_fail;
        if max_fail.count.is_some_and(|count| run.failures >= count) && !run.is_over() {
            self.stop(id, StopReason::MaxFail, max_fail.kill_running, out);
        }
    }

    /// Stops a run: nothing more is started; with `kill_running` what runs is ended, too.
    pub(super) fn stop(&mut self, id: RunId, reason: StopReason, kill_running: bool, out: &mut Vec<Effect>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        let stopping = Stopping { reason, kill_running };
        match run.stopping {
            Some(before) if before.kill_running || !kill_running => return,
            Some(before) => {
                run.stopping = Some(Stopping {
                    kill_running,
                    ..before
                })
            }
            None => {
                run.stopping = Some(stopping);
                out.push(Effect::RunStopping { run: id, reason });
            }
        }
        let unstarted: Vec<CaseIndex> = (0..)
            .map(CaseIndex)
            .zip(&run.cases)
            .filter(|(_, state)| matches!(state.phase, Phase::Pending | Phase::Delayed(_)))
            .map(|(case, _)| case)
            .collect();
        run.clear_pending();
        out.extend(run.held_by.keys().map(|&worker| Effect::Revoke {
            worker,
            run: id,
            cases: Vec::new(),
            kill_running,
        }));
        let untried = if self.mutated(Mutation::PassUntried) {
            CaseStatus::Passed
        } else {
            CaseStatus::NotRun
        };
        for case in unstarted {
            self.settle(id, case, untried.clone(), out);
        }
        self.end_if_over(id, out);
    }

    /// Ends a run all of whose cases are settled.
    pub(super) fn end_if_over(&mut self, id: RunId, out: &mut Vec<Effect>) {
        if !self.runs.get(&id).is_some_and(Run::is_over) {
            return;
        }
        self.account_slots();
        let Some(run) = self.runs.remove(&id) else { return };
        self.order.retain(|other| *other != id);
        self.shares.leave(run.queue(), &run.request.submitter);
        let took = run
            .first_grant_at
            .map_or(Duration::ZERO, |first| self.now.since(first));
        // Of the time before a run was restored nobody knows the slots.
        let counted = run.slots_from.map_or(Duration::ZERO, |from| self.now.since(from));
        // Rounded up: the floor is what no schedule beats, and those that came late count as if they had been there.
        let slots = run.slot_micros.div_ceil(counted.as_micros().max(1));
        let least = u128::from(run.first_grant_at.is_some());
        out.push(Effect::RunEnded {
            run: id,
            reason: run
                .stopping
                .map_or(StopReason::Complete, |stopping| stopping.reason),
            took,
            slots: u32::try_from(slots.max(least)).unwrap_or(u32::MAX),
            workers: run.known_to.into_keys().collect(),
        });
    }

    /// Adds up, for every run, the slots that were there for it since the last time. To be called before the
    /// set of workers changes.
    pub(super) fn account_slots(&mut self) {
        for run in self.runs.values_mut() {
            if run.slots_from.is_some() {
                let slots = u128::from(self.classes[run.class.at()].slots);
                run.slot_micros += slots * self.now.since(run.slot_micros_to).as_micros();
            }
            run.slot_micros_to = self.now;
        }
    }
}

/// What is wrong with a request, if anything.
fn fault_of(request: &RunRequest) -> Option<&'static str> {
    let (groups, binaries) = (request.groups.len(), request.binaries.len());
    let mut cases = request.cases.iter();
    if cases
        .clone()
        .any(|case| case.group.is_some_and(|group| group.at() >= groups))
    {
        Some("a case names a test group that the run does not have")
    } else if cases.any(|case| case.binary.at() >= binaries) {
        Some("a case names a test binary that the run does not have")
    } else if u32::try_from(request.cases.len()).is_err() {
        Some("it has more than 4,294,967,295 cases")
    } else {
        None
    }
}
