//! How slow each machine is.

use std::collections::BTreeMap;

use super::CaseSamples;
use super::quantile::weighted_quantile;

/// A machine is called at most this much slower, or faster, than the others.
const FACTOR_MAX: f64 = 10.0;

/// Returns, for each worker, by what factor it is slower than the typical one: the median, over the cases that
/// ran on it and elsewhere, of its own median duration to that of all workers. Workers that share no case with
/// another are left out.
pub(super) fn worker_speeds(history: &[CaseSamples]) -> BTreeMap<u32, f64> {
    let mut ratios: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for case in history {
        let mut by_worker: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for sample in &case.samples {
            by_worker
                .entry(sample.worker)
                .or_default()
                .push(sample.took.as_secs_f64());
        }
        if by_worker.len() < 2 {
            continue;
        }
        let medians: BTreeMap<u32, f64> = by_worker
            .into_iter()
            .filter_map(|(worker, secs)| Some((worker, median(&secs)?)))
            .collect();
        let all: Vec<f64> = medians.values().copied().collect();
        let Some(typical) = median(&all).filter(|secs| *secs > 0.0) else {
            continue;
        };
        for (worker, secs) in medians {
            ratios.entry(worker).or_default().push(secs / typical);
        }
    }
    let speeds = ratios
        .into_iter()
        .filter_map(|(worker, ratios)| Some((worker, median(&ratios)?)));
    speeds
        .map(|(worker, ratio)| (worker, ratio.clamp(1.0 / FACTOR_MAX, FACTOR_MAX)))
        .collect()
}

fn median(values: &[f64]) -> Option<f64> {
    weighted_quantile(values.iter().map(|&value| (value, 1.0)), 0.5)
}
