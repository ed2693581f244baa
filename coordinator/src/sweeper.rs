//! Keeps the blobs below their limit.

use std::time::Duration;

use thresh_cas::{PackError, PackStore, Swept};
use thresh_core::time::Timestamp;

use crate::clock::Clock;
use crate::driver::Handle;

/// How often the blobs are weighed.
const EVERY: Duration = Duration::from_secs(60);
/// A run's inputs are uploaded, or found to be there, at most so long before it is submitted.
const UPLOAD_TIME: Duration = Duration::from_secs(60 * 60);

/// Drops blobs that were longest unused when they have more than `bytes_max` bytes, until the driver ends. What a run
/// that goes on may need stays, and what may be uploaded for one.
pub(crate) fn start(blobs: PackStore, bytes_max: u64, driver: Handle, clock: Clock) {
    let started = clock.now();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = driver.ended() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let Ok(oldest) = driver.oldest_run().await else {
                return;
            };
            let Some(keep_since) = keep_since(started, clock.now(), oldest) else {
                continue;
            };
            let blobs = blobs.clone();
            let swept = tokio::task::spawn_blocking(move || blobs.sweep(bytes_max, keep_since)).await;
            report(
                swept.expect("a sweep does not panic and is not cancelled"),
                bytes_max,
            );
        }
    });
}

/// Blobs that were used since then are kept, in seconds since the Unix epoch. `oldest` is when the oldest run that
/// goes on was submitted. `None`: everything is kept, since what was used before this coordinator `started` is not known.
fn keep_since(started: Timestamp, now: Timestamp, oldest: Option<Timestamp>) -> Option<u32> {
    let since = oldest.unwrap_or(now).min(now).before(UPLOAD_TIME);
    let secs = u32::try_from(since.as_micros() / 1_000_000).unwrap_or(u32::MAX);
    (since >= started).then_some(secs)
}

fn report(swept: Result<Swept, PackError>, bytes_max: u64) {
    match swept {
        Ok(swept) if swept.bytes_after > bytes_max => tracing::warn!(
            "the blobs have {} bytes, more than the {bytes_max} that they may: what runs need is not dropped",
            swept.bytes_after
        ),
        Ok(swept) if swept.dropped > 0 => tracing::info!(
            "{} chunks that were longest unused are dropped: {} bytes of blobs are {} now",
            swept.dropped,
            swept.bytes_before,
            swept.bytes_after
        ),
        Ok(_) => {}
        Err(error) => tracing::error!("the blobs are not kept below their limit: failed to {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_oldest_run_was_uploaded_with_is_kept() {
        let at = |secs: u64| Timestamp::from_micros(secs * 1_000_000);
        let started = at(40_000);
        assert_eq!(keep_since(started, at(100_000), None), Some(96_400));
        assert_eq!(keep_since(started, at(100_000), Some(at(50_000))), Some(46_400));
        assert_eq!(keep_since(started, at(100_000), Some(at(200_000))), Some(96_400));
    }

    #[test]
    fn nothing_is_dropped_before_it_is_known_what_is_used() {
        let at = |secs: u64| Timestamp::from_micros(secs * 1_000_000);
        let started = at(40_000);
        assert_eq!(keep_since(started, at(43_599), None), None);
        assert_eq!(keep_since(started, at(43_600), None), Some(40_000));
        // A run of the coordinator before this one goes on.
        assert_eq!(keep_since(started, at(100_000), Some(at(39_000))), None);
    }
}
