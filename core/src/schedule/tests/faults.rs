//! Workers go, runs are stopped, input is absurd.

use std::time::Duration;

use super::farm::*;

#[test]
fn a_silent_worker_is_given_up_and_its_late_outcome_refused() {
    let mut farm = Farm::with_workers(&[1]);
    farm.submit(request(vec![case(100)]));
    farm.now_ms += 5_000;
    farm.tell(joined(9, 1, None));
    let out = farm.wait_ms(1_000);
    assert!(out.contains(&Effect::WorkerLost {
        worker: WorkerId(1),
        cause: LossCause::Silent,
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
fn a_case_that_takes_its_worker_down_twice_is_not_tried_again() {
    let mut farm = Farm::new();
    farm.submit(request(vec![case(100)]));
    for worker in 1..=2 {
        farm.tell(joined(worker, 1, None));
        farm.tell(Event::CaseStarted {
            worker: WorkerId(worker),
            run: RUN,
            case: CaseIndex(0),
            generation: Generation(worker),
        });
        let out = farm.tell(Event::WorkerLeft(WorkerId(worker)));
        let last = if worker == 2 {
            vec![(0, CaseStatus::Ended(Outcome::TookWorker))]
        } else {
            vec![]
        };
        assert_eq!(settled(&out), last);
    }
}

#[test]
fn a_case_that_ran_beside_the_culprit_is_not_blamed() {
    let mut farm = Farm::new();
    farm.submit(request(vec![case(300), case(200), case(100)]));
    assert_eq!(granted(&farm.tell(joined(1, 2, None))), [(1, 0), (1, 1)]);
    farm.start(1, 0, 1);
    farm.start(1, 1, 1);
    farm.tell(Event::WorkerLeft(WorkerId(1)));

    // Either of the two may have done it: they do not meet again.
    assert_eq!(granted(&farm.tell(joined(2, 2, None))), [(2, 0), (2, 2)]);
    farm.start(2, 0, 2);
    farm.start(2, 2, 1);
    let out = farm.tell(Event::WorkerLeft(WorkerId(2)));
    assert_eq!(settled(&out), [(0, CaseStatus::Ended(Outcome::TookWorker))]);
    assert_eq!(granted(&farm.tell(joined(3, 2, None))), [(3, 1)]);
    let out = farm.end(3, 1, 2, Outcome::Passed);
    assert_eq!(settled(&out), [(1, CaseStatus::Passed)]);
    assert_eq!(granted(&out), [(3, 2)]);
}

#[test]
fn a_worker_that_comes_back_was_not_taken_down() {
    let mut farm = Farm::new();
    farm.submit(request(vec![case(100)]));
    for worker in 1..=4 {
        let out = farm.tell(process_joined(worker, worker));
        assert_eq!(granted(&out), [(worker, 0)]);
        farm.start(worker, 0, worker);
        assert_eq!(settled(&farm.tell(Event::WorkerLeft(WorkerId(worker)))), []);
    }
}

fn process_joined(worker: u64, connection: u64) -> Event {
    joined(worker, 1, Some(WorkerProcess { id: 77, connection }))
}

#[test]
fn a_newer_connection_of_a_worker_ends_the_older_one_and_an_old_one_is_refused() {
    let mut farm = Farm::new();
    farm.submit(request(vec![case(100)]));
    assert_eq!(granted(&farm.tell(process_joined(1, 1))), [(1, 0)]);
    farm.start(1, 0, 1);
    let out = farm.tell(process_joined(2, 3));
    assert!(out.contains(&Effect::WorkerLost {
        worker: WorkerId(1),
        cause: LossCause::Replaced,
        requeued: vec![(RUN, 1)]
    }));
    assert_eq!(granted(&out), [(2, 0)], "at once");
    for newer in 2..6 {
        farm.start(newer, 0, newer);
        let out = farm.tell(process_joined(newer + 1, newer + 2));
        assert_eq!(settled(&out), [], "nothing took the worker down");
    }
    let refused = farm.try_tell(process_joined(3, 2));
    assert_eq!(refused, Err(Rejected::OldConnection { connection: 2 }));
}

#[test]
fn a_worker_that_falls_silent_says_nothing_of_what_it_ran() {
    let mut farm = Farm::new();
    farm.submit(request(vec![case(100)]));
    for worker in 1..=4 {
        assert_eq!(granted(&farm.tell(joined(worker, 2, None))), [(worker, 0)]);
        farm.start(worker, 0, worker);
        let out = farm.wait_ms(6_000);
        assert_eq!(settled(&out), []);
    }
    farm.tell(joined(5, 2, None));
    assert_eq!(
        settled(&farm.end(5, 0, 5, Outcome::Passed)),
        [(0, CaseStatus::Passed)]
    );
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
        cases: Vec::new(),
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
        farm.tell(heartbeat(1));
        assert!(farm.wait_ms(5_000).contains(&Effect::Revoke {
            worker: WorkerId(1),
            run: RUN,
            cases: Vec::new(),
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
        cases: Vec::new(),
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
        farm.tell(heartbeat(1));
        farm.wait_ms(2_990);
    }
    farm.tell(heartbeat(1));
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
    let other = joined(2, 1, None);
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
    let returns_max = u64::from(Policy::default().returns_max);
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
    let join = |worker, slots| joined(worker, slots, None);
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
