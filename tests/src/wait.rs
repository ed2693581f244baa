//! Waiting for conditions, with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls `condition` until it gives a value and returns that.
///
/// # Panics
/// When `limit` is over; the message names `what`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "no sign of {what} within {limit:?}");
        std::thread::park_timeout(PAUSE);
    }
}
