//! The coordinator's clock.

use std::time::{Duration, SystemTime};

use thresh_core::time::Timestamp;
use tokio::time::Instant;

/// Tells the time of day, moving forward only and steadily: the system's clock is read once, when the
/// coordinator starts, so that setting it neither ends nor prolongs a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Timestamp,
    since: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            started: Timestamp::default().after(since_epoch),
            since: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.started.after(self.since.elapsed())
    }

    /// When the clock will show `at`.
    pub(crate) fn instant_of(&self, at: Timestamp) -> Option<Instant> {
        self.since.checked_add(at.since(self.started))
    }
}
