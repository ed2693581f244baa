//! Packing: the floor (all time spread evenly over the slots, or the longest case) as a share of the time that the
//! run takes.

use super::farm::Farm;
use super::load::Load;
use crate::figure::Figure;
use std::time::Duration;
use thresh_core::schedule::Policy;
use thresh_tests::planners::{Partition, longest_first, makespan};
use thresh_tests::timings::RECORDED;

const WITH_HISTORY: f64 = 97.0;

const WITHOUT_HISTORY: f64 = 90.0;

/// IMVU's load is random: the worst of so many is what counts.
const SEEDS: u64 = 10;

const IMVU_WORKERS: u32 = 36;

/// The time to fetch them is not modelled; what is shown is what affinity costs the packing.
const BINARY_BYTES: u64 = 20_000_000;

const SUITE_SLOTS: [u32; 4] = [4, 16, 64, 256];

/// Of each worker, and of each machine that a planner deals to.
const SUITE_WORKER_SLOTS: u32 = 2;

pub(crate) fn measure() -> Vec<Figure> {
    let mut figures = imvu();
    for suite in RECORDED {
        let load = Load::recorded(suite);
        for slots in SUITE_SLOTS {
            let farm = Farm {
                workers: slots / SUITE_WORKER_SLOTS,
                slots: SUITE_WORKER_SLOTS,
                round_trip: Duration::from_millis(2),
                gather: Duration::ZERO,
                binary_bytes: 0,
            };
            figures.extend(beside_planners(&format!("{suite}, {slots} slots"), &load, farm));
        }
    }
    figures
}

fn imvu() -> Vec<Figure> {
    let farm = |round_trip_ms| Farm {
        workers: IMVU_WORKERS,
        slots: 1,
        round_trip: Duration::from_millis(round_trip_ms),
        gather: Duration::ZERO,
        binary_bytes: 0,
    };
    let loads: Vec<Load> = (1..=SEEDS).map(Load::imvu).collect();
    let unknown: Vec<Load> = loads.iter().map(Load::without_history).collect();
    let worst = |loads: &[Load], farm: Farm| {
        let shares = loads.iter().map(|load| packed(load, farm, farm.run(load).took));
        shares.fold(f64::INFINITY, f64::min)
    };
    let mut figures = Vec::new();
    for round_trip_ms in [2, 50] {
        let name = |history| {
            format!(
                "packing: IMVU's load, round trip {round_trip_ms} ms, {history} history, worst of {SEEDS}"
            )
        };
        let farm = farm(round_trip_ms);
        figures.push(Figure::new(name("with"), worst(&loads, farm), "%").at_least(WITH_HISTORY));
        figures.push(Figure::new(name("without"), worst(&unknown, farm), "%").at_least(WITHOUT_HISTORY));
    }
    let farm = farm(2);
    let shipped = Farm {
        binary_bytes: BINARY_BYTES,
        ..farm
    };
    let name = format!("packing: IMVU's load, in binaries to ship, with history, worst of {SEEDS}");
    figures.push(Figure::new(name, worst(&loads, shipped), "%").at_least(WITH_HISTORY));
    let mean = |planned: fn(&Load, Farm) -> Duration| {
        loads
            .iter()
            .map(|load| packed(load, farm, planned(load, farm)))
            .sum::<f64>()
            / loads.len() as f64
    };
    figures.extend(PLANNERS.map(|(name, plan)| {
        Figure::new(
            format!("packing: IMVU's load, {name}, mean of {SEEDS}"),
            mean(plan),
            "%",
        )
    }));
    figures
}

type Plan = fn(&Load, Farm) -> Duration;

/// The planners that Thresh is compared with.
const PLANNERS: [(&str, Plan); 4] = [
    ("longest first in advance", |load, farm| {
        let estimates: Vec<Duration> = load
            .cases
            .iter()
            .map(|case| case.estimate.unwrap_or_default())
            .collect();
        slowest(load, farm, longest_first(&estimates, farm.workers as usize))
    }),
    ("nextest count:M/N", |load, farm| {
        partitioned(Partition::Count, load, farm)
    }),
    ("nextest hash:M/N", |load, farm| {
        partitioned(Partition::Hash, load, farm)
    }),
    ("nextest slice:M/N", |load, farm| {
        partitioned(Partition::Slice, load, farm)
    }),
];

