use std::time::Duration;

use super::*;
use crate::id::{BinaryIndex, CaseIndex, Generation, RunId};
use crate::time::Timestamp;

const RUN: RunId = RunId::from_u128(1);
const BINARY: BinaryIndex = BinaryIndex(0);
const TERMS: Terms = Terms {
    heartbeat: Duration::from_secs(1),
    lease_ttl: Duration::from_secs(5),
};

fn at(secs: u64) -> Timestamp {
    Timestamp::from_micros(secs * 1_000_000)
}

fn case(number: u32, weight: u32) -> LeasedCase {
    LeasedCase {
        case: CaseIndex(number),
        generation: Generation(1),
        binary: BINARY,
        weight,
    }
}

/// A session with its inputs in place, and `cases` leased.
fn leased(slots: u32, cases: Vec<LeasedCase>) -> (Session, Vec<Effect>) {
    let mut session = Session::new(TERMS, slots, at(0));
    let mut out = Vec::new();
    session.apply(at(0), Event::Leased { run: RUN, cases }, &mut out);
    session.apply(
        at(0),
        Event::Prepared {
            run: RUN,
            binary: BINARY,
            usable: true,
        },
        &mut out,
    );
    (session, out)
}

fn started(effects: &[Effect]) -> Vec<(u32, u32)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Start { case, slot, .. } => Some((case.0, *slot)),
            _ => None,
        })
        .collect()
}

fn heartbeat(secs: u64, round_trip: Option<Duration>) -> Effect {
    Effect::SendHeartbeat {
        sent: at(secs),
        round_trip,
    }
}

/// The second at which a session of which nothing is heard from now on is over.
fn over_after(mut session: Session, now: u64) -> u64 {
    let mut out = Vec::new();
    let is_over = |secs: &u64| {
        session.advance(at(*secs), &mut out);
        out.contains(&Effect::Over)
    };
    (now..100).find(is_over).expect("it ends by itself")
}

fn ended(number: u32) -> Event {
    Event::Ended {
        run: RUN,
        case: CaseIndex(number),
        generation: Generation(1),
    }
}

#[test]
fn cases_start_in_order_as_slots_become_free() {
    let (mut session, out) = leased(2, vec![case(5, 1), case(3, 1), case(4, 1)]);
    assert_eq!(
        out[0],
        Effect::Prepare {
            run: RUN,
            binary: BINARY
        }
    );
    assert_eq!(started(&out), [(5, 0), (3, 1)]);
    let mut out = Vec::new();
    session.apply(at(1), ended(3), &mut out);
    assert_eq!(started(&out), [(4, 1)]);
}

#[test]
fn a_heavy_case_waits_for_its_slots_and_holds_up_the_rest() {
    let (mut session, out) = leased(2, vec![case(0, 1), case(1, 9), case(2, 1)]);
    assert_eq!(started(&out), [(0, 0)]);
    let mut out = Vec::new();
    session.apply(at(1), ended(0), &mut out);
    assert_eq!(started(&out), [(1, 0)]);
}

#[test]
fn cases_without_usable_inputs_come_back() {
    let mut session = Session::new(TERMS, 1, at(0));
    let mut out = Vec::new();
    session.apply(
        at(0),
        Event::Leased {
            run: RUN,
            cases: vec![case(0, 1)],
        },
        &mut out,
    );
    session.apply(
        at(0),
        Event::Prepared {
            run: RUN,
            binary: BINARY,
            usable: false,
        },
        &mut out,
    );
    let back = Effect::Return {
        run: RUN,
        cases: vec![(CaseIndex(0), Generation(1))],
    };
    assert_eq!(out.last(), Some(&back));
    session.apply(
        at(0),
        Event::Leased {
            run: RUN,
            cases: vec![case(0, 1)],
        },
        &mut out,
    );
    assert_eq!(out.last(), Some(&back));
    assert_eq!(started(&out), []);
}

#[test]
fn revocation_returns_what_waits_and_kills_only_if_asked() {
    let (mut session, _) = leased(1, vec![case(0, 1), case(1, 1)]);
    let mut out = Vec::new();
    session.apply(
        at(1),
        Event::Revoked {
            run: RUN,
            cases: Vec::new(),
            kill_running: false,
        },
        &mut out,
    );
    assert_eq!(
        out,
        [Effect::Return {
            run: RUN,
            cases: vec![(CaseIndex(1), Generation(1))]
        }]
    );
    out.clear();
    session.apply(
        at(1),
        Event::Revoked {
            run: RUN,
            cases: Vec::new(),
            kill_running: true,
        },
        &mut out,
    );
    session.apply(
        at(1),
        Event::Revoked {
            run: RUN,
            cases: Vec::new(),
            kill_running: true,
        },
        &mut out,
    );
    assert_eq!(
        out,
        [Effect::Kill {
            run: RUN,
            case: CaseIndex(0),
            generation: Generation(1)
        }]
    );
}

