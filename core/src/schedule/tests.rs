use std::time::Duration;

use super::*;
use crate::case::{Backoff, FlakyResult, MaxFail, RetryPolicy, TestGroup, ThreadsRequired};
use crate::id::{BinaryIndex, CaseIndex, Generation, GroupIndex, RunId, WorkerId};
use crate::outcome::{FailureCause, Outcome};
use crate::time::Timestamp;
use crate::verdict::CaseStatus;

const RUN: RunId = RunId::from_u128(7);
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// A scheduler with a clock, whose invariants are checked after every step.
struct Farm {
    scheduler: Scheduler,
    now_ms: u64,
}

impl Farm {
    fn new() -> Self {
        Self {
            scheduler: Scheduler::new(Policy::default(), 1),
            now_ms: 1_000,
        }
    }

    fn with_workers(slots: &[u32]) -> Self {
        let mut farm = Self::new();
        for (id, &slots) in (1..).zip(slots) {
            farm.tell(Event::WorkerJoined {
                worker: WorkerId(id),
                slots,
                cpus: slots,
                platform: PLATFORM.into(),
                in_place: false,
            });
        }
        farm
    }

    fn try_tell(&mut self, event: Event) -> Result<Vec<Effect>, Rejected> {
        let now = Timestamp::from_micros(self.now_ms * 1_000);
        let mut out = Vec::new();
        self.scheduler.apply(now, event, &mut out)?;
        self.scheduler.advance(now, &mut out);
        self.scheduler.check_invariants().unwrap();
        Ok(out)
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.try_tell(event).unwrap()
    }

    fn wait_ms(&mut self, ms: u64) -> Vec<Effect> {
        self.now_ms += ms;
        let mut out = Vec::new();
        self.scheduler
            .advance(Timestamp::from_micros(self.now_ms * 1_000), &mut out);
        self.scheduler.check_invariants().unwrap();
        out
    }

    fn submit(&mut self, request: RunRequest) -> Vec<Effect> {
        self.tell(Event::RunSubmitted(RUN, request))
    }

    fn end(&mut self, worker: u64, case: u32, generation: u32, outcome: Outcome) -> Vec<Effect> {
        self.tell(Event::AttemptEnded {
            worker: WorkerId(worker),
            run: RUN,
            case: CaseIndex(case),
            generation: Generation(generation),
            outcome,
            took: Duration::from_millis(10),
        })
    }
}

fn case(estimate_ms: u64) -> PlannedCase {
    PlannedCase {
        binary: BinaryIndex(0),
        reused: false,
        estimate: Some(Duration::from_millis(estimate_ms)),
        priority: 0,
        threads_required: ThreadsRequired::Count(1),
        group: None,
        retries: RetryPolicy::NONE,
        flaky_result: FlakyResult::Pass,
    }
}

fn request(cases: Vec<PlannedCase>) -> RunRequest {
    RunRequest {
        platform: PLATFORM.into(),
        in_place: false,
        max_fail: MaxFail::NEVER,
        global_timeout: None,
        groups: Vec::new(),
        cases,
    }
}

fn retries(count: u32, delay_ms: u64) -> RetryPolicy {
    RetryPolicy {
        count,
        backoff: Backoff::Fixed(Duration::from_millis(delay_ms)),
        jitter: false,
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        cause: FailureCause::ExitCode(101),
        leaked: false,
    }
}

/// The granted cases as (worker, case).
fn granted(effects: &[Effect]) -> Vec<(u64, u32)> {
    let grants = effects.iter().filter_map(|effect| match effect {
        Effect::Grant { worker, cases, .. } => Some(cases.iter().map(|grant| (worker.0, grant.case.0))),
        _ => None,
    });
    grants.flatten().collect()
}

fn settled(effects: &[Effect]) -> Vec<(u32, CaseStatus)> {
    let settled = effects.iter().filter_map(|effect| match effect {
        Effect::CaseSettled { case, status, .. } => Some((case.0, status.clone())),
        _ => None,
    });
    settled.collect()
}

