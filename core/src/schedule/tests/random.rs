//! Random farms.

use std::time::Duration;

use super::farm::*;

/// Random farms: workers come, go and fall silent, cases pass, fail and come back. Every run ends with exactly
/// one status for every case, and the invariants hold after every step (see [`Farm::try_tell`]).
#[test]
fn random_farms_lose_nothing_and_end() {
    for seed in 0..200 {
        random_farm(seed);
    }
}

fn random_farm(seed: u64) {
    let mut farm = Farm::new();
    farm.scheduler = Scheduler::new(Policy::default(), seed, 0);
    let mut dice = Scheduler::new(Policy::default(), seed ^ 0xd1ce, 0);
    let mut roll = |sides: u64| (dice.next_random() * sides as f64) as u64;
    let cases = (0..30).map(|_| PlannedCase {
        estimate: (roll(3) > 0).then(|| Duration::from_millis(roll(300))),
        priority: roll(3) as i8,
        threads_required: ThreadsRequired::Count(1 + roll(3) as u32),
        group: (roll(3) == 0).then_some(GroupIndex(0)),
        retries: retries(roll(3) as u32, roll(2) * 200),
        ..case(0)
    });
    let mut request = request(cases.collect());
    request.groups.push(TestGroup {
        name: "two".into(),
        max_threads: ThreadsRequired::Count(2),
    });
    let mut held: Vec<(WorkerId, CaseGrant)> = Vec::new();
    let mut statuses = vec![0; 30];
    let mut over = false;
    let mut effects = farm.submit(request);
    let mut next_worker = 1;
    for step in 0..5_000 {
        for effect in effects.drain(..) {
            match effect {
                Effect::Grant { worker, cases, .. } => held.extend(cases.into_iter().map(|c| (worker, c))),
                Effect::CaseSettled { case, .. } => statuses[case.at()] += 1,
                Effect::RunEnded { .. } => over = true,
                _ => {}
            }
        }
        if over {
            break;
        }
        let calm = step > 500;
        effects = match roll(if calm { 6 } else { 10 }) {
            0 if next_worker < 40 || calm => {
                next_worker += 1;
                farm.tell(Event::WorkerJoined {
                    worker: WorkerId(next_worker),
                    slots: 1 + roll(4) as u32,
                    cpus: 2,
                    platform: PLATFORM.into(),
                    in_place: false,
                    process: None,
                })
            }
            1..6 if !held.is_empty() => {
                let (worker, grant) = held.swap_remove(roll(held.len() as u64) as usize);
                let (run, case, generation) = (RUN, grant.case, grant.generation);
                let event = match roll(5) {
                    0 => Event::CaseReturned {
                        worker,
                        run,
                        case,
                        generation,
                    },
                    at => {
                        let outcome = if at == 1 { failed() } else { Outcome::Passed };
                        Event::AttemptEnded {
                            worker,
                            run,
                            case,
                            generation,
                            outcome,
                            took: Duration::ZERO,
                        }
                    }
                };
                farm.try_tell(event).unwrap_or_default()
            }
            6 => farm
                .try_tell(Event::WorkerLeft(WorkerId(roll(next_worker + 1))))
                .unwrap_or_default(),
            7 => farm.wait_ms(roll(8_000)),
            _ => farm.wait_ms(roll(100)),
        };
    }
    assert!(over, "seed {seed}: the run did not end");
    assert!(
        statuses.iter().all(|&count| count == 1),
        "seed {seed}: {statuses:?}"
    );
}
