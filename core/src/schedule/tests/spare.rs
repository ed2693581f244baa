//! Idle slots: stealing, hedging; and runs that outlive their coordinator.

use std::time::Duration;

use super::farm::*;

/// What was taken back, as (worker, case), and whether running ones were meant.
fn revoked(effects: &[Effect]) -> Vec<(u64, u32, bool)> {
    let revokes = effects.iter().filter_map(|effect| match effect {
        Effect::Revoke {
            worker,
            cases,
            kill_running,
            ..
        } => Some(cases.iter().map(|(case, _)| (worker.0, case.0, *kill_running))),
        _ => None,
    });
    revokes.flatten().collect()
}

#[test]
fn what_is_stolen_is_granted_when_it_has_come_back() {
    let mut farm = Farm::with_workers(&[1]);
    farm.tell(Event::WorkerHeartbeat {
        worker: WorkerId(1),
        round_trip: Some(Duration::from_millis(100)),
    });
    let effects = farm.submit(request(vec![case(90); 3]));
    assert_eq!(
        granted(&effects),
        [(1, 0), (1, 1), (1, 2)],
        "two round trips ahead"
    );
    farm.start(1, 0, 1);
    let effects = farm.tell(joined(2, 1, None));
    assert_eq!(revoked(&effects), [(1, 2, false)]);
    assert_eq!(revoked(&farm.wait_ms(1)), [], "it is asked once");
    let back = Event::CaseReturned {
        worker: WorkerId(1),
        run: RUN,
        case: CaseIndex(2),
        generation: Generation(1),
    };
    let effects = farm.tell(back);
    let Some(Effect::Grant { worker, cases, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    assert_eq!((worker.0, cases[0].reason), (2, GrantReason::Stolen));
}

#[test]
fn a_case_that_started_meanwhile_stays_where_it_is() {
    let mut farm = Farm::with_workers(&[1]);
    farm.tell(Event::WorkerHeartbeat {
        worker: WorkerId(1),
        round_trip: Some(Duration::from_millis(100)),
    });
    farm.submit(request(vec![case(90); 3]));
    farm.start(1, 0, 1);
    assert_eq!(revoked(&farm.tell(joined(2, 1, None))), [(1, 2, false)]);
    farm.end(1, 0, 1, Outcome::Passed);
    farm.end(1, 1, 1, Outcome::Passed);
    farm.start(1, 2, 1);
    assert_eq!(
        ended(&farm.end(1, 2, 1, Outcome::Passed)),
        Some(StopReason::Complete)
    );
}

/// A run of one case that is late on worker 1, with a copy at worker 2.
fn hedged(planned: PlannedCase) -> Farm {
    let mut farm = Farm::with_workers(&[1, 1]);
    farm.submit(request(vec![planned]));
    farm.start(1, 0, 1);
    assert_eq!(granted(&farm.wait_ms(1_999)), []);
    assert_eq!(
        farm.scheduler.next_deadline(),
        Some(Timestamp::from_micros(3_000_000))
    );
    assert_eq!(granted(&farm.wait_ms(1)), [(2, 0)]);
    farm.start(2, 0, 2);
    farm
}

#[test]
fn the_first_pass_of_two_copies_wins_and_ends_the_other() {
    for (winner, loser) in [((1, 1), (2, 2)), ((2, 2), (1, 1))] {
        let mut farm = hedged(case(100));
        let effects = farm.end(winner.0, 0, winner.1, Outcome::Passed);
        assert_eq!(settled(&effects), [(0, CaseStatus::Passed)]);
        assert_eq!(revoked(&effects), [(loser.0, 0, true)]);
        assert_eq!(ended(&effects), Some(StopReason::Complete));
    }
}

#[test]
fn a_failure_of_one_copy_is_a_failed_attempt() {
    let mut farm = hedged(case(100));
    let effects = farm.end(2, 0, 2, failed());
    assert_eq!(settled(&effects), [(0, CaseStatus::Ended(failed()))]);
    assert_eq!(revoked(&effects), [(1, 0, true)]);

    let mut farm = hedged(PlannedCase {
        retries: retries(1, 60_000),
        ..case(100)
    });
    assert_eq!(settled(&farm.end(1, 0, 1, failed())), []);
    let effects = farm.end(2, 0, 2, Outcome::Passed);
    assert_eq!(settled(&effects), [(0, CaseStatus::Flaky { passes: true })]);
}

#[test]
fn a_copy_that_is_lost_leaves_the_other() {
    for (lost, left) in [(1, (2, 2)), (2, (1, 1))] {
        let mut farm = hedged(case(100));
        let effects = farm.tell(Event::WorkerLeft(WorkerId(lost)));
        assert_eq!(granted(&effects), []);
        let effects = farm.end(left.0, 0, left.1, Outcome::Passed);
        assert_eq!(ended(&effects), Some(StopReason::Complete));
    }
}

#[test]
fn nothing_is_doubled_without_another_worker_or_within_a_group() {
    let mut farm = Farm::with_workers(&[2]);
    farm.submit(request(vec![case(100)]));
    farm.start(1, 0, 1);
    assert_eq!(granted(&farm.wait_ms(5_000)), []);

    let mut farm = Farm::with_workers(&[1, 1]);
    let mut request = request(vec![PlannedCase {
        group: Some(GroupIndex(0)),
        ..case(100)
    }]);
    request.groups.push(TestGroup {
        name: "serial".into(),
        max_threads: ThreadsRequired::Count(1),
    });
    farm.submit(request);
    farm.start(1, 0, 1);
    assert_eq!(granted(&farm.wait_ms(5_000)), []);
}

#[test]
fn a_restored_run_goes_on_where_it_was_under_new_generations() {
    let mut farm = Farm::new();
    farm.scheduler = Scheduler::new(Policy::default(), 1, 3);
    let request = request(vec![
        case(100),
        PlannedCase {
            retries: retries(1, 0),
            ..case(90)
        },
        case(80),
    ]);
    let mut recovery = Recovery::new(Timestamp::default());
    recovery.accepted(&request, CaseIndex(0), 1, &Outcome::Passed, false);
    recovery.accepted(&request, CaseIndex(1), 1, &failed(), true);
    let restored = Event::RunRestored {
        run: RUN,
        request,
        recovery,
    };
    assert_eq!(farm.tell(restored), []);
    let effects = farm.tell(joined(1, 1, None));
    assert_eq!(granted(&effects), [(1, 1)]);
    let generation = Generation::before_epoch(3).0 + 1;
    assert!(
        farm.try_tell(Event::AttemptEnded {
            worker: WorkerId(1),
            run: RUN,
            case: CaseIndex(1),
            generation: Generation(1),
            outcome: Outcome::Passed,
            took: Duration::ZERO,
        })
        .is_err()
    );
    farm.tell(Event::ClientAttached(RUN));
    let effects = farm.end(1, 1, generation, Outcome::Passed);
    assert_eq!(settled(&effects), [(1, CaseStatus::Flaky { passes: true })]);
    let effects = farm.end(1, 2, generation, Outcome::Passed);
    assert_eq!(ended(&effects), Some(StopReason::Complete));
}
