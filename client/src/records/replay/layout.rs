//! Who ran what when: each worker's attempts, side by side in lanes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use thresh_core::time::Timestamp;

use super::timeline::TimelineAttempt;

/// The attempts of a run by worker and lane.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// By name.
    pub(super) workers: Vec<WorkerLanes>,
    /// Where each measured attempt is.
    pub(super) places: Vec<Option<Place>>,
}

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) worker: usize,
    pub(super) lane: usize,
    pub(super) at: usize,
}

/// What one worker did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WorkerLanes {
    pub(super) name: String,
    /// Attempts that do not overlap, by when they began. As many lanes as were ever busy at once: no more than the
    /// worker has slots, and fewer where cases took several.
    pub(super) lanes: Vec<Vec<usize>>,
    /// Attempts of which only the end is known, by that.
    pub(super) marks: Vec<usize>,
    /// Sum of the lanes' busy time.
    pub(super) busy: Duration,
}

impl Layout {
    pub(super) fn of(attempts: &[TimelineAttempt]) -> Self {
        let mut by_worker: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, attempt) in attempts.iter().enumerate() {
            by_worker.entry(&attempt.worker).or_default().push(at);
        }
        let workers: Vec<WorkerLanes> = by_worker
            .into_iter()
            .map(|(name, own)| WorkerLanes::of(name, own, attempts))
            .collect();
        let mut places = vec![None; attempts.len()];
        for (worker, lanes) in workers.iter().enumerate() {
            for (lane, own) in lanes.lanes.iter().enumerate() {
                for (at, attempt) in own.iter().enumerate() {
                    places[*attempt] = Some(Place { worker, lane, at });
                }
            }
        }
        Self { workers, places }
    }

    /// All lanes of all workers.
    pub(super) fn lanes(&self) -> usize {
        self.workers.iter().map(|worker| worker.lanes.len()).sum()
    }

    /// Sum of the workers' busy time.
    pub(super) fn busy(&self) -> Duration {
        self.workers.iter().map(|worker| worker.busy).sum()
    }

    /// The attempt before this one in its lane.
    pub(super) fn before(&self, attempt: usize) -> Option<usize> {
        let Place { worker, lane, at } = self.places[attempt]?;
        Some(self.workers[worker].lanes[lane][at.checked_sub(1)?])
    }

    /// The lane's name: `worker#1`, or the worker's where it has one lane; the worker's for an attempt in no lane.
    pub(super) fn name_of(&self, attempt: usize, attempts: &[TimelineAttempt]) -> String {
        match self.places[attempt] {
            Some(place) => self.workers[place.worker].lane_name(place.lane),
            None => attempts[attempt].worker.clone(),
        }
    }
}

impl WorkerLanes {
    fn of(name: &str, own: Vec<usize>, attempts: &[TimelineAttempt]) -> Self {
        let (mut measured, mut marks): (Vec<usize>, Vec<usize>) =
            own.into_iter().partition(|at| attempts[*at].is_measured());
        measured.sort_by_key(|at| (attempts[*at].started, attempts[*at].took));
        marks.sort_by_key(|at| attempts[*at].started);
        let mut lanes: Vec<Vec<usize>> = Vec::new();
        let mut busy_until: BinaryHeap<Reverse<(Timestamp, usize)>> = BinaryHeap::new();
        let mut free: BTreeSet<usize> = BTreeSet::new();
        for attempt in &measured {
            let started = attempts[*attempt].started;
            while let Some(Reverse((until, lane))) = busy_until.peek().copied()
                && until <= started
            {
                busy_until.pop();
                free.insert(lane);
            }
            let lane = free.pop_first().unwrap_or_else(|| {
                lanes.push(Vec::new());
                lanes.len() - 1
            });
            lanes[lane].push(*attempt);
            busy_until.push(Reverse((attempts[*attempt].ended(), lane)));
        }
        let took = |at: &usize| attempts[*at].took;
        Self {
            name: name.to_owned(),
            lanes,
            marks,
            busy: measured
                .iter()
                .map(took)
                .fold(Duration::ZERO, Duration::saturating_add),
        }
    }

    pub(super) fn lane_name(&self, lane: usize) -> String {
        if self.lanes.len() == 1 {
            self.name.clone()
        } else {
            format!("{}#{}", self.name, lane + 1)
        }
    }

    /// All its attempts.
    pub(super) fn attempts(&self) -> usize {
        self.lanes.iter().map(Vec::len).sum::<usize>() + self.marks.len()
    }

    /// The share of its lanes' time that was used, from 0 to 1.
    pub(super) fn busy_share(&self, span: Duration) -> f64 {
        share(self.busy, span, self.lanes.len())
    }
}

/// The part of `lanes` times `span` that `busy` is, from 0 to 1.
pub(super) fn share(busy: Duration, span: Duration, lanes: usize) -> f64 {
    let all = span.as_secs_f64() * lanes as f64;
    if all > 0.0 {
        (busy.as_secs_f64() / all).min(1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::attempt;
    use super::*;

    #[test]
    fn what_overlaps_lies_side_by_side_in_the_first_free_lane() {
        let attempts = [
            attempt("b one", "w1", 0, 100),
            attempt("b two", "w1", 10, 20),
            attempt("b three", "w2", 15, 5),
            attempt("b four", "w1", 30, 10),
            attempt("b five", "w1", 35, 10),
            attempt("b six", "w1", 100, 10),
            attempt("b lost", "w1", 50, 0),
        ];
        let layout = Layout::of(&attempts);
        assert_eq!(layout.workers[0].lanes, [vec![0, 5], vec![1, 3], vec![4]]);
        assert_eq!(layout.workers[0].marks, [6]);
        assert_eq!(layout.workers[0].attempts(), 6);
        assert_eq!(layout.workers[1].lanes, [vec![2]]);
        assert_eq!((layout.lanes(), layout.busy()), (4, Duration::from_millis(155)));
        assert_eq!(
            (layout.before(5), layout.before(3), layout.before(4)),
            (Some(0), Some(1), None)
        );
        assert_eq!(layout.name_of(3, &attempts), "w1#2");
        assert_eq!(layout.name_of(2, &attempts), "w2");
        assert_eq!(layout.name_of(6, &attempts), "w1");
        assert_eq!(layout.workers[1].busy_share(Duration::from_millis(20)), 0.25);
        assert_eq!(layout.workers[1].busy_share(Duration::ZERO), 0.0);
    }

    #[test]
    fn absurd_times_do_no_harm() {
        let mut attempts = vec![attempt("b one", "w", 0, 1); 3];
        attempts[0].took = Duration::MAX;
        attempts[1].took = Duration::MAX;
        attempts[2].started = Timestamp::from_micros(u64::MAX);
        let layout = Layout::of(&attempts);
        assert_eq!(layout.lanes(), 2);
        assert_eq!(Layout::of(&[]).lanes(), 0);
    }
}