fn ended(effects: &[Effect]) -> Option<StopReason> {
    effects.iter().find_map(|effect| match effect {
        Effect::RunEnded { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn the_longest_cases_go_first_and_spread_over_the_workers() {
    let mut farm = Farm::with_workers(&[1, 2]);
    let out = farm.submit(request(vec![case(100), case(900), case(500), case(300)]));
    assert_eq!(granted(&out), [(1, 2), (2, 1), (2, 3)]);
    assert_eq!(granted(&farm.end(1, 2, 1, Outcome::Passed)), [(1, 0)]);
}

#[test]
fn priority_goes_before_length() {
    let mut farm = Farm::with_workers(&[1]);
    let out = farm.submit(request(vec![
        case(900),
        PlannedCase {
            priority: 1,
            ..case(100)
        },
    ]));
    assert_eq!(granted(&out), [(1, 1)]);
}

#[test]
fn short_cases_are_given_ahead_but_long_ones_are_not() {
    let mut farm = Farm::with_workers(&[1]);
    let cases = [vec![case(1_000)], vec![case(2); 100]].concat();
    let out = farm.submit(request(cases));
    assert_eq!(granted(&out), [(1, 0)]);
    let ahead = granted(&farm.end(1, 0, 1, Outcome::Passed)).len();
    assert_eq!(ahead, 20, "40 ms of lookahead in cases of 2 ms");
}

#[test]
fn nothing_is_given_ahead_of_a_case_of_higher_priority() {
    let mut farm = Farm::with_workers(&[1]);
    let unknown = PlannedCase {
        estimate: None,
        priority: 1,
        ..case(0)
    };
    let quick = PlannedCase {
        binary: BinaryIndex(1),
        ..case(1)
    };
    let out = farm.submit(request(vec![unknown.clone(), unknown, quick]));
    assert_eq!(granted(&out), [(1, 0)]);
    assert_eq!(granted(&farm.end(1, 0, 1, Outcome::Passed)), [(1, 1), (1, 2)]);
}

#[test]
fn the_last_outcome_ends_the_run() {
    let mut farm = Farm::with_workers(&[2]);
    farm.submit(request(vec![
        case(100),
        PlannedCase {
            reused: true,
            ..case(1)
        },
        case(100),
    ]));
    assert_eq!(ended(&farm.end(1, 0, 1, Outcome::Passed)), None);
    let out = farm.end(1, 2, 1, failed());
    assert_eq!(settled(&out), [(2, CaseStatus::Ended(failed()))]);
    assert_eq!(ended(&out), Some(StopReason::Complete));
    assert_eq!(
        farm.try_tell(Event::RunCancelled(RUN)),
        Err(Rejected::UnknownRun(RUN))
    );
}

#[test]
fn a_run_of_reused_cases_ends_at_once_without_a_worker() {
    let mut farm = Farm::new();
    let out = farm.submit(request(vec![
        PlannedCase {
            reused: true,
            ..case(1)
        };
        3
    ]));
    assert_eq!(settled(&out).len(), 3);
    assert_eq!(ended(&out), Some(StopReason::Complete));
}

#[test]
fn a_failed_case_is_tried_again_elsewhere_after_its_delay() {
    let mut farm = Farm::with_workers(&[1, 1]);
    farm.submit(request(vec![PlannedCase {
        retries: retries(1, 500),
        ..case(100)
    }]));
    let out = farm.end(1, 0, 1, failed());
    assert_eq!((granted(&out), settled(&out)), (vec![], vec![]));
    assert_eq!(
        farm.scheduler.next_deadline(),
        Some(Timestamp::from_micros(1_500_000))
    );
    assert_eq!(granted(&farm.wait_ms(500)), [(2, 0)]);
    let out = farm.end(2, 0, 2, Outcome::Passed);
    assert_eq!(settled(&out), [(0, CaseStatus::Flaky { passes: true })]);
}

#[test]
fn a_lone_worker_gets_the_case_back() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![PlannedCase {
        retries: retries(1, 0),
        ..case(100)
    }]));
    assert_eq!(granted(&farm.end(1, 0, 1, failed())), [(1, 0)]);
}

#[test]
fn no_slot_idles_so_that_failed_cases_go_elsewhere() {
    let mut farm = Farm::with_workers(&[1, 1]);
    let failing = || PlannedCase {
        retries: retries(1, 3_000),
        ..case(500)
    };
    let mut cases = vec![case(60_000)];
    cases.extend((0..12).map(|_| failing()));
    cases.push(case(400));
    farm.submit(request(cases));
    // The long case keeps the first worker busy; all others fail on the second.
    for failing in 1..=12 {
        farm.end(2, failing, 1, failed());
    }
    assert_eq!(granted(&farm.wait_ms(3_000)), []);
    assert_eq!(granted(&farm.end(2, 13, 1, Outcome::Passed)), [(2, 1)]);
}

#[test]
fn exhausted_retries_settle_with_the_last_outcome() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![PlannedCase {
        retries: retries(1, 0),
        ..case(100)
    }]));
    farm.end(1, 0, 1, failed());
    let out = farm.end(1, 0, 2, Outcome::TimedOut { passes: false });
    assert_eq!(
        settled(&out),
        [(0, CaseStatus::Ended(Outcome::TimedOut { passes: false }))]
    );
}

