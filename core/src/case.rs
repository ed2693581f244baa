//! How a test case is to be run: the settings that the suite's configuration gives it.
//!
//! The names and meanings are nextest's (<https://nexte.st/docs/configuration/reference/>); reading them from
//! `.config/nextest.toml` is the client's work.

use std::time::Duration;

/// The settings of one test case, after profiles, overrides and command-line flags.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseSettings {
    /// Higher runs earlier; from -100 to 100, normally 0.
    pub priority: i8,
    /// How many slots the case takes.
    pub threads_required: ThreadsRequired,
    /// The name of its test group; `None` is nextest's `@global`.
    pub test_group: Option<String>,
    /// How often and when a failed case is tried again.
    pub retries: RetryPolicy,
    /// Whether a case that passes only on a later attempt passes.
    pub flaky_result: FlakyResult,
    /// When a case is slow, and when it is ended for that.
    pub slow_timeout: SlowTimeout,
    /// How long handles may stay open after the process ended.
    pub leak_timeout: LeakTimeout,
    /// Arguments after all others.
    pub run_extra_args: Vec<String>,
}

/// How many slots a case takes of its worker. More than the worker has counts as all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ThreadsRequired {
    /// So many, at least 1.
    Count(u32),
    /// As many as the worker's machine has cores.
    NumCpus,
    /// All of the worker's slots.
    NumTestThreads,
}

/// How often and when a failed case is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub count: u32,
    /// How long to wait before each.
    pub backoff: Backoff,
    /// Whether to shorten each delay at random to between half and all of it.
    pub jitter: bool,
}

impl RetryPolicy {
    /// No second attempt.
    pub const NONE: Self = Self {
        count: 0,
        backoff: Backoff::Fixed(Duration::ZERO),
        jitter: false,
    };

    /// Returns how long to wait before attempt `attempt` (2 is the first retry). `random` is uniform in
    /// `[0, 1)` and used only with jitter.
    pub fn delay_before(&self, attempt: u32, random: f64) -> Duration {
        let delay = match self.backoff {
            Backoff::Fixed(delay) => delay,
            Backoff::Exponential { delay, max_delay } => {
                let doublings = attempt.saturating_sub(2).min(62);
                let factor = (1u64 << doublings) as f64;
                let grown =
                    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(Duration::MAX);
                grown.min(max_delay.unwrap_or(Duration::MAX))
            }
        };
        if self.jitter {
            let part = 1.0 - random.clamp(0.0, 1.0) / 2.0;
            Duration::try_from_secs_f64(delay.as_secs_f64() * part).unwrap_or(delay)
        } else {
            delay
        }
    }
}

/// The delay between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Always the same.
    Fixed(Duration),
    /// Doubled after each attempt.
    Exponential {
        /// The first delay.
        delay: Duration,
        /// No delay is longer than this.
        max_delay: Option<Duration>,
    },
}

/// Whether a case that passes only on a later attempt passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FlakyResult {
    /// It passes, and is shown as flaky.
    #[default]
    Pass,
    /// It fails, and is shown as flaky.
    Fail,
}

/// When a case is slow, and when it is ended for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowTimeout {
    /// The case is called slow after each such period.
    pub period: Duration,
    /// The process group gets SIGTERM after so many periods; `None` is never.
    pub terminate_after: Option<u32>,
    /// How long after SIGTERM until SIGKILL; zero sends SIGKILL at once.
    pub grace_period: Duration,
    /// Whether a case that was ended for slowness passes.
    pub on_timeout_passes: bool,
}

impl Default for SlowTimeout {
    /// nextest's defaults: slow after 60 s, never ended, 10 s of grace.
    fn default() -> Self {
        Self {
            period: Duration::from_secs(60),
            terminate_after: None,
            grace_period: Duration::from_secs(10),
            on_timeout_passes: false,
        }
    }
}

/// How long handles may stay open after the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakTimeout {
    /// Until the case counts as leaky.
    pub period: Duration,
    /// Whether a leaky case passes.
    pub leak_passes: bool,
}

impl Default for LeakTimeout {
    /// nextest's defaults: 200 ms, a leak passes.
    fn default() -> Self {
        Self {
            period: Duration::from_millis(200),
            leak_passes: true,
        }
    }
}

/// After how many failures a run stops starting cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxFail {
    /// The number of failed cases at which the run stops; `None` runs all.
    pub count: Option<u32>,
    /// Whether cases that are already running are ended too (nextest `terminate = "immediate"`).
    pub kill_running: bool,
}

impl MaxFail {
    /// Every case runs, whatever fails.
    pub const NEVER: Self = Self {
        count: None,
        kill_running: false,
    };
}

/// A test group: cases that may run only so many at a time, over all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestGroup {
    /// Its name in the configuration.
    pub name: String,
    /// How many slots its cases may take together.
    pub max_threads: ThreadsRequired,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_backoff_doubles_up_to_its_maximum() {
        let policy = RetryPolicy {
            count: 9,
            backoff: Backoff::Exponential {
                delay: Duration::from_secs(1),
                max_delay: Some(Duration::from_secs(5)),
            },
            jitter: false,
        };
        let delays: Vec<_> = (2..7)
            .map(|attempt| policy.delay_before(attempt, 0.5).as_secs())
            .collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        assert_eq!(policy.delay_before(u32::MAX, 0.0), Duration::from_secs(5));
    }

    #[test]
    fn jitter_keeps_at_least_half() {
        let policy = RetryPolicy {
            count: 1,
            backoff: Backoff::Fixed(Duration::from_secs(2)),
            jitter: true,
        };
        assert_eq!(policy.delay_before(2, 0.0), Duration::from_secs(2));
        assert_eq!(policy.delay_before(2, 1.0), Duration::from_secs(1));
        let endless = RetryPolicy {
            backoff: Backoff::Fixed(Duration::MAX),
            ..policy
        };
        assert_eq!(endless.delay_before(2, 0.0), Duration::MAX);
    }
}
