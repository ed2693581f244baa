//! What a run itself learns about cases without history.

use std::collections::BTreeMap;

use crate::id::BinaryIndex;

/// What a run has learned of its test binaries: how long their cases took so far.
///
/// Before anything is known of a binary its cases stand at the policy's estimate, halved with each that is
/// being tried, so that the first slots try one case of every binary rather than all cases of one. Then they
/// stand at their mean and two standard deviations more: where cases differ much, a long one may be among
/// those that are left, and must not come last.
#[derive(Debug)]
pub(super) struct Learned {
    unknown_micros: u64,
    binaries: BTreeMap<BinaryIndex, Observed>,
    pending_micros: u64,
}

#[derive(Clone, Copy, Debug)]
struct Observed {
    count: u64,
    mean: f64,
    /// The sum of squared differences from the mean (Welford's method).
    spread: f64,
    tried: u32,
    pending: u64,
    /// In microseconds.
    estimate: u64,
}

impl Learned {
    pub(super) fn new(unknown_micros: u64) -> Self {
        Self {
            unknown_micros,
            binaries: BTreeMap::new(),
            pending_micros: 0,
        }
    }

    /// How long a case of a binary may take, in microseconds.
    pub(super) fn estimate(&self, binary: BinaryIndex) -> u64 {
        self.binaries
            .get(&binary)
            .map_or(self.unknown_micros, |seen| seen.estimate)
    }

    /// Whether a case of a binary has ended.
    pub(super) fn knows(&self, binary: BinaryIndex) -> bool {
        self.binaries.get(&binary).is_some_and(|seen| seen.count > 0)
    }

    /// Where a binary's cases stand, in microseconds.
    pub(super) fn place(&self, binary: BinaryIndex) -> u64 {
        match self.binaries.get(&binary) {
            Some(seen) if seen.count == 0 => self.unknown_micros >> seen.tried.min(63),
            Some(seen) => seen.estimate,
            None => self.unknown_micros,
        }
    }

    pub(super) fn observe(&mut self, binary: BinaryIndex, micros: u64) {
        let seen = self.entry(binary);
        seen.count += 1;
        let (value, count) = (micros as f64, seen.count as f64);
        let off = value - seen.mean;
        seen.mean += off / count;
        seen.spread += off * (value - seen.mean);
        let deviation = (seen.spread / count).max(0.0).sqrt();
        let before = seen.estimate;
        // The conversion saturates.
        seen.estimate = (seen.mean + (2.0 * deviation).max(seen.mean / 2.0)) as u64;
        let (after, pending) = (seen.estimate, seen.pending);
        let rest = self.pending_micros.saturating_sub(pending.saturating_mul(before));
        self.pending_micros = rest.saturating_add(pending.saturating_mul(after));
    }

    pub(super) fn tried(&mut self, binary: BinaryIndex) {
        let seen = self.entry(binary);
        seen.tried = seen.tried.saturating_add(1);
    }

    /// Notes that so many more cases of a binary are pending.
    pub(super) fn pending(&mut self, binary: BinaryIndex, more: i64) {
        let seen = self.entry(binary);
        seen.pending = seen.pending.saturating_add_signed(more);
        let (estimate, count) = (seen.estimate, more.unsigned_abs());
        let amount = estimate.saturating_mul(count);
        self.pending_micros = if more < 0 {
            self.pending_micros.saturating_sub(amount)
        } else {
            self.pending_micros.saturating_add(amount)
        };
    }

    pub(super) fn nothing_pending(&mut self) {
        self.pending_micros = 0;
        self.binaries.values_mut().for_each(|seen| seen.pending = 0);
    }

    pub(super) fn pending_micros(&self) -> u64 {
        self.pending_micros
    }

    fn entry(&mut self, binary: BinaryIndex) -> &mut Observed {
        self.binaries.entry(binary).or_insert(Observed {
            count: 0,
            mean: 0.0,
            spread: 0.0,
            tried: 0,
            pending: 0,
            estimate: self.unknown_micros,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BinaryIndex = BinaryIndex(1);

    #[test]
    fn a_binary_that_is_being_tried_stands_behind_one_that_is_not() {
        let mut learned = Learned::new(1_000);
        learned.tried(ONE);
        assert_eq!((learned.place(ONE), learned.place(BinaryIndex(2))), (500, 1_000));
        assert_eq!(learned.estimate(ONE), 1_000);
    }

    #[test]
    fn where_cases_differ_a_long_one_is_expected() {
        let mut learned = Learned::new(1_000);
        learned.pending(ONE, 10);
        learned.observe(ONE, 10);
        assert_eq!((learned.estimate(ONE), learned.pending_micros()), (15, 150));
        learned.observe(ONE, 1_010);
        assert_eq!(learned.estimate(ONE), 510 + 2 * 500);
        learned.pending(ONE, -10);
        assert_eq!(learned.pending_micros(), 0);
        learned.observe(ONE, u64::MAX);
        learned.pending(ONE, 3);
    }
}
