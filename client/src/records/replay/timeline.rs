//! What is recorded of a run.

use std::time::Duration;

use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_core::time::Timestamp;
use thresh_proto::convert::{InvalidMessage, duration_or_zero, outcome_from_wire};
use thresh_proto::v1;
use tonic::transport::Channel;

use super::super::case_ref::CaseRef;
use super::super::session::RecordsSession;
use super::choice::{RunChoice, choose};
use super::error::ReplayError;
use super::past_run::{PastRun, RUNS_SEARCHED, fetch};
use crate::run::RunError;

/// What is recorded of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// The run.
    pub run: RunId,
    /// What it came to; `None` while it is going on, and when its coordinator was lost.
    pub ended: Option<PastRun>,
    /// Its attempts by when they were granted.
    pub attempts: Vec<TimelineAttempt>,
}

/// An attempt of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineAttempt {
    /// The case.
    pub case: CaseRef,
    /// The worker's name.
    pub worker: String,
    /// Which attempt, from 1. A copy of a case that was slow has the same number as the first.
    pub number: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began; when it ended, if nobody knows when it began.
    pub started: Timestamp,
    /// From spawn to exit; zero if nobody knows.
    pub took: Duration,
    /// When the case was granted to the worker.
    pub granted: Option<Timestamp>,
    /// Why it went to this worker, in a word; empty if nobody noted it.
    pub why: String,
    /// The lease under which it was granted.
    pub lease: Option<u64>,
}

impl TimelineAttempt {
    /// When it ended.
    pub fn ended(&self) -> Timestamp {
        self.started.after(self.took)
    }

    /// Whether it is known to have been executed from when to when. Of an attempt that was lost with its worker,
    /// and of a copy that was cancelled, only the end is known.
    pub fn is_measured(&self) -> bool {
        !self.took.is_zero()
    }

    /// When it came to its worker, or the first that is known of it.
    pub fn granted_or_started(&self) -> Timestamp {
        self.granted.unwrap_or(self.started)
    }

    /// When it began, or when it came to its worker if nobody knows.
    pub fn began(&self) -> Timestamp {
        if self.is_measured() {
            self.started
        } else {
            self.granted_or_started()
        }
    }

    /// For how long it waited on its worker.
    pub fn waited(&self) -> Option<Duration> {
        let granted = self.granted.filter(|_| self.is_measured())?;
        Some(self.started.since(granted))
    }

    /// Whether it speaks against its case.
    pub fn fails(&self) -> bool {
        self.outcome.is_about_the_case() && !self.outcome.passes()
    }

    fn from_wire(grant: v1::PastGrant) -> Result<Self, InvalidMessage> {
        let outcome = grant.outcome.unwrap_or_default();
        Ok(Self {
            case: CaseRef::from_wire(grant.case),
            worker: outcome.worker,
            number: outcome.attempt,
            outcome: outcome_from_wire(outcome.outcome.as_ref())?,
            started: Timestamp::from_micros(outcome.at_micros),
            took: duration_or_zero(outcome.took),
            granted: (grant.granted_micros > 0).then(|| Timestamp::from_micros(grant.granted_micros)),
            why: grant.why,
            lease: grant.lease.checked_sub(1),
        })
    }
}

impl Timeline {
    /// When it begins: when the run was submitted, else the first that is known of it.
    pub fn origin(&self) -> Timestamp {
        let first = self
            .attempts
            .iter()
            .map(|attempt| attempt.granted_or_started().min(attempt.started));
        let submitted = self.ended.as_ref().map(|run| run.started);
        first.chain(submitted).min().unwrap_or_default()
    }

    /// When the last attempt ended.
    pub fn end(&self) -> Timestamp {
        let last = self.attempts.iter().map(TimelineAttempt::ended).max();
        last.unwrap_or_default().max(self.origin())
    }

    /// From the first that is known to the last outcome.
    pub fn span(&self) -> Duration {
        self.end().since(self.origin())
    }
}

/// Returns what is recorded of a run. `project` is where the beginning of an id and the latest run are looked for.
///
/// # Errors
/// When it is not clear which run is meant, nothing is known of it, or the coordinator cannot be asked.
pub async fn timeline(channel: Channel, project: &str, choice: &RunChoice) -> Result<Timeline, ReplayError> {
    let mut session = RecordsSession::open(channel).await?;
    let runs = match choice {
        RunChoice::Id(_) => Vec::new(),
        RunChoice::Latest => fetch(&mut session, project, 1).await?,
        RunChoice::Beginning(_) => fetch(&mut session, project, RUNS_SEARCHED).await?,
    };
    let run = choose(choice, &runs, project)?;
    let mut timeline = Timeline {
        run,
        ended: None,
        attempts: Vec::new(),
    };
    for part in session.timeline(run).await? {
        let ended = part
            .run
            .map(PastRun::from_wire)
            .transpose()
            .map_err(RunError::from)?;
        timeline.ended = timeline.ended.or(ended);
        for grant in part.attempts {
            timeline
                .attempts
                .push(TimelineAttempt::from_wire(grant).map_err(RunError::from)?);
        }
    }
    if timeline.ended.is_none() && timeline.attempts.is_empty() {
        return Err(ReplayError::Unknown(run));
    }
    Ok(timeline)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use thresh_proto::convert::outcome_to_wire;
    use thresh_proto::testing::fuzz;

    use super::*;

    #[test]
    fn an_attempt_off_the_wire_has_a_place_in_time_or_is_refused() {
        let wire = v1::PastGrant {
            case: Some(v1::CaseName {
                binary_id: "a".into(),
                name: "b".into(),
            }),
            outcome: Some(v1::PastOutcome {
                run_id: vec![7; 16].into(),
                worker: "worker".into(),
                attempt: 1,
                outcome: Some(outcome_to_wire(&Outcome::TimedOut { passes: false })),
                at_micros: 1_800_000_000_000_000,
                took: Some(v1::Duration { micros: 1_500_000 }),
            }),
            granted_micros: 1_799_999_999_000_000,
            why: "idle".into(),
            lease: 1,
        };
        let read = |bytes: &[u8]| TimelineAttempt::from_wire(v1::PastGrant::decode(bytes).ok()?).ok();
        let valid = wire.encode_to_vec();
        assert_eq!(read(&valid).and_then(|attempt| attempt.lease), Some(0));
        fuzz(2_000, &valid, |bytes| {
            if let Some(attempt) = read(bytes) {
                assert!(attempt.ended() >= attempt.started);
                assert!(!attempt.fails() || !attempt.outcome.passes());
                let timeline = Timeline {
                    run: RunId::from_u128(7),
                    ended: None,
                    attempts: vec![attempt.clone()],
                };
                assert!(timeline.origin() <= attempt.began() && attempt.ended() <= timeline.end());
                assert!(attempt.waited().is_none_or(|waited| waited <= timeline.span()));
            }
        });
    }
}
