//! Runs of an earlier coordinator, read from the journal.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost::bytes::Bytes;
use thresh_core::estimate::Estimates;
use thresh_core::id::{CaseIndex, LeaseId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::{GrantReason, Recovery, RunRequest};
use thresh_core::time::Timestamp;
use thresh_core::verdict::{CaseStatus, Tally};
use thresh_proto::convert::{
    InvalidMessage, audited_from_wire, duration_or_zero, outcome_from_wire, stop_reason_from_wire,
};
use thresh_proto::v1::run_event::Event;
use thresh_proto::v1::{self, RunEvent};

use crate::driver::{Audited, Submission};
use crate::recorder::Recorder;
use crate::services::validate;
use crate::store::{AttemptRecord, OpenRun, RunRecord, Store, StoreError};

/// A run of an earlier coordinator.
#[derive(Debug)]
pub(crate) struct RestoredRun {
    pub(crate) submission: Submission,
    pub(crate) submitted: Timestamp,
    /// When it ended, if it did.
    pub(crate) ended: Option<Timestamp>,
    pub(crate) events: Vec<RunEvent>,
    pub(crate) recovery: Recovery,
}

/// Why a run of the journal cannot be carried on.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("its bytes are not what they should be: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    #[error("it has no header")]
    Headless,
    #[error("event {number} is missing")]
    Gap { number: u64 },
}

/// Reads the runs that go on, and those that ended at `ended_since` or later. Their history is recorded once
/// more, since its last moments may be missing. A run that cannot be read is left where it is, and said.
pub(crate) async fn restore(
    store: &dyn Store,
    recorder: &Recorder,
    ended_since: Timestamp,
) -> Result<Vec<RestoredRun>, StoreError> {
    let mut restored = Vec::new();
    for open in store.open_runs(ended_since).await? {
        let id = open.run;
        match read(open) {
            Ok(mut run) => {
                estimate(store, &mut run.submission).await;
                record(recorder, &run);
                restored.push(run);
            }
            Err(cause) => tracing::error!("run {id} of the journal cannot be carried on: {cause}"),
        }
    }
    Ok(restored)
}

fn read(open: OpenRun) -> Result<RestoredRun, Unreadable> {
    let request = v1::SubmitRequest::decode(open.request)?;
    let header = request.header.ok_or(Unreadable::Headless)?;
    let mut submission = validate(header, request.cases)?;
    let mut events = Vec::new();
    for batch in open.events {
        read_events(batch.payload, &mut events)?;
    }
    plan_as_told(&mut submission, &events);
    let recovery = recover(&submission.request, open.at, &events)?;
    let last_at = events
        .last()
        .map_or(open.at, |last| Timestamp::from_micros(last.at_micros));
    let has_ended = matches!(
        events.last().and_then(|last| last.event.as_ref()),
        Some(Event::Ended(_))
    );
    Ok(RestoredRun {
        submission,
        submitted: open.at,
        ended: has_ended.then_some(open.closed.unwrap_or(last_at)),
        events,
        recovery,
    })
}

fn read_events(mut payload: Bytes, events: &mut Vec<RunEvent>) -> Result<(), Unreadable> {
    while !payload.is_empty() {
        let event = RunEvent::decode_length_delimited(&mut payload)?;
        let number = events.len() as u64 + 1;
        if event.number != number {
            return Err(Unreadable::Gap { number });
        }
        events.push(event);
    }
    Ok(())
}

/// Has the run go on as its client was told, whatever is known by now.
fn plan_as_told(submission: &mut Submission, events: &[RunEvent]) {
    let mut reused: BTreeSet<u32> = BTreeSet::new();
    let mut quarantined: BTreeSet<u32> = BTreeSet::new();
    let mut audited: BTreeMap<CaseIndex, Audited> = BTreeMap::new();
    for event in events {
        match &event.event {
            Some(Event::Planned(planned)) => {
                quarantined.extend(&planned.quarantined);
                let cases = planned
                    .audited
                    .iter()
                    .filter_map(|case| audited_from_wire(case).ok());
                audited.extend(cases.map(|(case, past_run)| (case, Audited { past_run })));
            }
            Some(Event::Reused(cases)) => reused.extend(&cases.cases),
            _ => {}
        }
    }
    let plans = submission.plans.iter_mut().zip(&mut submission.request.cases);
    for (case, (plan, request)) in (0..).zip(plans) {
        plan.reused = reused.contains(&case);
        plan.quarantined = quarantined.contains(&case);
        plan.audited = audited.get(&CaseIndex(case)).copied();
        request.reused = plan.reused;
        request.quarantined = plan.quarantined;
    }
}

