//! Estimates of cases from the samples of all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::quantile::weighted_quantile;
use super::speed::worker_speeds;

/// The quantile of a case's own durations that is its estimate.
const OWN_QUANTILE: f64 = 0.75;

/// The quantile over other cases' estimates that an unknown case gets.
const OTHERS_QUANTILE: f64 = 0.9;

/// The quantile of a case's own durations that it rarely exceeds...
const RARE_QUANTILE: f64 = 0.95;

/// ... by more than this factor, once there are so many of them.
const RARE_FACTOR: f64 = 1.5;
const RARE_SAMPLES_MIN: usize = 3;

/// The weight of a duration falls by half with each so many newer ones.
const HALF_LIFE_SAMPLES: f64 = 4.0;

/// The past durations of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseSamples {
    /// The binary's id.
    pub binary: String,
    /// The package's name.
    pub package: String,
    /// The case's name.
    pub name: String,
    /// Its durations, the latest first.
    pub samples: Vec<Sample>,
}

/// One measured duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The machine that measured it, by any numbering.
    pub worker: u32,
    /// From spawn to exit.
    pub took: Duration,
}

/// How long a case may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The duration on a worker of ordinary speed.
    pub duration: Duration,
    /// A duration that it rarely exceeds: half as much again as its 0.95 quantile. `None` with fewer than three
    /// durations of its own.
    pub rarely_over: Option<Duration>,
    /// What it rests on.
    pub source: EstimateSource,
}

/// What an estimate rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EstimateSource {
    /// The case's own history.
    Case,
    /// Other cases of its binary.
    Binary,
    /// Other cases of its package.
    Package,
    /// Any case of the suite.
    Suite,
}

impl EstimateSource {
    /// The one word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Case => "case",
            Self::Binary => "binary",
            Self::Package => "package",
            Self::Suite => "suite",
        }
    }
}

/// The estimates that a suite's history gives.
#[derive(Clone, Debug, Default)]
pub struct Estimates {
    cases: BTreeMap<(String, String), Own>,
    binaries: BTreeMap<String, f64>,
    packages: BTreeMap<String, f64>,
    suite: Option<f64>,
}

/// What a case's own durations say, in seconds.
#[derive(Clone, Copy, Debug)]
struct Own {
    secs: f64,
    rarely_over: Option<f64>,
}

impl Estimates {
    /// Works them out from the history of a project.
    pub fn new(history: &[CaseSamples]) -> Self {
        let speeds = worker_speeds(history);
        let mut cases = BTreeMap::new();
        let mut binaries: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut packages: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for case in history {
            let Some(own) = own_estimate(&case.samples, &speeds) else {
                continue;
            };
            let secs = own.secs;
            cases.insert((case.binary.clone(), case.name.clone()), own);
            binaries.entry(case.binary.clone()).or_default().push(secs);
            packages.entry(case.package.clone()).or_default().push(secs);
        }
        let high =
            |values: &[f64]| weighted_quantile(values.iter().map(|&value| (value, 1.0)), OTHERS_QUANTILE);
        let all: Vec<f64> = cases.values().map(|own: &Own| own.secs).collect();
        let fold = |groups: BTreeMap<String, Vec<f64>>| {
            groups
                .into_iter()
                .filter_map(|(name, values)| Some((name, high(&values)?)))
                .collect()
        };
        Self {
            suite: high(&all),
            cases,
            binaries: fold(binaries),
            packages: fold(packages),
        }
    }

    /// Returns the estimate of a case; `None` when the suite has no history at all.
    pub fn of(&self, binary: &str, package: &str, name: &str) -> Option<Estimate> {
        let own = self.cases.get(&(binary.to_owned(), name.to_owned()));
        let levels = [
            (own.map(|own| own.secs), EstimateSource::Case),
            (self.binaries.get(binary).copied(), EstimateSource::Binary),
            (self.packages.get(package).copied(), EstimateSource::Package),
            (self.suite, EstimateSource::Suite),
        ];
        let (secs, source) = levels
            .into_iter()
            .find_map(|(secs, source)| Some((secs?, source)))?;
        Some(Estimate {
            duration: duration(secs),
            rarely_over: own.and_then(|own| own.rarely_over).map(duration),
            source,
        })
    }
}

