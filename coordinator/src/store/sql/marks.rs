//! What a case's row remembers of its last attempts and runs, as text.

use std::time::Duration;

use thresh_core::estimate::Sample;
use thresh_core::id::RunId;

/// How many durations a case keeps for its estimate.
const RECENT_MAX: usize = 16;

/// How many runs a case keeps for its flake rate.
const RUNS_MAX: usize = 20;

/// Letters of a run: the digits of its id and what the case did.
const RUN_LETTERS: usize = 9;

/// Appends a duration to the column `recent` (`took:worker,…`), drops the oldest beyond [`RECENT_MAX`].
pub(super) fn push_recent(recent: &mut String, took_micros: i64, worker: i64) {
    if !recent.is_empty() {
        recent.push(',');
    }
    recent.push_str(&format!("{took_micros}:{worker}"));
    let surplus = recent.split(',').count().saturating_sub(RECENT_MAX);
    if let Some((at, _)) = surplus
        .checked_sub(1)
        .and_then(|nth| recent.match_indices(',').nth(nth))
    {
        recent.drain(..=at);
    }
}

/// Reads the column `recent`, the latest first; what does not have its form is passed over.
pub(super) fn parse_recent(recent: &str) -> Vec<Sample> {
    let sample = |text: &str| {
        let (took, worker) = text.split_once(':')?;
        Some(Sample {
            worker: worker.parse().ok()?,
            took: Duration::from_micros(took.parse().ok()?),
        })
    };
    recent.rsplit(',').filter_map(sample).collect()
}

/// Notes in the column `runs` that the case passed or failed in a run. Returns whether the run is flaky by that:
/// the case has now both failed and passed in it, in whatever order the two became known.
pub(super) fn push_run(runs: &mut String, run: RunId, passes: bool) -> bool {
    // The low bits are random in every kind of id.
    let id = format!("{:08x}", run.as_u128() & 0xffff_ffff);
    let did = if passes { 'p' } else { 'f' };
    let known = (0..runs.len() / RUN_LETTERS)
        .map(|nth| nth * RUN_LETTERS)
        .find(|at| runs.get(*at..at + id.len()) == Some(&id));
    let Some(at) = known else {
        runs.push_str(&id);
        runs.push(did);
        let surplus = (runs.len() / RUN_LETTERS).saturating_sub(RUNS_MAX);
        runs.replace_range(..surplus * RUN_LETTERS, "");
        return false;
    };
    let mark = at + id.len()..at + RUN_LETTERS;
    let before = runs.get(mark.clone()).unwrap_or_default();
    let becomes_flaky = before != "k" && !before.starts_with(did);
    if becomes_flaky {
        runs.replace_range(mark, "k");
    }
    becomes_flaky
}

/// The share of flaky runs in the column `runs`, each counting the same; 0 when there is none.
pub(super) fn flake_rate(runs: &str) -> f64 {
    let all = runs.len() / RUN_LETTERS;
    let flaky = runs.bytes().skip(RUN_LETTERS - 1).step_by(RUN_LETTERS);
    let flaky = flaky.filter(|mark| *mark == b'k').count();
    if all == 0 { 0.0 } else { flaky as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_durations_go() {
        let mut recent = String::new();
        for took in 0..40 {
            push_recent(&mut recent, took, 7);
        }
        let kept: Vec<&str> = recent.split(',').collect();
        assert_eq!(
            (kept.len(), kept[0], kept[RECENT_MAX - 1]),
            (RECENT_MAX, "24:7", "39:7")
        );
    }

    #[test]
    fn a_run_is_flaky_once() {
        let (mut runs, run) = (String::new(), RunId::from_u128);
        assert!(!push_run(&mut runs, run(1), false));
        assert!(!push_run(&mut runs, run(2), true));
        assert!(push_run(&mut runs, run(1), true), "failed, then passed");
        assert!(!push_run(&mut runs, run(1), false));
        assert!(!push_run(&mut runs, run(2), true));
        assert_eq!(runs, "00000001k00000002p");
        assert_eq!(flake_rate(&runs), 0.5);
        assert_eq!(flake_rate(""), 0.0);
    }

    #[test]
    fn the_oldest_runs_go() {
        let mut runs = String::new();
        for number in 0..30 {
            push_run(&mut runs, RunId::from_u128(number), false);
            push_run(&mut runs, RunId::from_u128(number), number >= 25);
        }
        assert_eq!(runs.len(), RUNS_MAX * RUN_LETTERS);
        assert!(runs.starts_with("0000000af"), "{runs}");
        assert_eq!(flake_rate(&runs), 0.25);
    }
}
