//! Packing: the floor (all time spread evenly over the slots, or the longest case) as a share of the time that the
//! run takes.

use super::farm::Farm;
use super::load::{Load, LoadCase};
use super::random::Random;
use crate::figure::Figure;
use std::cmp::Reverse;
use std::time::Duration;
use thresh_core::id::RunId;
use thresh_tests::planners::{Partition, longest_first, makespan};
use thresh_tests::timings::RECORDED;

const WITH_HISTORY: f64 = 97.0;

const WITHOUT_HISTORY: f64 = 90.0;

/// Without history the order in which cases are tried is luck: the mean of so many runs is what counts.
const ORDERS: u32 = 10;

/// IMVU's load is random: the worst of so many is what counts. Without history it is luck as well when the longest
/// case comes, so that the median is shown beside it.
const SEEDS: u64 = 10;

const IMVU_WORKERS: u32 = 36;

/// The time to fetch them is not modelled; what is shown is what affinity costs the packing.
const BINARY_BYTES: u64 = 20_000_000;

const SUITE_SLOTS: [u32; 4] = [4, 16, 64, 256];

/// Of each worker, and of each machine that a planner deals to.
const SUITE_WORKER_SLOTS: u32 = 2;

pub(crate) fn measure() -> Vec<Figure> {
    let mut figures = imvu();
    figures.extend(test_groups());
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

/// Cases that run one at a time beside many others, which must not keep them from their turn.
fn test_groups() -> Vec<Figure> {
    let farm = Farm {
        workers: 4,
        slots: 1,
        round_trip: Duration::from_millis(2),
        gather: Duration::ZERO,
        binary_bytes: 0,
    };
    let loads = [(4_000, 20, 40, 500), (2_000, 50, 10, 900), (2_000, 50, 1_000, 20)];
    let figure = |(cases, ms, grouped, alone_ms)| {
        let (took, alone) = (Duration::from_millis(ms), Duration::from_millis(alone_ms));
        let load = Load::with_group(cases, took, grouped, alone);
        let name = format!(
            "packing: 4 slots, {cases} cases of {ms} ms, {grouped} of {alone_ms} ms one at a time, with history"
        );
        Figure::new(name, packed(&load, farm, farm.run(&load).took), "%").at_least(WITH_HISTORY)
    };
    loads.map(figure).into()
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
    let worst = |loads: &[Load], farm: Farm| shares_of(loads, farm)[0];
    let mut shuffled: Vec<f64> = (1..)
        .zip(&loads)
        .map(|(order, load)| packed(load, farm(0), in_random_order(load, farm(0), order)))
        .collect();
    shuffled.sort_by(f64::total_cmp);
    let mut figures = Vec::new();
    for round_trip_ms in [2, 50] {
        let figure = |what: &str, share| {
            let name = format!("packing: IMVU's load, round trip {round_trip_ms} ms, {what} of {SEEDS}");
            Figure::new(name, share, "%")
        };
        let farm = farm(round_trip_ms);
        let guessed = shares_of(&unknown, farm);
        figures.extend([
            figure("with history, worst", worst(&loads, farm)).at_least(WITH_HISTORY),
            figure("without history, median", guessed[guessed.len() / 2]).at_least(WITHOUT_HISTORY),
            figure("without history, worst", guessed[0])
                .at_least(WITHOUT_HISTORY)
                .because(Some(format!(
                    "the longest case comes late by chance; one queue in random order that deals with no delay comes \
                     to {:.1} % on its worst of the same loads",
                    shuffled[0]
                ))),
        ]);
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

/// What loads come to, the worst first.
fn shares_of(loads: &[Load], farm: Farm) -> Vec<f64> {
    let share =
        |(load, number): (&Load, u128)| packed(load, farm, farm.run_as(RunId::from_u128(number), load).took);
    let mut shares: Vec<f64> = loads.iter().zip(1..).map(share).collect();
    shares.sort_by(f64::total_cmp);
    shares
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
/// nextest's partitions. Then one queue that deals with no delay: what is missed with it too is not lost by the farm.
fn beside_planners(name: &str, load: &Load, farm: Farm) -> Vec<Figure> {
    let [longest, partitions @ ..] = PLANNERS.map(|(_, plan)| packed(load, farm, plan(load, farm)));
    let best = partitions.into_iter().fold(0.0, f64::max);
    let figure = |what: &str, share| Figure::new(format!("packing: {name}, {what}"), share, "%");
    let took = farm.run(load).took;
    let queued = packed(load, farm, in_order_of_estimates(load, farm));
    let unknown = mean_share(&load.without_history(), farm, |load, farm, order| {
        farm.run_as(RunId::from_u128(order.into()), load).took
    });
    let shuffled = mean_share(load, farm, in_random_order);
    let mut figures = vec![
        figure(
            "with history (longest first in advance)",
            packed(load, farm, took),
        )
        .at_least(WITH_HISTORY)
        .beside(longest)
        .because(why_not_packed(load, farm, took, queued)),
        figure(
            &format!("without history, mean of {ORDERS} (best partition)"),
            unknown,
        )
        .at_least(WITHOUT_HISTORY)
        .beside(best)
        .because(why_not_packed_unknown(load, farm, shuffled)),
        figure("one queue by the same history, no round trip", queued),
        figure(
            &format!("one queue in random order, no round trip, mean of {ORDERS}"),
            shuffled,
        ),
    ];
    let others = PLANNERS.iter().skip(1).zip(partitions);
    figures.extend(
        others.map(|((planner, _), share)| Figure::new(format!("packing: {name}, {planner}"), share, "%")),
    );
    figures
}

/// Why a suite is not packed to its floor with history, where that is in its nature.
fn why_not_packed(load: &Load, farm: Farm, took: Duration, queued: f64) -> Option<String> {
    let floor = load.floor(farm.workers * farm.slots);
    let lost = took.saturating_sub(floor);
    if lost <= 3 * farm.round_trip {
        return Some(format!(
            "{lost:.1?} over a floor of {floor:.1?}, with round trips of {:?}: a lease and an outcome take that much",
            farm.round_trip
        ));
    }
    (queued < WITH_HISTORY).then(|| {
        format!(
            "{lost:.1?} over a floor of {floor:.1?}: history says too little of {} cases; one queue in the order of \
             the same history that deals with no delay comes to {queued:.1} %",
            load.cases.len()
        )
    })
}

/// The same without history.
fn why_not_packed_unknown(load: &Load, farm: Farm, shuffled: f64) -> Option<String> {
    let floor = load.floor(farm.workers * farm.slots);
    let longest = load.cases.iter().map(|case| case.took).max().unwrap_or_default();
    (shuffled < WITHOUT_HISTORY).then(|| {
        format!(
            "the longest case takes {longest:.1?} of a floor of {floor:.1?}, and nothing tells that it should come \
             first; one queue in random order that deals with no delay comes to {shuffled:.1} %"
        )
    })
}

/// The mean over orders of what a load comes to.
fn mean_share(load: &Load, farm: Farm, plan: impl Fn(&Load, Farm, u32) -> Duration) -> f64 {
    let shares = (1..=ORDERS).map(|order| packed(load, farm, plan(load, farm, order)));
    shares.sum::<f64>() / f64::from(ORDERS)
}

fn in_order_of_estimates(load: &Load, farm: Farm) -> Duration {
    let mut cases: Vec<&LoadCase> = load.cases.iter().collect();
    cases.sort_by_key(|case| Reverse(case.estimate));
    makespan(cases.into_iter().map(|case| case.took), farm.all_slots())
}

fn in_random_order(load: &Load, farm: Farm, order: u32) -> Duration {
    let mut random = Random::new(order.into());
    let mut took: Vec<Duration> = load.cases.iter().map(|case| case.took).collect();
    for at in (1..took.len()).rev() {
        took.swap(at, random.below(at as u64 + 1) as usize);
    }
    makespan(took, farm.all_slots())
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