#[test]
fn a_silent_worker_is_given_up_and_its_late_outcome_refused() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![case(100)]));
    farm.now_ms += 5_000;
    farm.tell(Event::WorkerJoined {
        worker: WorkerId(9),
        slots: 1,
        cpus: 1,
        platform: PLATFORM.into(),
        in_place: false,
    });
    let out = farm.wait_ms(1_000);
    assert!(out.contains(&Effect::WorkerLost {
        worker: WorkerId(1),
        requeued: vec![(RUN, 1)]
    }));
    assert_eq!(granted(&out), [(9, 0)]);
    let late = Event::AttemptEnded {
        worker: WorkerId(1),
        run: RUN,
        case: CaseIndex(0),
        generation: Generation(1),
        outcome: Outcome::Passed,
        took: Duration::ZERO,
    };
    assert_eq!(farm.try_tell(late), Err(Rejected::UnknownWorker(WorkerId(1))));
}

#[test]
fn an_outcome_counts_once_and_only_under_its_generation() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![case(100), case(50)]));
    let outcome = |generation| Event::AttemptEnded {
        worker: WorkerId(1),
        run: RUN,
        case: CaseIndex(0),
        generation: Generation(generation),
        outcome: Outcome::Passed,
        took: Duration::ZERO,
    };
    assert!(matches!(farm.try_tell(outcome(2)), Err(Rejected::Stale { .. })));
    assert!(farm.try_tell(outcome(1)).is_ok());
    assert!(matches!(farm.try_tell(outcome(1)), Err(Rejected::Stale { .. })));
}

#[test]
fn a_case_that_is_lost_again_and_again_is_given_up_as_lost() {
    let mut farm = Farm::new();
    farm.submit(request(vec![case(100)]));
    for worker in 1..=3 {
        farm.tell(Event::WorkerJoined {
            worker: WorkerId(worker),
            slots: 1,
            cpus: 1,
            platform: PLATFORM.into(),
            in_place: false,
        });
        farm.tell(Event::CaseStarted {
            worker: WorkerId(worker),
            run: RUN,
            case: CaseIndex(0),
            generation: Generation(worker as u32),
        });
        let out = farm.tell(Event::WorkerLeft(WorkerId(worker)));
        let last = if worker == 3 {
            vec![(0, CaseStatus::Ended(Outcome::Lost))]
        } else {
            vec![]
        };
        assert_eq!(settled(&out), last);
    }
}

#[test]
fn a_group_runs_only_so_many_at_a_time_over_all_workers() {
    let mut farm = Farm::with_workers(&[2, 2]);
    let mut request = request(vec![
        PlannedCase {
            group: Some(GroupIndex(0)),
            ..case(100)
        };
        3
    ]);
    request.groups.push(TestGroup {
        name: "serial".into(),
        max_threads: ThreadsRequired::Count(2),
    });
    request.cases.push(case(50));
    let out = farm.submit(request);
    assert_eq!(granted(&out), [(1, 0), (1, 3), (2, 1)]);
    let out = farm.end(2, 1, 1, Outcome::Passed);
    assert_eq!(granted(&out), [(2, 2)]);
    let Some(Effect::Grant { cases, .. }) = out.last() else {
        panic!("{out:?}")
    };
    assert_eq!(cases[0].group_slot, Some(1));
}

