//! When lanes had nothing to do.

use std::time::Duration;

use thresh_core::time::Timestamp;

use super::layout::Layout;
use super::timeline::TimelineAttempt;

/// A gap shorter than this part of the run is not worth a word.
const SHARE_MIN: u32 = 100;

/// A time in which a lane was not busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// Position of the worker in the layout.
    pub(super) worker: usize,
    pub(super) lane: usize,
    pub(super) from: Timestamp,
    pub(super) length: Duration,
    /// What ended it; `None` when it lasted to the end of the run.
    pub(super) before: Option<usize>,
}

/// Returns the gaps of all lanes between `origin` and `end`, the longest first.
pub(super) fn gaps(
    layout: &Layout,
    attempts: &[TimelineAttempt],
    origin: Timestamp,
    end: Timestamp,
) -> Vec<Gap> {
    let shortest = end.since(origin) / SHARE_MIN;
    let mut gaps = Vec::new();
    for (worker, lanes) in layout.workers.iter().enumerate() {
        for (lane, own) in lanes.lanes.iter().enumerate() {
            let mut free_since = origin;
            let starts = own.iter().map(|at| (attempts[*at].started, Some(*at)));
            for (until, before) in starts.chain([(end, None)]) {
                let length = until.since(free_since);
                if length > shortest {
                    gaps.push(Gap {
                        worker,
                        lane,
                        from: free_since,
                        length,
                        before,
                    });
                }
                free_since = before.map_or(end, |at| attempts[at].ended());
            }
        }
    }
    gaps.sort_by_key(|gap| (std::cmp::Reverse(gap.length), gap.from, gap.worker, gap.lane));
    gaps
}

#[cfg(test)]
mod tests {
    use super::super::sample::{at, attempt};
    use super::*;

    #[test]
    fn gaps_are_before_between_and_after() {
        let attempts = [
            attempt("b one", "w1", 100, 300),
            attempt("b two", "w1", 402, 98),
            attempt("b three", "w2", 0, 1_000),
        ];
        let found = gaps(&Layout::of(&attempts), &attempts, at(0), at(1_000));
        let told: Vec<_> = found
            .iter()
            .map(|gap| (gap.worker, gap.from, gap.length.as_millis(), gap.before))
            .collect();
        assert_eq!(told, [(0, at(500), 500, None), (0, at(0), 100, Some(0))]);
        assert!(gaps(&Layout::of(&[]), &[], at(0), at(0)).is_empty());
    }
}
