//! The critical path: what ended last, and why it did not start earlier.

use std::time::Duration;

use thresh_core::time::Timestamp;

use super::layout::Layout;
use super::link::{Link, LinkKind};
use super::timeline::TimelineAttempt;

/// An attempt that began within this part of the run after a slot became free began at once.
const AT_ONCE_SHARE: u32 = 100;

/// One attempt on the critical path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) attempt: usize,
    pub(super) cause: Cause,
    /// For how long nothing of the path ran before it.
    pub(super) idle: Duration,
}

/// Why an attempt began when it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The run began.
    Beginning,
    /// Its lane was busy before.
    Busy,
    /// Its lane was free for a while: nothing was granted to it.
    Late,
    /// Nobody knows when it began.
    Unmeasured,
    /// It followed from another attempt of its case.
    Followed(LinkKind),
}

impl Cause {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Beginning => "beginning",
            Self::Busy => "busy",
            Self::Late => "late",
            Self::Unmeasured => "unmeasured",
            Self::Followed(kind) => kind.word(),
        }
    }

    /// What stands between it and the step before it, for people.
    pub(super) fn clause(self) -> &'static str {
        match self {
            Self::Beginning => "the run began",
            Self::Busy => "its slot was busy until then",
            Self::Late => "its slot was free, but got nothing to do",
            Self::Unmeasured => "only its grant and its end are known",
            Self::Followed(LinkKind::Retry) => "tried again after a failure",
            Self::Followed(LinkKind::Lost) => "done again after its worker was lost",
            Self::Followed(LinkKind::Hedge) => "a copy, since the first took long",
        }
    }
}

/// Returns the path, the last attempt first. Each step began later than the next.
pub(super) fn critical_path(
    layout: &Layout,
    attempts: &[TimelineAttempt],
    links: &[Link],
    (origin, end): (Timestamp, Timestamp),
) -> Vec<Step> {
    let at_once = end.since(origin) / AT_ONCE_SHARE;
    let mut causes = vec![None; attempts.len()];
    for link in links {
        causes[link.to] = Some(*link);
    }
    let last = (0..attempts.len())
        .filter(|at| attempts[*at].is_measured())
        .max_by_key(|at| (attempts[*at].ended(), std::cmp::Reverse(attempts[*at].started)));
    let mut path = Vec::new();
    let mut next = last;
    while let Some(attempt) = next {
        let began = attempts[attempt].began();
        let earlier = |at: &usize| attempts[*at].began() < began;
        let followed = causes[attempt].filter(|link| earlier(&link.from));
        let in_lane = layout.before(attempt).filter(earlier);
        let (cause, from) = match (followed, in_lane) {
            (Some(link), _) => (Cause::Followed(link.kind), Some(link.from)),
            (None, Some(before)) if began.since(attempts[before].ended()) <= at_once => {
                (Cause::Busy, Some(before))
            }
            (None, Some(before)) => (Cause::Late, Some(before)),
            (None, None) if !attempts[attempt].is_measured() => (Cause::Unmeasured, None),
            (None, None) => (Cause::Beginning, None),
        };
        let free_since = from.map_or(origin, |from| attempts[from].ended());
        path.push(Step {
            attempt,
            cause,
            idle: began.since(free_since),
        });
        next = from;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::link::{by_case, links};
    use super::super::sample::{at, attempt, failed};
    use super::*;

    fn path(attempts: &[TimelineAttempt], end: u64) -> Vec<(usize, Cause, u128)> {
        let links = links(attempts, &by_case(attempts));
        let steps = critical_path(&Layout::of(attempts), attempts, &links, (at(0), at(end)));
        steps
            .iter()
            .map(|step| (step.attempt, step.cause, step.idle.as_millis()))
            .collect()
    }

    #[test]
    fn it_leads_back_to_the_beginning() {
        let attempts = [
            attempt("b one", "w1", 2, 400),
            attempt("b two", "w1", 403, 300),
            attempt("b three", "w1", 800, 200),
            attempt("b four", "w2", 0, 900),
        ];
        assert_eq!(
            path(&attempts, 1_000),
            [
                (2, Cause::Late, 97),
                (1, Cause::Busy, 1),
                (0, Cause::Beginning, 2)
            ]
        );
    }

    #[test]
    fn it_goes_through_a_failure_to_its_retry() {
        let mut attempts = [
            attempt("b slow", "w1", 100, 400),
            attempt("b other", "w1", 0, 100),
            attempt("b another", "w2", 0, 490),
            attempt("b slow", "w2", 510, 490),
        ];
        attempts[0].outcome = failed();
        attempts[3].why = "retry".into();
        assert_eq!(
            path(&attempts, 1_000),
            [
                (3, Cause::Followed(LinkKind::Retry), 10),
                (0, Cause::Busy, 0),
                (1, Cause::Beginning, 0)
            ]
        );
    }

    #[test]
    fn it_always_ends() {
        assert!(path(&[], 0).is_empty());
        let mut same = vec![attempt("b one", "w", 5, 0); 3];
        assert!(path(&same, 5).is_empty(), "nothing was measured");
        for attempt in &mut same {
            attempt.took = Duration::from_millis(1);
            attempt.outcome = failed();
        }
        assert_eq!(path(&same, 6).len(), 1);
    }
}
