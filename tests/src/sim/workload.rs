//! Runs, and what their cases do: durations are drawn from recorded suites.

use std::sync::OnceLock;
use std::time::Duration;

use thresh_core::case::{Backoff, FlakyResult, MaxFail, RetryPolicy, TestGroup, ThreadsRequired};
use thresh_core::digest::Digest;
use thresh_core::id::{BinaryIndex, GroupIndex, RunId};
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::schedule::{PlannedBinary, PlannedCase, RunPriority, RunRequest};

use super::random::Random;
use crate::timings::recorded;

/// The suites whose durations are drawn from.
const SUITES: [&str; 4] = ["ripgrep", "itertools", "clap", "semver"];

/// No case takes longer than this on an ordinary machine, but for stragglers.
const MICROS_MAX: u64 = 20_000_000;

pub(super) const PLATFORM: &str = "x86_64-unknown-linux-gnu";
pub(super) const FOREIGN: &str = "riscv64gc-unknown-linux-gnu";

/// A run and its client; times in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    pub(super) run: RunId,
    pub(super) at: u64,
    pub(super) request: RunRequest,
    pub(super) fates: Vec<Fate>,
    /// A worker that prepares it finds that its setup script fails, so many times of 1,000.
    pub(super) setup_fails: u64,
    pub(super) cancelled_at: Option<u64>,
    /// When its client goes, and when it is back.
    pub(super) away: Option<(u64, Option<u64>)>,
}

/// What a case does when it is run.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    /// How long it takes on a machine of ordinary speed.
    pub(super) micros: u64,
    /// It does not pass so many times of 1,000.
    fails: u64,
    /// How it fails.
    failure: Outcome,
    /// It takes ten times as long so many times of 1,000.
    straggles: u64,
    /// It takes its worker down so many times of 1,000.
    takes_worker: u64,
}

/// What a process does, unless it is killed before.
#[derive(Clone, Debug)]
pub(super) struct Doing {
    pub(super) micros: u64,
    pub(super) outcome: Outcome,
    /// It takes its machine down instead.
    pub(super) takes_worker: bool,
}

impl Fate {
    pub(super) fn attempt(&self, random: &mut Random) -> Doing {
        let micros = self.micros * random.within(80, 125) / 100;
        let outcome = if random.chance(self.fails) {
            self.failure.clone()
        } else {
            Outcome::Passed
        };
        Doing {
            micros: if random.chance(self.straggles) {
                micros * 10
            } else {
                micros
            },
            outcome,
            takes_worker: random.chance(self.takes_worker),
        }
    }
}

/// Recorded durations in microseconds, those of a suite together.
fn timings() -> &'static [Vec<u64>] {
    static READ: OnceLock<Vec<Vec<u64>>> = OnceLock::new();
    READ.get_or_init(|| {
        let suites = SUITES.iter().map(|suite| {
            let took = recorded(suite).into_iter().map(|case| case.latest());
            took.map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
                .collect()
        });
        suites.collect()
    })
}

