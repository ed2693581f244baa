//! Clocks that run a little fast or slow, and jump.

use thresh_core::time::Timestamp;

/// A machine's clock: it never goes backwards, but may stand still.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// True time and the clock's own at the last change, in microseconds.
    from: (u64, u64),
    /// Microseconds that it goes on in a true second.
    rate: u64,
}

impl Clock {
    pub(super) fn new(now: u64, shows: u64, rate: u64) -> Self {
        Self {
            from: (now, shows),
            rate,
        }
    }

    pub(super) fn read(&self, now: u64) -> Timestamp {
        let passed = now.saturating_sub(self.from.0);
        Timestamp::from_micros(self.from.1 + passed * self.rate / 1_000_000)
    }

    /// The true time at which it will show `at`, rounded up; `now` when it does already.
    pub(super) fn shows(&self, now: u64, at: Timestamp) -> u64 {
        let left = at.as_micros().saturating_sub(self.from.1);
        (self.from.0 + (left * 1_000_000).div_ceil(self.rate)).max(now)
    }

    /// Jumps ahead.
    pub(super) fn jump(&mut self, now: u64, by: u64) {
        self.from = (now, self.read(now).as_micros() + by);
    }

    /// Stands still until a later `now`.
    pub(super) fn stand_still(&mut self, now: u64, until: u64) {
        self.from = (until, self.read(now).as_micros());
    }
}