/// Folds what the journal says of a run into what the scheduler must know.
fn recover(
    request: &RunRequest,
    submitted: Timestamp,
    events: &[RunEvent],
) -> Result<Recovery, InvalidMessage> {
    let mut recovery = Recovery::new(submitted);
    for event in events {
        match &event.event {
            Some(Event::Reused(reused)) => {
                for case in &reused.cases {
                    recovery.settled(CaseIndex(*case), CaseStatus::Reused);
                }
            }
            Some(Event::Started(started)) => {
                recovery.started(Timestamp::from_micros(event.at_micros), CaseIndex(started.case));
            }
            Some(Event::Attempt(attempt)) => {
                let outcome = outcome_from_wire(attempt.outcome.as_ref())?;
                let case = CaseIndex(attempt.case);
                recovery.accepted(request, case, attempt.attempt, &outcome, !attempt.last);
            }
            Some(Event::Stopping(stopping)) => {
                recovery.stopping(stop_reason_from_wire(stopping.reason)?);
            }
            _ => {}
        }
    }
    Ok(recovery)
}

/// Fills in the estimates of today. A store that fails costs the run its order, not its life.
async fn estimate(store: &dyn Store, submission: &mut Submission) {
    match store.samples(&submission.project).await {
        Ok(samples) => submission.estimate(&Estimates::new(&samples)),
        Err(error) => tracing::warn!(
            "run {} goes on without estimates: failed to {error}",
            submission.run
        ),
    }
}

/// Records the history of a run.
fn record(recorder: &Recorder, run: &RestoredRun) {
    let mut tally = Tally::new(u32::try_from(run.submission.cases.len()).unwrap_or(u32::MAX));
    for (_, status) in run.recovery.statuses() {
        tally.count(status);
    }
    let mut outputs = BTreeMap::new();
    for event in &run.events {
        let at = Timestamp::from_micros(event.at_micros);
        match &event.event {
            Some(Event::Attempt(attempt)) => {
                record_attempt(recorder, run, at, attempt);
                outputs.insert(CaseIndex(attempt.case), attempt.output.as_ref());
            }
            Some(Event::Ended(ended)) => {
                if let Ok(reason) = stop_reason_from_wire(ended.reason) {
                    tally.not_run = tally.planned.saturating_sub(tally.reported());
                    recorder.run(RunRecord {
                        run: run.submission.run,
                        project: run.submission.project.clone(),
                        title: run.submission.header.title.clone(),
                        started: run.submitted,
                        took: duration_or_zero(ended.took),
                        reason,
                        tally,
                    });
                }
            }
            _ => {}
        }
    }
    if run.submission.is_in_place() {
        return;
    }
    let at = run.ended.unwrap_or(run.submitted);
    for (case, status) in run.recovery.statuses() {
        if status.is_clean_pass()
            && let Some(pass) = run.submission.pass(case.at(), at)
        {
            recorder.pass(pass);
        }
        let output = outputs.get(&case).copied().flatten().cloned();
        if let Some(finding) = run.submission.finding(case.at(), at, status, output) {
            recorder.audit(finding);
        }
    }
}

fn record_attempt(recorder: &Recorder, run: &RestoredRun, at: Timestamp, attempt: &v1::AttemptEnded) {
    let outcome: Result<Outcome, _> = outcome_from_wire(attempt.outcome.as_ref());
    let (Ok(outcome), Some(case)) = (outcome, run.submission.case_id(attempt.case as usize)) else {
        return;
    };
    let started = Timestamp::from_micros(attempt.started_micros);
    let known = |value: u64| (value > 0).then_some(value);
    recorder.attempt(AttemptRecord {
        project: run.submission.project.clone(),
        case,
        run: run.submission.run,
        attempt: attempt.attempt,
        worker: attempt.worker.as_str().into(),
        outcome,
        started: started.clamp(run.submitted.min(at), at),
        took: duration_or_zero(attempt.took),
        granted: known(attempt.granted_micros).map(Timestamp::from_micros),
        why: GrantReason::of_word(&attempt.why).map_or("", GrantReason::word),
        // Without one it would be recorded twice.
        lease: Some(LeaseId(attempt.lease)),
    });
}
