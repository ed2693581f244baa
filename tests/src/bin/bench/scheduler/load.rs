//! What the model farm runs: cases with their true durations, and what is known of them before.

use super::random::Random;
use std::collections::BTreeMap;
use std::time::Duration;
use thresh_core::case::{FlakyResult, MaxFail, RetryPolicy, TestGroup, ThreadsRequired};
use thresh_core::digest::Digest;
use thresh_core::estimate::{CaseSamples, Estimates, Sample};
use thresh_core::id::{BinaryIndex, GroupIndex};
use thresh_core::schedule::{PlannedBinary, PlannedCase, RunPriority, RunRequest};
use thresh_tests::timings::{TimedCase, recorded};

/// The machines that measured a made-up history.
const HISTORY_MACHINES: u64 = 36;

/// Runs in a made-up history.
const HISTORY_RUNS: usize = 5;

/// How the duration of one case differs between runs: the standard deviation of its logarithm. In the recorded
/// suites the median is 0.26 to 0.43.
const NOISE: f64 = 0.3;

/// What part of the variance of the logarithms of all cases is between binaries. In the recorded suites it is 0.08
/// to 0.57.
const BETWEEN_BINARIES: f64 = 0.33;

/// A suite to run.
#[derive(Clone)]
pub(crate) struct Load {
    /// Test binaries, by their ids.
    pub(crate) binaries: Vec<String>,
    /// In nextest's order.
    pub(crate) cases: Vec<LoadCase>,
}

/// A case of it.
#[derive(Clone)]
pub(crate) struct LoadCase {
    /// Which binary.
    pub(crate) binary: u32,
    pub(crate) name: String,
    /// How long it will take.
    pub(crate) took: Duration,
    /// How long history says.
    pub(crate) estimate: Option<Duration>,
    /// How long it rarely takes more than, as history says.
    pub(crate) rarely_over: Option<Duration>,
    /// It is of the test group of which one case runs at a time.
    pub(crate) alone: bool,
}

impl Load {
    /// No schedule on so many slots takes less: all the time spread evenly, the longest case, or the test group.
    pub(crate) fn floor(&self, slots: u32) -> Duration {
        let total: Duration = self.cases.iter().map(|case| case.took).sum();
        let longest = self.cases.iter().map(|case| case.took).max();
        let group: Duration = self
            .cases
            .iter()
            .filter(|case| case.alone)
            .map(|case| case.took)
            .sum();
        longest.unwrap_or_default().max(total / slots).max(group)
    }

    /// What a client would submit, with test binaries of that size.
    pub(crate) fn request(&self, platform: &str, bytes: u64) -> RunRequest {
        let binary = |number: u64| PlannedBinary {
            digest: Digest::of(&number.to_le_bytes()),
            bytes,
        };
        let cases = self.cases.iter().map(|case| PlannedCase {
            binary: BinaryIndex(case.binary),
            reused: false,
            quarantined: false,
            estimate: case.estimate,
            rarely_over: case.rarely_over,
            priority: 0,
            threads_required: ThreadsRequired::Count(1),
            group: case.alone.then_some(GroupIndex(0)),
            retries: RetryPolicy::NONE,
            flaky_result: FlakyResult::Pass,
        });
        RunRequest {
            platform: platform.into(),
            in_place: false,
            submitter: "bench".into(),
            priority: RunPriority::Interactive,
            deadline: None,
            max_fail: MaxFail::NEVER,
            global_timeout: None,
            groups: vec![TestGroup {
                name: "alone".into(),
                max_threads: ThreadsRequired::Count(1),
            }],
            binaries: (0..self.binaries.len() as u64).map(binary).collect(),
            cases: cases.collect(),
        }
    }

    /// The same without history.
    pub(crate) fn without_history(&self) -> Self {
        let mut load = self.clone();
        for case in &mut load.cases {
            (case.estimate, case.rarely_over) = (None, None);
        }
        load
    }

    /// The latest run of a recorded suite, known by the runs before it.
    pub(crate) fn recorded(suite: &str) -> Self {
        let timed = recorded(suite);
        let past: Vec<CaseSamples> = timed.iter().map(past).collect();
        Self::of(
            timed
                .into_iter()
                .map(|case| (case.latest(), case.binary, case.name)),
            &past,
        )
    }

