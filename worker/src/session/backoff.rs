//! How long to wait before connecting again.

use std::time::Duration;

/// No wait is shorter.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// No wait is longer.
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Exponential delays with full jitter, so that a restarted coordinator is not hit by all workers at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The connection worked: the next delay is a short one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Returns how long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        self.delay(random())
    }

    /// `random` is uniform in `[0, 1)`.
    fn delay(&mut self, random: f64) -> Duration {
        let ceiling = DELAY_MIN
            .saturating_mul(2u32.saturating_pow(self.failures))
            .min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        DELAY_MIN + (ceiling - DELAY_MIN).mul_f64(random)
    }
}

fn random() -> f64 {
    let bits = uuid::Uuid::new_v4().as_u128() as u32;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_within_their_limits_and_start_again() {
        let mut backoff = Backoff::default();
        let longest: Vec<u128> = (0..8).map(|_| backoff.delay(1.0).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff.delay(0.0), DELAY_MIN);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.delay(1.0), DELAY_MAX);
        backoff.reset();
        assert_eq!(backoff.next(), DELAY_MIN);
    }
}