#[test]
fn what_was_told_to_end_is_killed_when_the_session_or_the_run_is_over() {
    for last in [Event::Disconnected, Event::Forgotten(RUN)] {
        let (mut session, _) = leased(1, vec![case(0, 1)]);
        let mut out = Vec::new();
        let revoked = Event::Revoked {
            run: RUN,
            cases: Vec::new(),
            kill_running: true,
        };
        session.apply(at(1), revoked, &mut out);
        out.clear();
        session.apply(at(1), last, &mut out);
        let kill = Effect::Kill {
            run: RUN,
            case: CaseIndex(0),
            generation: Generation(1),
        };
        assert_eq!(out[0], kill);
    }
}

#[test]
fn silence_beyond_the_lease_ends_the_session_and_every_process() {
    let (mut session, _) = leased(1, vec![case(0, 1), case(1, 1)]);
    let mut out = Vec::new();
    session.advance(at(1), &mut out);
    assert_eq!(out, [heartbeat(1, None)]);
    session.apply(at(2), Event::HeartbeatAnswered { sent: at(1) }, &mut out);
    out.clear();
    session.advance(at(5), &mut out);
    assert_eq!(out, [heartbeat(5, Some(Duration::from_secs(1)))]);
    out.clear();
    session.advance(at(6), &mut out);
    let kill = Effect::Kill {
        run: RUN,
        case: CaseIndex(0),
        generation: Generation(1),
    };
    assert_eq!(out, [kill, Effect::Release(RUN), Effect::Over]);
    assert_eq!(session.next_deadline(), None);
    out.clear();
    session.apply(at(8), ended(0), &mut out);
    assert_eq!(out, []);
}

/// The coordinator counts from when it hears a word. How long the answer takes gives the processes no more time.
#[test]
fn a_late_answer_does_not_make_the_lease_longer() {
    let session = Session::new(TERMS, 1, at(0));
    // Welcomed after 4 s, and no answer came since.
    assert_eq!(over_after(session, 4), 5);

    // The heartbeats of 1 and 2 s are answered after 5 s, in the wrong order and one of them twice.
    let mut session = Session::new(TERMS, 1, at(0));
    let mut out = Vec::new();
    session.advance(at(1), &mut out);
    session.advance(at(2), &mut out);
    for sent in [2, 1, 2] {
        session.apply(at(4), Event::HeartbeatAnswered { sent: at(sent) }, &mut out);
    }
    assert_eq!(over_after(session, 4), 7);

    // What cannot be does not help either.
    let mut session = Session::new(TERMS, 1, at(0));
    session.apply(at(3), Event::HeartbeatAnswered { sent: at(9) }, &mut out);
    assert_eq!(over_after(session, 3), 8);
}

#[test]
fn a_session_that_is_welcomed_too_late_is_over() {
    let mut session = Session::new(TERMS, 1, at(0));
    let mut out = Vec::new();
    session.advance(at(6), &mut out);
    assert_eq!(out, [Effect::Over]);
}

#[test]
fn a_lease_that_came_before_or_whose_run_is_over_starts_nothing() {
    let (mut session, _) = leased(2, vec![case(1, 1)]);
    let lease = |generation| Event::Leased {
        run: RUN,
        cases: vec![LeasedCase {
            generation: Generation(generation),
            ..case(1, 1)
        }],
    };
    let mut out = Vec::new();
    session.apply(at(0), lease(1), &mut out);
    session.apply(at(0), ended(1), &mut out);
    session.apply(at(0), lease(1), &mut out);
    assert_eq!(out, []);
    session.apply(at(0), lease(2), &mut out);
    assert_eq!(started(&out), [(1, 0)]);
    session.apply(at(0), Event::Forgotten(RUN), &mut out);
    out.clear();
    session.apply(at(0), lease(3), &mut out);
    assert_eq!(out, []);
}

#[test]
fn a_lease_that_is_ended_before_it_comes_starts_nothing() {
    let (mut session, _) = leased(1, vec![]);
    let late = LeasedCase {
        generation: Generation(3),
        ..case(1, 1)
    };
    let revoked = Event::Revoked {
        run: RUN,
        cases: vec![(late.case, late.generation)],
        kill_running: true,
    };
    let mut out = Vec::new();
    session.apply(at(0), revoked, &mut out);
    let lease = Event::Leased {
        run: RUN,
        cases: vec![late],
    };
    session.apply(at(0), lease, &mut out);
    assert_eq!(out, []);
}