/// A suite with and without its history; beside it longest first in advance with the same history, and the best of
/// nextest's partitions.
fn beside_planners(name: &str, load: &Load, farm: Farm) -> Vec<Figure> {
    let [longest, partitions @ ..] = PLANNERS.map(|(_, plan)| packed(load, farm, plan(load, farm)));
    let best = partitions.into_iter().fold(0.0, f64::max);
    let figure = |what: &str, load: &Load, target, peer| {
        let took = farm.run(load).took;
        Figure::new(format!("packing: {name}, {what}"), packed(load, farm, took), "%")
            .at_least(target)
            .beside(peer)
            .because(why_not_packed(load, farm, took))
    };
    let (with, without) = (
        "with history (longest first in advance)",
        "without history (best partition)",
    );
    let mut figures = vec![
        figure(with, load, WITH_HISTORY, longest),
        figure(without, &load.without_history(), WITHOUT_HISTORY, best),
    ];
    let others = PLANNERS.iter().skip(1).zip(partitions);
    figures.extend(
        others.map(|((planner, _), share)| Figure::new(format!("packing: {name}, {planner}"), share, "%")),
    );
    figures
}

/// Why a suite is not packed to its floor, where that is in its nature.
fn why_not_packed(load: &Load, farm: Farm, took: Duration) -> Option<String> {
    let floor = load.floor(farm.workers * farm.slots);
    let lost = took.saturating_sub(floor);
    let longest = load.cases.iter().map(|case| case.took).max().unwrap_or_default();
    let no_history = load.cases.iter().all(|case| case.estimate.is_none());
    if lost <= 3 * farm.round_trip {
        return Some(format!(
            "{lost:.1?} over a floor of {floor:.1?}, with round trips of {:?}: a lease and an outcome take that much",
            farm.round_trip
        ));
    }
    if no_history {
        // Started late, a case ends at most that much after the others.
        return (lost <= longest).then(|| {
            format!(
                "{lost:.1?} over a floor of {floor:.1?}: the longest case takes {longest:.1?}, and without history \
                 nothing tells that it should come first"
            )
        });
    }
    let waits = Policy::default().steal_min + 2 * farm.round_trip;
    if lost <= waits {
        return Some(format!(
            "{lost:.1?} over a floor of {floor:.1?}: what waits at a worker for less than {waits:.1?} is not taken \
             over, since that takes as long"
        ));
    }
    let foreknown = packed(load, farm, farm.run(&load.foreknown()).took);
    Some(format!(
        "{lost:.1?} over a floor of {floor:.1?}; with the times of this very run foreknown it is {foreknown:.1} %"
    ))
}

fn partitioned(partition: Partition, load: &Load, farm: Farm) -> Duration {
    let machines = farm.workers as usize;
    let cases = load.cases.iter().map(|case| (case.binary, case.name.as_str()));
    let mut dealt = vec![Vec::new(); machines];
    for (case, machine) in partition.deal(cases, machines).into_iter().enumerate() {
        dealt[machine].push(case);
    }
    slowest(load, farm, dealt)
}

/// How long the slowest machine takes for what was dealt to it; reaching it takes no time.
fn slowest(load: &Load, farm: Farm, dealt: Vec<Vec<usize>>) -> Duration {
    let took = |cases: Vec<usize>| {
        makespan(
            cases.into_iter().map(|case| load.cases[case].took),
            farm.slots as usize,
        )
    };
    dealt.into_iter().map(took).max().unwrap_or_default()
}

/// The floor as a share of what it took, in per cent.
fn packed(load: &Load, farm: Farm, took: Duration) -> f64 {
    100.0 * load.floor(farm.workers * farm.slots).as_secs_f64() / took.as_secs_f64()
}