/// Draws the run with a number, from 1.
pub(super) fn submission(random: &mut Random, number: u64, at: u64, in_place: bool) -> Submission {
    let suites = timings();
    let suite = &suites[random.pick(&[0, 1, 2, 3])];
    let scale = random.pick(&[1, 4, 20, 60]);
    let groups: Vec<TestGroup> = (0..random.below(3))
        .map(|group| TestGroup {
            name: format!("group {group}"),
            max_threads: match random.below(6) {
                0 => ThreadsRequired::NumTestThreads,
                count => ThreadsRequired::Count(u32::try_from(count.min(3)).unwrap_or(1)),
            },
        })
        .collect();
    let binaries = random.within(1, 4);
    let count = random.pick(&[1, 3, 8, 16, 24, 40]);
    let history = random.pick(&[0, 700, 1_000]);
    let trouble = random.pick(&[0, 60, 250]);
    let deadly = random.chance(100);
    let (mut cases, mut fates) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let micros = (random.pick(suite) * scale + 100).min(MICROS_MAX);
        cases.push(planned(random, micros, binaries, groups.len() as u64, history));
        fates.push(fate(random, micros, trouble, deadly));
    }
    let foreign = !in_place && random.chance(30);
    Submission {
        run: RunId::from_u128(u128::from(number)),
        at,
        request: RunRequest {
            platform: if foreign { FOREIGN } else { PLATFORM }.to_owned(),
            in_place,
            submitter: random.pick(&["ann", "bob", "cy"]).to_owned(),
            priority: random.pick(&RunPriority::ALL),
            deadline: random
                .chance(300)
                .then(|| Duration::from_millis(random.within(100, 90_000))),
            max_fail: MaxFail {
                count: random
                    .chance(150)
                    .then(|| u32::try_from(random.within(1, 3)).unwrap_or(1)),
                kill_running: random.chance(500),
            },
            global_timeout: random
                .chance(60)
                .then(|| Duration::from_millis(random.within(500, 20_000))),
            groups,
            binaries: (0..binaries)
                .map(|at| binary(random, number * 8 + at, in_place))
                .collect(),
            cases,
        },
        fates,
        setup_fails: if random.chance(30) { 300 } else { 0 },
        cancelled_at: random.chance(50).then(|| at + random.below(8_000_000)),
        away: random.chance(120).then(|| {
            let leaves = at + random.below(6_000_000);
            let back = random.chance(600).then(|| leaves + random.below(9_000_000));
            (leaves, back)
        }),
    }
}

fn binary(random: &mut Random, number: u64, in_place: bool) -> PlannedBinary {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    PlannedBinary {
        digest: Digest::from_bytes(digest),
        bytes: if in_place {
            0
        } else {
            random.pick(&[0, 1_000_000, 20_000_000, 200_000_000])
        },
    }
}

fn planned(random: &mut Random, micros: u64, binaries: u64, groups: u64, history: u64) -> PlannedCase {
    let known = random.chance(history);
    // Mostly about right, now and then far off.
    let percent = match random.below(20) {
        0 => 5,
        1 => 900,
        _ => random.within(90, 140),
    };
    let estimate = Duration::from_micros(micros * percent / 100);
    let grouped = groups > 0 && random.chance(300);
    PlannedCase {
        binary: BinaryIndex(u32::try_from(random.below(binaries)).unwrap_or(0)),
        reused: random.chance(60),
        quarantined: random.chance(60),
        estimate: known.then_some(estimate),
        rarely_over: (known && random.chance(500)).then_some(estimate * 2),
        priority: random.pick(&[0, 0, 0, 0, 1, -1, 5]),
        threads_required: match random.below(16) {
            0 => ThreadsRequired::NumCpus,
            1 => ThreadsRequired::NumTestThreads,
            2 | 3 => ThreadsRequired::Count(u32::try_from(random.within(2, 9)).unwrap_or(2)),
            _ => ThreadsRequired::Count(1),
        },
        group: grouped.then(|| GroupIndex(u32::try_from(random.below(groups)).unwrap_or(0))),
        retries: RetryPolicy {
            count: random.pick(&[0, 0, 1, 2, 3]),
            backoff: Backoff::Fixed(Duration::from_millis(random.pick(&[0, 0, 200, 1_500]))),
            jitter: random.chance(300),
        },
        flaky_result: if random.chance(150) {
            FlakyResult::Fail
        } else {
            FlakyResult::Pass
        },
    }
}

fn fate(random: &mut Random, micros: u64, trouble: u64, deadly: bool) -> Fate {
    let fails = match random.chance(trouble) {
        true => random.pick(&[300, 600, 1_000]),
        false => 0,
    };
    Fate {
        micros,
        fails,
        failure: match random.below(8) {
            0 => Outcome::TimedOut {
                passes: random.chance(300),
            },
            1 => Outcome::Crashed {
                signal: 6,
                leaked: false,
            },
            2 => Outcome::Leaked {
                passes: random.chance(500),
            },
            _ => Outcome::Failed {
                cause: FailureCause::ExitCode(101),
                leaked: random.chance(100),
            },
        },
        straggles: random.pick(&[0, 0, 20, 100]),
        takes_worker: match deadly && random.chance(100) {
            true => random.pick(&[400, 1_000]),
            false => 0,
        },
    }
}
