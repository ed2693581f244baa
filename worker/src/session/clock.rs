//! The session's clock.

use std::time::{Duration, Instant};

use thresh_core::time::Timestamp;

/// What the clock shows at its start.
pub(super) const START: Timestamp = Timestamp::from_micros(0);

/// Counts from the greeting of a session by the monotonic clock, which goes on while the process is stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn starting(greeted: Instant) -> Self {
        Self(greeted)
    }

    pub(super) fn now(&self) -> Timestamp {
        START.after(self.0.elapsed())
    }

    /// The instant at which this clock shows `time`.
    pub(super) fn instant(&self, time: Timestamp) -> Instant {
        self.0 + Duration::from_micros(time.as_micros())
    }
}