#[test]
fn a_heavy_case_takes_at_most_the_whole_worker() {
    let mut farm = Farm::with_workers(&[2]);
    let heavy = PlannedCase {
        threads_required: ThreadsRequired::Count(64),
        ..case(100)
    };
    let out = farm.submit(request(vec![heavy, case(90)]));
    let Some(Effect::Grant { cases, .. }) = out.last() else {
        panic!("{out:?}")
    };
    assert_eq!((cases.len(), cases[0].weight), (1, 2));
}

#[test]
fn max_fail_lets_running_cases_end_and_drops_the_rest() {
    let mut farm = Farm::with_workers(&[2]);
    let mut request = request(vec![case(300), case(200), case(100)]);
    request.max_fail = MaxFail {
        count: Some(1),
        kill_running: false,
    };
    farm.submit(request);
    let out = farm.end(1, 0, 1, failed());
    assert!(out.contains(&Effect::Revoke {
        worker: WorkerId(1),
        run: RUN,
        kill_running: false
    }));
    assert_eq!(settled(&out)[1..], [(2, CaseStatus::NotRun)]);
    assert_eq!(
        ended(&farm.end(1, 1, 1, Outcome::Passed)),
        Some(StopReason::MaxFail)
    );
}

#[test]
fn a_run_that_stops_for_failures_is_still_bound_by_its_client_and_its_timeout() {
    for (timeout, followed) in [(Some(Duration::from_secs(10)), true), (None, false)] {
        let mut farm = Farm::with_workers(&[2]);
        let mut request = request(vec![case(300), case(200)]);
        request.global_timeout = timeout;
        request.max_fail = MaxFail {
            count: Some(1),
            kill_running: false,
        };
        farm.submit(request);
        if !followed {
            farm.tell(Event::ClientDetached(RUN));
        }
        farm.end(1, 0, 1, failed());
        farm.wait_ms(5_000);
        farm.tell(Event::WorkerHeartbeat(WorkerId(1)));
        assert!(farm.wait_ms(5_000).contains(&Effect::Revoke {
            worker: WorkerId(1),
            run: RUN,
            kill_running: true
        }));
        assert_eq!(
            ended(&farm.end(1, 1, 1, Outcome::Cancelled)),
            Some(StopReason::MaxFail)
        );
    }
}

#[test]
fn cancelling_waits_for_a_word_on_every_leased_case() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![case(300), case(200)]));
    let out = farm.tell(Event::RunCancelled(RUN));
    assert!(out.contains(&Effect::Revoke {
        worker: WorkerId(1),
        run: RUN,
        kill_running: true
    }));
    assert_eq!(ended(&out), None);
    let out = farm.end(1, 0, 1, Outcome::Cancelled);
    assert_eq!(settled(&out), [(0, CaseStatus::NotRun)]);
    assert_eq!(ended(&out), Some(StopReason::Cancelled));
}

#[test]
fn a_run_that_nobody_follows_is_cancelled_after_the_grace_period() {
    let mut farm = Farm::new();
    farm.submit(request(vec![case(300)]));
    farm.tell(Event::ClientDetached(RUN));
    assert_eq!(ended(&farm.wait_ms(9_000)), None);
    farm.tell(Event::ClientAttached(RUN));
    farm.wait_ms(9_000);
    farm.tell(Event::ClientDetached(RUN));
    assert_eq!(ended(&farm.wait_ms(10_000)), Some(StopReason::Cancelled));
}

#[test]
fn a_cordoned_worker_finishes_but_gets_nothing_new() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![case(300), case(200)]));
    farm.tell(Event::WorkerCordoned(WorkerId(1), CordonReason::DiskFull));
    assert_eq!(granted(&farm.end(1, 0, 1, Outcome::Passed)), []);
    for _ in 0..100 {
        farm.tell(Event::WorkerHeartbeat(WorkerId(1)));
        farm.wait_ms(2_990);
    }
    farm.tell(Event::WorkerHeartbeat(WorkerId(1)));
    assert_eq!(ended(&farm.wait_ms(1_000)), Some(StopReason::Stranded));
}

