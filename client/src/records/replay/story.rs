//! What can be concluded from a timeline.

use std::collections::BTreeMap;
use std::time::Duration;

use thresh_core::time::Timestamp;

use super::super::case_ref::CaseRef;
use super::idle::{Gap, gaps};
use super::layout::Layout;
use super::link::{Hedge, Link, LinkKind, by_case, hedges, links};
use super::path::{Step, critical_path};
use super::timeline::Timeline;

/// A timeline and what can be concluded from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    pub(super) timeline: Timeline,
    pub(super) origin: Timestamp,
    pub(super) end: Timestamp,
    pub(super) layout: Layout,
    pub(super) links: Vec<Link>,
    pub(super) hedges: Vec<Hedge>,
    /// Attempts of cases that were tried again, case by case.
    pub(super) tried_again: Vec<Vec<usize>>,
    pub(super) gaps: Vec<Gap>,
    /// The last attempt first.
    pub(super) path: Vec<Step>,
    /// How many attempts were granted for which reason, the most frequent first.
    pub(super) reasons: Vec<(String, usize)>,
    /// Measured attempts, the longest first.
    pub(super) slowest: Vec<usize>,
    /// Cases that were tried by the run's own count, and of which no attempt is recorded any more.
    pub(super) missing: usize,
    /// Median and maximum of the time from grant to start.
    pub(super) waits: Option<(Duration, Duration)>,
}

impl Replay {
    /// Concludes.
    pub fn of(timeline: Timeline) -> Self {
        let (origin, end) = (timeline.origin(), timeline.end());
        let attempts = &timeline.attempts;
        let layout = Layout::of(attempts);
        let cases = by_case(attempts);
        let links = links(attempts, &cases);
        let gaps = gaps(&layout, attempts, origin, end);
        let path = critical_path(&layout, attempts, &links, (origin, end));
        let mut slowest: Vec<usize> = (0..attempts.len())
            .filter(|at| attempts[*at].is_measured())
            .collect();
        slowest.sort_by_key(|at| std::cmp::Reverse(attempts[*at].took));
        let mut waits: Vec<Duration> = attempts.iter().filter_map(|attempt| attempt.waited()).collect();
        waits.sort_unstable();
        Self {
            origin,
            end,
            hedges: hedges(attempts, &links),
            tried_again: tried_again(&cases, &links),
            waits: waits.last().map(|longest| (waits[waits.len() / 2], *longest)),
            reasons: reasons(&timeline),
            missing: tried(&timeline).saturating_sub(cases.len()),
            layout,
            links,
            gaps,
            path,
            slowest,
            timeline,
        }
    }

    /// From the first that is known to the last outcome.
    pub(super) fn span(&self) -> Duration {
        self.end.since(self.origin)
    }

    /// How long after the beginning that was.
    pub(super) fn offset(&self, at: Timestamp) -> Duration {
        at.since(self.origin)
    }
}

/// How many cases were tried, by the run's own count.
fn tried(timeline: &Timeline) -> usize {
    let count = timeline.ended.as_ref().map_or(0, |run| {
        let tally = &run.tally;
        [tally.passed, tally.flaky, tally.failed, tally.quarantined]
            .into_iter()
            .fold(0, u32::saturating_add)
    });
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Cases that were tried again for another reason than that a copy of them was made.
fn tried_again(cases: &BTreeMap<&CaseRef, Vec<usize>>, links: &[Link]) -> Vec<Vec<usize>> {
    let again: std::collections::BTreeSet<usize> = links
        .iter()
        .filter(|link| link.kind != LinkKind::Hedge)
        .map(|link| link.to)
        .collect();
    let has_another = |own: &&Vec<usize>| own.iter().any(|at| again.contains(at));
    cases.values().filter(has_another).cloned().collect()
}

fn reasons(timeline: &Timeline) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for attempt in &timeline.attempts {
        let why = match &*attempt.why {
            "" => "unknown",
            why => why,
        };
        *counts.entry(why).or_default() += 1;
    }
    let mut reasons: Vec<_> = counts
        .into_iter()
        .map(|(why, count)| (why.to_owned(), count))
        .collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons
}
