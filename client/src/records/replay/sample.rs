//! Timelines for tests. Times are in milliseconds after the run's submission.

use std::time::Duration;

use thresh_core::id::RunId;
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;

use super::super::case_ref::CaseRef;
use super::past_run::PastRun;
use super::timeline::{Timeline, TimelineAttempt};

const SUBMITTED: u64 = 1_800_000_000_000_000;

pub(super) fn at(ms: u64) -> Timestamp {
    Timestamp::from_micros(SUBMITTED + ms * 1_000)
}

/// A first attempt that passes and was granted when it began.
pub(super) fn attempt(case: &str, worker: &str, started: u64, took: u64) -> TimelineAttempt {
    TimelineAttempt {
        case: CaseRef::in_full(case).unwrap(),
        worker: worker.into(),
        number: 1,
        outcome: Outcome::Passed,
        started: at(started),
        took: Duration::from_millis(took),
        granted: Some(at(started)),
        why: "first".into(),
        lease: Some(1),
    }
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed {
        cause: FailureCause::ExitCode(101),
        leaked: false,
    }
}

/// A run that took as long as its attempts.
pub(super) fn timeline(attempts: Vec<TimelineAttempt>) -> Timeline {
    let last = attempts.iter().map(TimelineAttempt::ended).max();
    let cases = u32::try_from(attempts.len()).unwrap();
    Timeline {
        run: RunId::from_u128(0x01a2_0866_329a_73dd_8144_250e_8b8b_e069),
        ended: Some(PastRun {
            run: RunId::from_u128(0x01a2_0866_329a_73dd_8144_250e_8b8b_e069),
            project: "demo".into(),
            title: "run --workspace".into(),
            started: at(0),
            took: last.unwrap_or_default().since(at(0)),
            tally: Tally {
                planned: cases,
                passed: cases,
                ..Tally::default()
            },
            ..PastRun::default()
        }),
        attempts,
    }
}

/// A run in which much happened: a failure that was retried elsewhere, a worker that was lost, a slow case that
/// was copied, a copy that was not needed.
pub(super) fn eventful() -> Timeline {
    let mut attempts = vec![
        attempt("demo::it slow", "w1", 2, 900),
        attempt("demo::it flaky", "w1", 4, 200),
        attempt("demo::it lost", "w2", 300, 0),
        attempt("demo quick\u{1b}[1m", "w1", 210, 50),
        attempt("demo::it flaky", "w3", 250, 150),
        attempt("demo::it lost", "w3", 420, 380),
        attempt("demo::it slow", "w3", 902, 0),
        attempt("demo::it stuck", "w1", 950, 0),
        attempt("demo::it stuck", "w3", 830, 120),
    ];
    attempts[1].outcome = failed();
    (attempts[2].outcome, attempts[2].granted) = (Outcome::Lost, Some(at(5)));
    (attempts[3].why, attempts[3].granted) = ("ahead".into(), Some(at(4)));
    (attempts[4].why, attempts[4].number) = ("retry".into(), 2);
    (attempts[5].why, attempts[5].granted) = ("lost".into(), Some(at(301)));
    attempts[6].outcome = Outcome::Cancelled;
    (attempts[6].why, attempts[6].granted) = ("hedge".into(), Some(at(801)));
    (attempts[7].outcome, attempts[7].granted) = (Outcome::Cancelled, Some(at(261)));
    (attempts[8].why, attempts[8].granted) = ("hedge".into(), Some(at(829)));
    attempts.sort_by_key(TimelineAttempt::granted_or_started);
    let mut timeline = timeline(attempts);
    if let Some(run) = &mut timeline.ended {
        run.tally = Tally {
            planned: 6,
            passed: 4,
            flaky: 1,
            reused: 1,
            ..Tally::default()
        };
    }
    timeline
}
