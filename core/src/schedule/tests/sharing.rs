//! Many runs share one farm.

use std::time::Duration;

use super::farm::*;

fn id(number: u128) -> RunId {
    RunId::from_u128(number)
}

fn run_of(submitter: &str, cases: usize) -> RunRequest {
    RunRequest {
        submitter: submitter.into(),
        ..request(vec![case(1_000); cases])
    }
}

/// Lets the only worker's cases pass one by one, and tells whose they were, as the first letter of the run's
/// submitter.
fn served(farm: &mut Farm, mut effects: Vec<Effect>, count: usize, who: impl Fn(RunId) -> char) -> String {
    let mut order = String::new();
    while order.len() < count {
        let grants = effects.iter().find_map(|effect| match effect {
            Effect::Grant {
                worker, run, cases, ..
            } => Some((*worker, *run, cases[0].clone())),
            _ => None,
        });
        let Some((worker, run, grant)) = grants else {
            return order;
        };
        order.push(who(run));
        farm.now_ms += 1_000;
        effects = farm.pass(worker, run, &grant, Duration::from_secs(1));
    }
    order
}

/// A farm of one busy worker; what is submitted waits until it is free.
fn busy_farm() -> Farm {
    let mut farm = Farm::with_workers(&[1]);
    farm.tell(Event::RunSubmitted(id(99), run_of("zoe", 1)));
    farm
}

fn free(farm: &mut Farm) -> Vec<Effect> {
    farm.tell(Event::AttemptEnded {
        worker: WorkerId(1),
        run: id(99),
        case: CaseIndex(0),
        generation: Generation(1),
        outcome: Outcome::Passed,
        took: Duration::from_secs(1),
    })
}

#[test]
fn a_more_urgent_run_goes_first_however_late_it_comes() {
    let mut farm = busy_farm();
    for (number, priority) in (0..).zip(RunPriority::ALL) {
        let request = RunRequest {
            priority,
            ..run_of("ann", 1)
        };
        farm.tell(Event::RunSubmitted(id(number), request));
    }
    let effects = free(&mut farm);
    let digit = |run: RunId| char::from(b'0' + run.as_u128() as u8);
    assert_eq!(served(&mut farm, effects, 5, digit), "43210");
}

#[test]
fn submitters_get_equal_parts_however_much_they_ask_for() {
    let mut farm = busy_farm();
    for number in 0..3 {
        farm.tell(Event::RunSubmitted(id(number), run_of("ann", 8)));
    }
    farm.tell(Event::RunSubmitted(id(9), run_of("bob", 4)));
    let effects = free(&mut farm);
    let who = |run: RunId| if run == id(9) { 'b' } else { 'a' };
    assert_eq!(served(&mut farm, effects, 10, who), "ababababaa");
}

#[test]
fn a_greater_share_gets_more() {
    let mut policy = Policy::default();
    policy.shares.insert("bob".into(), 3);
    let mut farm = Farm {
        scheduler: Scheduler::new(policy, 1, 0),
        ..busy_farm()
    };
    farm.tell(Event::RunSubmitted(id(1), run_of("ann", 9)));
    farm.tell(Event::RunSubmitted(id(2), run_of("bob", 9)));
    let effects = farm.tell(joined(5, 1, None));
    let who = |run: RunId| if run == id(2) { 'b' } else { 'a' };
    let order = served(&mut farm, effects, 8, who);
    assert_eq!(order.matches('b').count(), 6, "{order}");
}

#[test]
fn a_pressing_deadline_goes_first_unless_it_could_never_be_met() {
    let mut farm = busy_farm();
    let within = |submitter: &str, secs| RunRequest {
        deadline: Some(Duration::from_secs(secs)),
        ..run_of(submitter, 2)
    };
    farm.tell(Event::RunSubmitted(id(0), run_of("ann", 2)));
    farm.tell(Event::RunSubmitted(id(1), within("bob", 50)));
    farm.tell(Event::RunSubmitted(id(2), within("cid", 20)));
    farm.tell(Event::RunSubmitted(id(3), within("dan", 1)));
    let effects = free(&mut farm);
    let who = |run: RunId| ['a', 'b', 'c', 'd'][run.as_u128() as usize];
    assert_eq!(served(&mut farm, effects, 8, who), "ccbbdada");
}

#[test]
fn a_worker_gets_the_cases_whose_binary_it_holds_while_the_others_can_wait() {
    let mut farm = Farm::with_workers(&[1, 1]);
    let of = |binary, ms| PlannedCase {
        binary: BinaryIndex(binary),
        ..case(ms)
    };
    let mut cases = Vec::new();
    for nth in 0..10 {
        cases.extend([of(0, 1_000 - nth), of(1, 990 - nth)]);
    }
    let mut request = request(cases);
    for binary in &mut request.binaries {
        binary.bytes = 50_000_000;
    }
    let effects = farm.submit(request);
    assert_eq!(granted(&effects), [(1, 0), (2, 2)], "the longest first");
    let effects = farm.end(1, 0, 1, Outcome::Passed);
    assert_eq!(granted(&effects), [(1, 4)]);
    let effects = farm.end(2, 2, 1, Outcome::Passed);
    assert_eq!(granted(&effects), [(2, 6)]);
    let mut turn = (1, 4);
    for _ in 0..6 {
        turn = granted(&farm.end(turn.0, turn.1, 1, Outcome::Passed))[0];
        assert_eq!(turn.1 % 2, 0, "each stays with its binary");
    }
    let last = granted(&farm.end(turn.0, turn.1, 1, Outcome::Passed));
    assert_eq!(last, [(1, 1)], "then fetches the other");
}

#[test]
fn without_history_every_binary_is_tried_before_one_is_finished() {
    let mut farm = Farm::with_workers(&[1, 1, 1]);
    let unknown = |binary| PlannedCase {
        binary: BinaryIndex(binary),
        estimate: None,
        ..case(0)
    };
    let cases = [vec![unknown(0); 4], vec![unknown(1); 4], vec![unknown(2); 4]].concat();
    let effects = farm.submit(request(cases));
    assert_eq!(granted(&effects), [(1, 3), (2, 7), (3, 11)]);
    let slow = Event::AttemptEnded {
        worker: WorkerId(2),
        run: RUN,
        case: CaseIndex(7),
        generation: Generation(1),
        outcome: Outcome::Passed,
        took: Duration::from_secs(9),
    };
    assert_eq!(
        granted(&farm.tell(slow)),
        [(2, 5)],
        "a slow binary's others come first"
    );
}

#[test]
fn a_quarantined_case_runs_but_fails_nothing() {
    let mut farm = Farm::with_workers(&[1]);
    let mut request = request(vec![
        PlannedCase {
            quarantined: true,
            ..case(100)
        },
        case(90),
    ]);
    request.max_fail = MaxFail {
        count: Some(1),
        kill_running: true,
    };
    farm.submit(request);
    let effects = farm.end(1, 0, 1, failed());
    assert_eq!(settled(&effects), [(0, CaseStatus::Quarantined(failed()))]);
    assert_eq!(granted(&effects), [(1, 1)]);
}