    /// A suite like the one that IMVU told of: 15,000 cases, 4.4 hours of one machine. The durations are lognormal with
    /// a heavy tail (standard deviation of the logarithm 1.5: the longest is about 100 times the mean, and at most
    /// 2 minutes); a third of that variance is between 300 binaries. History is five runs with noise.
    pub(crate) fn imvu(seed: u64) -> Self {
        const CASES: usize = 15_000;
        const BINARIES: usize = 300;
        const SIGMA: f64 = 1.5;
        const TOTAL_SECS: f64 = 4.4 * 3600.0;
        const LONGEST_SECS: f64 = 120.0;
        let mut random = Random::new(seed);
        let between = SIGMA * BETWEEN_BINARIES.sqrt();
        let within = SIGMA * (1.0 - BETWEEN_BINARIES).sqrt();
        let levels: Vec<f64> = (0..BINARIES).map(|_| between * random.normal()).collect();
        let typical: Vec<f64> = (0..CASES)
            .map(|case| (levels[case % BINARIES] + within * random.normal()).exp())
            .collect();
        let actual: Vec<f64> = typical.iter().map(|secs| noisy(&mut random, *secs)).collect();
        let scale = TOTAL_SECS / actual.iter().sum::<f64>();
        let secs = |value: f64| Duration::from_secs_f64((value * scale).min(LONGEST_SECS));
        let mut past = Vec::new();
        let mut cases = Vec::new();
        for binary in 0..BINARIES {
            for case in (binary..CASES).step_by(BINARIES) {
                let samples = (0..HISTORY_RUNS).map(|_| Sample {
                    worker: random.below(HISTORY_MACHINES) as u32,
                    took: secs(noisy(&mut random, typical[case])),
                });
                let (id, name) = (format!("suite::file_{binary:03}"), format!("case_{case:05}"));
                past.push(CaseSamples {
                    binary: id.clone(),
                    package: "suite".into(),
                    name: name.clone(),
                    samples: samples.collect(),
                });
                cases.push((secs(actual[case]), id, name));
            }
        }
        Self::of(cases, &past)
    }

    /// Many short cases, and some of a test group that run one at a time; history knows all.
    pub(crate) fn with_group(cases: u32, took: Duration, grouped: u32, alone_took: Duration) -> Self {
        let case = |took, alone| LoadCase {
            binary: 0,
            name: String::new(),
            took,
            estimate: Some(took),
            rarely_over: None,
            alone,
        };
        let alone = (0..grouped).map(|_| case(alone_took, true));
        Self {
            binaries: vec![String::new()],
            cases: alone.chain((0..cases).map(|_| case(took, false))).collect(),
        }
    }

    /// A big suite of short cases (0.1 s on average) that history knows, a thousand to a binary.
    pub(crate) fn big(cases: usize) -> Self {
        const BINARY_CASES: usize = 1_000;
        let mut random = Random::new(1);
        let case = |at: usize| {
            let secs = 0.06 * random.normal().exp();
            LoadCase {
                binary: (at / BINARY_CASES) as u32,
                name: String::new(),
                took: Duration::from_secs_f64(noisy(&mut random, secs)),
                estimate: Some(Duration::from_secs_f64(secs)),
                rarely_over: None,
                alone: false,
            }
        };
        Self {
            binaries: vec![String::new(); cases.div_ceil(BINARY_CASES)],
            cases: (0..cases).map(case).collect(),
        }
    }

    /// Cases by duration, binary and name, with the estimates that their past gives.
    fn of(cases: impl IntoIterator<Item = (Duration, String, String)>, past: &[CaseSamples]) -> Self {
        let estimates = Estimates::new(past);
        let packages: BTreeMap<&str, &str> = past
            .iter()
            .map(|case| (case.binary.as_str(), case.package.as_str()))
            .collect();
        let mut load = Self {
            binaries: Vec::new(),
            cases: Vec::new(),
        };
        for (took, binary, name) in cases {
            let package = packages.get(binary.as_str()).copied().unwrap_or_default();
            let estimate = estimates.of(&binary, package, &name);
            if load.binaries.last() != Some(&binary) {
                load.binaries.push(binary);
            }
            load.cases.push(LoadCase {
                binary: load.binaries.len() as u32 - 1,
                name,
                took,
                estimate: estimate.map(|found| found.duration),
                rarely_over: estimate.and_then(|found| found.rarely_over),
                alone: false,
            });
        }
        load
    }
}

/// All recorded runs of a case but the latest.
fn past(case: &TimedCase) -> CaseSamples {
    let before = &case.took[..case.took.len() - 1];
    let sample = |&took: &Duration| Sample { worker: 0, took };
    CaseSamples {
        binary: case.binary.clone(),
        package: case.package().to_owned(),
        name: case.name.clone(),
        samples: before.iter().rev().map(sample).collect(),
    }
}

fn noisy(random: &mut Random, secs: f64) -> f64 {
    secs * (NOISE * random.normal()).exp()
}
