//! A whole farm, drawn from a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use thresh_core::schedule::{Hedge, Policy};

use super::fault::Fault;
use super::random::Random;
use super::weather::{Chaos, Weather};
use super::workload::{Submission, submission};

/// Where true time begins, in microseconds.
pub(super) const BEGIN: u64 = 1_000_000_000;

/// A machine for one worker.
#[derive(Clone, Debug)]
pub(super) struct MachineSpec {
    pub(super) slots: u32,
    pub(super) cpus: u32,
    pub(super) in_place: bool,
    /// What an ordinary machine does in 100 microseconds takes it so many.
    pub(super) percent: u64,
    /// Microseconds that its clock goes on in a true second.
    pub(super) clock_rate: u64,
    pub(super) clock_shows: u64,
    /// So many reports of 1,000 go out twice, or late.
    pub(super) stutters: u64,
    /// Its worker does not say which process it is.
    pub(super) nameless: bool,
}

/// A farm, and what will happen to it.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) policy: Policy,
    pub(super) machines: Vec<MachineSpec>,
    pub(super) weather: Vec<Weather>,
    pub(super) runs: Vec<Submission>,
    /// With the times at which they happen.
    pub(super) faults: Vec<(u64, Fault)>,
    /// From then on nothing goes wrong any more.
    pub(super) calm_from: u64,
    /// Every run must have ended by then.
    pub(super) ends_by: u64,
}

impl Drawn {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, "farm");
        let policy = policy(&mut random);
        let troubled = random.pick(&[0, 1, 1, 2]);
        let machines: Vec<MachineSpec> = (0..random.within(1, 6))
            .map(|_| machine(&mut random, troubled))
            .collect();
        let weather = machines
            .iter()
            .map(|_| {
                Weather::new(
                    random.pick(&[50, 300, 2_000, 30_000]),
                    random.pick(&[20, 500, 20_000]),
                )
            })
            .collect();
        let in_place = machines.iter().any(|machine| machine.in_place);
        let mut work = Random::new(seed, "work");
        let runs: Vec<Submission> = (1..=work.within(1, 4))
            .map(|number| {
                let at = BEGIN + if number == 1 { 0 } else { work.below(8_000_000) };
                let in_place = in_place && work.chance(400);
                submission(&mut work, number, at, in_place)
            })
            .collect();
        let mut plan = Random::new(seed, "faults");
        let calm_from = BEGIN + plan.within(4_000_000, 20_000_000);
        let faults = faults(&mut plan, troubled, machines.len() as u64, &policy, calm_from);
        let ends_by = calm_from + bound(&runs, &policy);
        Self {
            policy,
            machines,
            weather,
            runs,
            faults,
            calm_from,
            ends_by,
        }
    }
}

fn policy(random: &mut Random) -> Policy {
    let (heartbeat, lease_ttl) = random.pick(&[(1_500, 6_000), (1_500, 6_000), (400, 1_600)]);
    Policy {
        heartbeat: Duration::from_millis(heartbeat),
        lease_ttl: Duration::from_millis(lease_ttl),
        stranded_grace: Duration::from_secs(15),
        hedge: random.chance(850).then(|| Hedge {
            after_min: Duration::from_millis(random.pick(&[100, 500, 2_000])),
            estimates: random.pick(&[2, 3]),
        }),
        held_cases_max: random.pick(&[4, 64, 512]),
        lookahead: Duration::from_millis(random.pick(&[10, 40, 200])),
        shares: BTreeMap::from([("bob".to_owned(), 3)]),
        ..Policy::default()
    }
}

fn machine(random: &mut Random, troubled: u64) -> MachineSpec {
    let slots = random.pick(&[1, 2, 2, 4]);
    MachineSpec {
        slots,
        cpus: random.pick(&[slots, 2, 8]),
        in_place: random.chance(120),
        percent: random.pick(&[60, 100, 100, 250]),
        clock_rate: random.pick(&[1_000_000, 1_000_100, 999_900, 1_050_000, 950_000]),
        clock_shows: BEGIN + random.below(2_000_000_000) - 1_000_000_000,
        stutters: if troubled > 0 {
            random.pick(&[0, 0, 50, 200])
        } else {
            0
        },
        nameless: random.chance(200),
    }
}

fn faults(
    random: &mut Random,
    troubled: u64,
    machines: u64,
    policy: &Policy,
    until: u64,
) -> Vec<(u64, Fault)> {
    let count = random.below(7) * troubled;
    let ttl = u64::try_from(policy.lease_ttl.as_micros()).unwrap_or(u64::MAX);
    let mut faults: Vec<(u64, Fault)> = (0..count)
        .map(|_| {
            let at = BEGIN + random.below(until - BEGIN);
            let machine = usize::try_from(random.below(machines)).unwrap_or(0);
            let length = (ttl * random.within(5, 250) / 100).min(until - at);
            (at, fault(random, machine, length, ttl, at))
        })
        .collect();
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn fault(random: &mut Random, machine: usize, length: u64, ttl: u64, at: u64) -> Fault {
    match random.below(14) {
        0 => Fault::Crash {
            machine,
            silent: random.chance(500),
            down: length,
        },
        1 | 2 => Fault::Freeze {
            machine,
            length,
            clock_stops: random.chance(500),
        },
        3 | 4 => {
            let side = random.below(3);
            Fault::Partition {
                machine,
                length,
                up: side != 1,
                down: side != 0,
            }
        }
        5 => Fault::Break {
            machine,
            noticed_by_worker: random.chance(600),
            noticed_by_coordinator: random.chance(600),
        },
        6 | 7 => Fault::Chaos {
            machine,
            chaos: Chaos {
                until: at + length,
                twice: random.pick(&[0, 200, 500]),
                out_of_order: random.pick(&[0, 200, 500]),
                lost: random.pick(&[0, 0, 100]),
                spread: ttl / 4,
            },
        },
        8 => Fault::ClockJumps {
            machine,
            by: random.below(2 * ttl),
        },
        9 => Fault::DiskFull { machine },
        10 => Fault::Drain {
            machine,
            away: length,
        },
        11 | 12 => Fault::CoordinatorCrashes {
            down: random.below(length.min(3_000_000) + 1),
            in_commit: random.chance(600),
        },
        _ => Fault::StoreStalls { length },
    }
}

/// How long after the last fault every run must have ended: whatever is waited for, and all work as often as
/// it can be repeated, one after the other on the slowest machine.
fn bound(runs: &[Submission], policy: &Policy) -> u64 {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let waits = micros(policy.lease_ttl) * 8 + micros(policy.stranded_grace) + micros(policy.client_grace);
    let work = runs
        .iter()
        .flat_map(|run| run.fates.iter().zip(&run.request.cases));
    let work = work.map(|(fate, case)| {
        let times = u64::from(case.retries.count + 1 + policy.losses_max);
        times * (fate.micros * 32 + 1_500_000) + 2_000_000
    });
    waits + 60_000_000 + work.sum::<u64>()
}