fn duration(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX)
}

fn own_estimate(samples: &[Sample], speeds: &BTreeMap<u32, f64>) -> Option<Own> {
    let weighted = samples.iter().enumerate().map(|(age, sample)| {
        let speed = speeds.get(&sample.worker).copied().unwrap_or(1.0);
        (
            sample.took.as_secs_f64() / speed,
            0.5_f64.powf(age as f64 / HALF_LIFE_SAMPLES),
        )
    });
    let rare =
        weighted_quantile(weighted.clone(), RARE_QUANTILE).filter(|_| samples.len() >= RARE_SAMPLES_MIN);
    Some(Own {
        secs: weighted_quantile(weighted, OWN_QUANTILE)?,
        rarely_over: rare.map(|secs| secs * RARE_FACTOR),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(binary: &str, name: &str, millis: &[u64]) -> CaseSamples {
        let samples = millis
            .iter()
            .map(|&ms| Sample {
                worker: 0,
                took: Duration::from_millis(ms),
            })
            .collect();
        CaseSamples {
            binary: binary.into(),
            package: "p".into(),
            name: name.into(),
            samples,
        }
    }

    #[test]
    fn falls_back_from_case_to_binary_to_package_to_suite() {
        let estimates = Estimates::new(&[
            case("p", "a", &[10]),
            case("p", "b", &[500]),
            case("p::t", "c", &[90]),
        ]);
        let of = |binary, package, name| {
            let estimate = estimates.of(binary, package, name).unwrap();
            (estimate.duration.as_millis(), estimate.source)
        };
        assert_eq!(of("p", "p", "a"), (10, EstimateSource::Case));
        assert_eq!(of("p", "p", "new"), (500, EstimateSource::Binary));
        assert_eq!(of("p::u", "p", "new"), (500, EstimateSource::Package));
        assert_eq!(of("q", "q", "new"), (500, EstimateSource::Suite));
        assert_eq!(Estimates::new(&[]).of("p", "p", "a"), None);
    }

    #[test]
    fn one_old_outlier_does_not_move_the_estimate_and_a_lasting_change_does() {
        let outlier = Estimates::new(&[case("p", "a", &[10, 11, 10, 12, 10, 11, 900])]);
        assert!(outlier.of("p", "p", "a").unwrap().duration < Duration::from_millis(20));
        let slower = Estimates::new(&[case("p", "a", &[400, 410, 10, 10, 10, 10])]);
        assert!(slower.of("p", "p", "a").unwrap().duration >= Duration::from_millis(400));
    }

    #[test]
    fn what_is_rarely_exceeded_needs_three_durations() {
        let rarely_over = |millis: &[u64]| {
            let estimate = Estimates::new(&[case("p", "a", millis)]).of("p", "p", "a");
            estimate.unwrap().rarely_over
        };
        assert_eq!(rarely_over(&[10, 20]), None);
        assert_eq!(rarely_over(&[10, 20, 10]), Some(Duration::from_millis(30)));
    }

    #[test]
    fn a_slow_machine_does_not_make_its_cases_longer() {
        let on = |worker, ms| Sample {
            worker,
            took: Duration::from_millis(ms),
        };
        let both = |name: &str, ms| CaseSamples {
            samples: vec![on(0, ms), on(1, 3 * ms)],
            ..case("p", name, &[])
        };
        let only_slow = CaseSamples {
            samples: vec![on(1, 300)],
            ..case("p", "c", &[])
        };
        let only_fast = CaseSamples {
            samples: vec![on(0, 100)],
            ..case("p", "d", &[])
        };
        let estimates = Estimates::new(&[both("a", 10), both("b", 20), only_slow, only_fast]);
        let slow = estimates.of("p", "p", "c").unwrap().duration.as_secs_f64();
        let fast = estimates.of("p", "p", "d").unwrap().duration.as_secs_f64();
        assert!((slow / fast - 1.0).abs() < 0.01, "{slow} and {fast}");
    }
}
