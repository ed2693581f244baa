//! The session's clock.

use std::time::{Duration, Instant};

use thresh_core::time::Timestamp;

/// Counts from the start of a session by the monotonic clock, which goes on while the process is stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).after(self.0.elapsed())
    }

    /// The instant at which this clock shows `time`.
    pub(super) fn instant(&self, time: Timestamp) -> Instant {
        self.0 + Duration::from_micros(time.as_micros())
    }
}
