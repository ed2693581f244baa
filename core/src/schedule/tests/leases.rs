//! Cases are granted, tried again and settled.

use std::collections::VecDeque;
use std::time::Duration;

use super::farm::*;

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
    assert_eq!(granted(&out), [(1, 1)]);
    assert_eq!(granted(&farm.end(1, 1, 1, Outcome::Passed)), [(1, 0), (1, 2)]);
}

/// Lets workers with four slots together run what they are granted, in that order, until a run gets a slot; returns
/// how many cases ended before.
fn ended_until_granted(farm: &mut Farm, mut effects: Vec<Effect>, wanted: RunId) -> usize {
    let (mut held, mut running) = (VecDeque::new(), VecDeque::new());
    for ended in 0.. {
        loop {
            for effect in effects.drain(..) {
                if let Effect::Grant {
                    worker, run, cases, ..
                } = effect
                {
                    held.extend(cases.into_iter().map(|grant| (worker, run, grant)));
                }
            }
            if held.iter().any(|(_, run, _)| *run == wanted) {
                return ended;
            }
            if running.len() == 4 {
                break;
            }
            let (worker, run, grant) = held.pop_front().expect("a case is left to run");
            effects = farm.tell(Event::CaseStarted {
                worker,
                run,
                case: grant.case,
                generation: grant.generation,
            });
            running.push_back((worker, run, grant));
        }
        let (worker, run, grant) = running.pop_front().expect("four are running");
        farm.now_ms += 25;
        effects = farm.pass(worker, run, &grant, Duration::from_millis(100));
    }
    unreachable!("cases end without end")
}

#[test]
fn what_is_given_ahead_keeps_no_long_case_of_another_run_from_a_slot() {
    for priority in [RunPriority::TrunkFix, RunPriority::Speculative] {
        let mut farm = Farm::with_workers(&[2, 2]);
        let mut leased = farm.submit(RunRequest {
            priority: RunPriority::Speculative,
            ..request(vec![case(100); 2_000])
        });
        let other = RunId::from_u128(8);
        leased.extend(farm.tell(Event::RunSubmitted(
            other,
            RunRequest {
                priority,
                submitter: "another".into(),
                ..request(vec![case(5_000)])
            },
        )));
        let ended = ended_until_granted(&mut farm, leased, other);
        assert!(
            ended <= 60,
            "{ended} cases went before a case that was to be next"
        );
    }
}

#[test]
fn what_is_given_ahead_leaves_short_cases_for_the_end() {
    let ahead = |short: usize| {
        let mut farm = Farm::with_workers(&[1]);
        let cases = [vec![case(500); 3], vec![case(20); short]].concat();
        assert_eq!(granted(&farm.submit(request(cases))), [(1, 0)]);
        granted(&farm.start(1, 0, 1)).len()
    };
    assert_eq!(
        ahead(25),
        0,
        "500 ms are to be left for the end of a case of 500 ms"
    );
    assert!(ahead(100) > 0);
}

#[test]
fn a_worker_is_not_believed_that_a_case_took_longer_than_since_it_was_granted() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![case(100)]));
    farm.now_ms += 50;
    let out = farm.tell(Event::AttemptEnded {
        worker: WorkerId(1),
        run: RUN,
        case: CaseIndex(0),
        generation: Generation(1),
        outcome: Outcome::Passed,
        took: Duration::from_secs(1_000_000_000),
    });
    let took = out.iter().find_map(|effect| match effect {
        Effect::AttemptAccepted { took, .. } => Some(*took),
        _ => None,
    });
    assert!(took.unwrap() < Duration::from_secs(60), "{took:?}");
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
fn a_failed_case_waits_for_another_worker_but_not_for_ever() {
    let mut farm = Farm::with_workers(&[1, 1]);
    let failing = || PlannedCase {
        retries: retries(1, 500),
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
    assert_eq!(granted(&farm.wait_ms(500)), []);
    assert_eq!(granted(&farm.end(2, 13, 1, Outcome::Passed)), []);
    assert_eq!(granted(&farm.wait_ms(4_999)), []);
    assert_eq!(granted(&farm.wait_ms(1))[0], (2, 1));
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
