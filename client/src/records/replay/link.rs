//! What followed from what: retries, what was done again after a loss, and copies of slow cases.

use std::collections::BTreeMap;

use thresh_core::outcome::Outcome;

use super::super::case_ref::CaseRef;
use super::timeline::TimelineAttempt;

/// The word for a copy of a case that took long; see `thresh_core::schedule::GrantReason`.
const HEDGE: &str = "hedge";

/// One attempt followed from another of its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) kind: LinkKind,
}

/// Why an attempt followed from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// The other failed.
    Retry,
    /// The other was lost with its worker.
    Lost,
    /// The other took long.
    Hedge,
}

impl LinkKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Lost => "lost",
            Self::Hedge => "hedge",
        }
    }
}

/// A case of which two copies were out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hedge {
    pub(super) first: usize,
    pub(super) copy: usize,
    /// The one whose outcome counts; `None` if neither's does.
    pub(super) winner: Option<usize>,
}

/// Returns every case's attempts by when they were granted, and the cases by name.
pub(super) fn by_case(attempts: &[TimelineAttempt]) -> BTreeMap<&CaseRef, Vec<usize>> {
    let mut cases: BTreeMap<&CaseRef, Vec<usize>> = BTreeMap::new();
    for (at, attempt) in attempts.iter().enumerate() {
        cases.entry(&attempt.case).or_default().push(at);
    }
    for own in cases.values_mut() {
        own.sort_by_key(|at| (attempts[*at].granted_or_started(), attempts[*at].number));
    }
    cases
}

/// Returns what followed from what, by case.
pub(super) fn links(attempts: &[TimelineAttempt], cases: &BTreeMap<&CaseRef, Vec<usize>>) -> Vec<Link> {
    let mut links = Vec::new();
    for own in cases.values().filter(|own| own.len() > 1) {
        for (nth, to) in own.iter().enumerate().skip(1) {
            links.extend(cause(attempts, &own[..nth], *to));
        }
    }
    links
}

/// What an attempt followed from, among those of its case that were granted before it.
fn cause(attempts: &[TimelineAttempt], earlier: &[usize], to: usize) -> Option<Link> {
    let link = |from: usize, kind| Link { from, to, kind };
    let granted = attempts[to].granted_or_started();
    if attempts[to].why == HEDGE {
        let first = earlier.iter().rev().find(|at| attempts[**at].why != HEDGE)?;
        return Some(link(*first, LinkKind::Hedge));
    }
    let over = |at: &&usize| attempts[**at].ended() <= granted && !attempts[**at].outcome.passes();
    let ended = earlier
        .iter()
        .filter(over)
        .max_by_key(|at| attempts[**at].ended());
    // By the clocks of two workers the first may seem to have ended later.
    let from = *ended.or_else(|| earlier.iter().rev().find(|at| !attempts[**at].outcome.passes()))?;
    let kind = match attempts[from].outcome {
        Outcome::Lost | Outcome::TookWorker | Outcome::Cancelled => LinkKind::Lost,
        _ => LinkKind::Retry,
    };
    Some(link(from, kind))
}

/// Returns the copies among `links`.
pub(super) fn hedges(attempts: &[TimelineAttempt], links: &[Link]) -> Vec<Hedge> {
    let copies = links.iter().filter(|link| link.kind == LinkKind::Hedge);
    copies
        .map(|&Link { from, to, .. }| {
            let both = [from, to];
            let decided = both
                .into_iter()
                .filter(|at| attempts[*at].outcome.is_about_the_case());
            let winner = decided.max_by_key(|at| {
                let attempt = &attempts[*at];
                (attempt.outcome.passes(), std::cmp::Reverse(attempt.ended()))
            });
            Hedge {
                first: from,
                copy: to,
                winner,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{attempt, failed};
    use super::*;

    fn told(attempts: &[TimelineAttempt]) -> (Vec<(usize, usize, LinkKind)>, Vec<Hedge>) {
        let cases = by_case(attempts);
        let links = links(attempts, &cases);
        let hedges = hedges(attempts, &links);
        (
            links.iter().map(|link| (link.from, link.to, link.kind)).collect(),
            hedges,
        )
    }

    #[test]
    fn a_retry_follows_from_the_last_failure() {
        let mut attempts = [
            attempt("b flaky", "w1", 0, 10),
            attempt("b other", "w1", 0, 10),
            attempt("b flaky", "w2", 20, 10),
            attempt("b flaky", "w1", 40, 10),
        ];
        for (at, number) in [(0, 1), (2, 2), (3, 3)] {
            attempts[at].number = number;
            attempts[at].why = if number == 1 { "first" } else { "retry" }.into();
        }
        attempts[0].outcome = failed();
        attempts[2].outcome = failed();
        let (links, hedges) = told(&attempts);
        assert_eq!(links, [(0, 2, LinkKind::Retry), (2, 3, LinkKind::Retry)]);
        assert!(hedges.is_empty());
    }

    #[test]
    fn what_was_lost_is_done_again() {
        let mut attempts = [attempt("b slow", "w1", 50, 0), attempt("b slow", "w2", 60, 10)];
        attempts[0].outcome = Outcome::Lost;
        attempts[1].why = "lost".into();
        assert_eq!(told(&attempts).0, [(0, 1, LinkKind::Lost)]);
    }

    #[test]
    fn the_copy_that_passes_first_wins() {
        let mut attempts = [attempt("b slow", "w1", 0, 90), attempt("b slow", "w2", 50, 10)];
        attempts[1].why = HEDGE.into();
        attempts[0].outcome = Outcome::Cancelled;
        let (links, hedges) = told(&attempts);
        assert_eq!(links, [(0, 1, LinkKind::Hedge)]);
        assert_eq!(
            (hedges[0].first, hedges[0].copy, hedges[0].winner),
            (0, 1, Some(1))
        );
        attempts[1].outcome = Outcome::Lost;
        assert_eq!(told(&attempts).1[0].winner, None);
        attempts[0].outcome = failed();
        assert_eq!(told(&attempts).1[0].winner, Some(0));
        attempts[1].outcome = Outcome::Passed;
        assert_eq!(
            told(&attempts).1[0].winner,
            Some(1),
            "the first failed, the copy was the next attempt"
        );
    }

    #[test]
    fn clocks_that_differ_break_no_link() {
        let mut attempts = [attempt("b flaky", "w1", 0, 100), attempt("b flaky", "w2", 20, 10)];
        attempts[0].outcome = failed();
        attempts[1].why = "retry".into();
        assert_eq!(told(&attempts).0, [(0, 1, LinkKind::Retry)]);
    }
}