#[test]
fn a_returned_case_waits_before_it_is_granted_again_unless_its_worker_is_leaving() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![case(300)]));
    let back = |generation| Event::CaseReturned {
        worker: WorkerId(1),
        run: RUN,
        case: CaseIndex(0),
        generation: Generation(generation),
    };
    assert_eq!(granted(&farm.tell(back(1))), []);
    assert_eq!(granted(&farm.wait_ms(500)), [(1, 0)]);
    farm.tell(Event::WorkerCordoned(WorkerId(1), CordonReason::Drain));
    farm.tell(back(2));
    let other = Event::WorkerJoined {
        worker: WorkerId(2),
        slots: 1,
        cpus: 1,
        platform: PLATFORM.into(),
        in_place: false,
    };
    assert_eq!(granted(&farm.tell(other)), [(2, 0)]);
}

#[test]
fn a_case_that_no_worker_can_start_ends_the_run() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![case(300), case(200)]));
    farm.end(1, 0, 1, Outcome::Passed);
    let back = |generation| Event::CaseReturned {
        worker: WorkerId(1),
        run: RUN,
        case: CaseIndex(1),
        generation: Generation(generation),
    };
    let returns_max = Policy::default().returns_max;
    for generation in 1..returns_max {
        assert_eq!(ended(&farm.tell(back(generation))), None);
        assert_eq!(granted(&farm.wait_ms(500)), [(1, 1)]);
    }
    let out = farm.tell(back(returns_max));
    assert_eq!(settled(&out), [(1, CaseStatus::NotRun)]);
    assert_eq!(ended(&out), Some(StopReason::Stranded));
}

#[test]
fn workers_take_only_what_suits_them() {
    let mut farm = Farm::with_workers(&[1]);
    let out = farm.submit(RunRequest {
        in_place: true,
        ..request(vec![case(1)])
    });
    assert_eq!(granted(&out), []);
    let other = RunId::from_u128(8);
    let foreign = RunRequest {
        platform: "riscv64gc-unknown-linux-gnu".into(),
        ..request(vec![case(1)])
    };
    assert_eq!(granted(&farm.tell(Event::RunSubmitted(other, foreign))), []);
}

#[test]
fn absurd_input_is_rejected() {
    let mut farm = Farm::with_workers(&[1]);
    let join = |worker, slots| Event::WorkerJoined {
        worker: WorkerId(worker),
        slots,
        cpus: 1,
        platform: PLATFORM.into(),
        in_place: false,
    };
    assert_eq!(
        farm.try_tell(join(1, 1)),
        Err(Rejected::DuplicateWorker(WorkerId(1)))
    );
    assert_eq!(
        farm.try_tell(join(2, 0)),
        Err(Rejected::Slots { slots: 0, max: 4_096 })
    );
    assert!(farm.try_tell(join(2, 1_000_000)).is_err());
    let bad = request(vec![PlannedCase {
        group: Some(GroupIndex(3)),
        ..case(1)
    }]);
    assert!(matches!(
        farm.try_tell(Event::RunSubmitted(RUN, bad)),
        Err(Rejected::Malformed(..))
    ));
    farm.submit(request(vec![case(1)]));
    assert_eq!(
        farm.try_tell(Event::RunSubmitted(RUN, request(vec![]))),
        Err(Rejected::DuplicateRun(RUN))
    );
    let unknown = Event::CaseReturned {
        worker: WorkerId(1),
        run: RUN,
        case: CaseIndex(99),
        generation: Generation(1),
    };
    assert_eq!(
        farm.try_tell(unknown),
        Err(Rejected::UnknownCase(RUN, CaseIndex(99)))
    );
}

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
    farm.scheduler = Scheduler::new(Policy::default(), seed);
    let mut dice = Scheduler::new(Policy::default(), seed ^ 0xd1ce);
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
