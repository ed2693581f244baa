use std::collections::BTreeMap;

use prost::Message;
use thresh_core::outcome::FailureCause;
use thresh_proto::convert::{audited_to_wire, duration_to_wire, outcome_to_wire, stop_reason_to_wire};
use thresh_proto::testing::fuzz;

use super::*;
use crate::nextest::{FlakyFailStatus, OutputDisplay, ReportSettings, ReportSkipped};
use crate::report::CaseLabel;

const SETTINGS: ReportSettings = ReportSettings {
    success_output: OutputDisplay::Never,
    failure_output: OutputDisplay::Immediate,
    junit_store_success_output: false,
    junit_store_failure_output: true,
    junit_report_skipped: ReportSkipped::None,
    junit_flaky_fail_status: FlakyFailStatus::Failure,
};

fn fold(cases: usize) -> Fold {
    let label = |name: usize| CaseLabel {
        binary_id: "b".into(),
        package: "p".into(),
        name: name.to_string(),
        report: SETTINGS,
    };
    let roster = Roster {
        cases: (0..cases).map(label).collect(),
        ..Roster::default()
    };
    let settings = vec![
        FoldCase {
            flaky_passes: true,
            weight: 1
        };
        cases
    ];
    Fold::new(RunId::from_u128(1), Arc::new(roster), settings, 0, None)
}

fn failed() -> Outcome {
    Outcome::Failed {
        cause: FailureCause::ExitCode(101),
        leaked: false,
    }
}

fn attempt(case: u32, number: u32, outcome: &Outcome, last: bool) -> Event {
    Event::Attempt(v1::AttemptEnded {
        case,
        attempt: number,
        attempts_max: 3,
        outcome: Some(outcome_to_wire(outcome)),
        took: Some(duration_to_wire(Duration::from_secs(2))),
        last,
        ..v1::AttemptEnded::default()
    })
}

fn ended(reason: StopReason) -> Event {
    Event::Ended(v1::RunEnded {
        reason: stop_reason_to_wire(reason).into(),
        took: Some(duration_to_wire(Duration::from_secs(4))),
        slots: 2,
        ..v1::RunEnded::default()
    })
}

/// Plays numbered events; returns the summary and how often each case ended.
fn play_numbered(cases: usize, events: Vec<(u64, Event)>) -> (RunSummary, BTreeMap<u32, u32>) {
    let mut fold = fold(cases);
    let mut ends = BTreeMap::new();
    let mut report = |_: Timestamp, event: &ReportEvent<'_>| {
        if let ReportEvent::CaseEnded { case, .. } = event {
            *ends.entry(case.0).or_insert(0) += 1;
        }
    };
    for (number, event) in events {
        fold.apply(
            v1::RunEvent {
                number,
                at_micros: 1,
                event: Some(event),
            },
            &mut report,
        )
        .unwrap();
    }
    (fold.summary().expect("the run has ended").clone(), ends)
}

fn play(cases: usize, events: Vec<Event>) -> RunSummary {
    let (summary, ends) = play_numbered(cases, (1..).zip(events).collect());
    assert!(
        (0..cases as u32).all(|case| ends.get(&case) == Some(&1)),
        "{ends:?}"
    );
    summary
}

fn statuses(summary: &RunSummary) -> Vec<CaseStatus> {
    summary.cases.iter().map(|record| record.status.clone()).collect()
}

#[test]
fn every_case_gets_its_status() {
    let leaked = Outcome::Leaked { passes: true };
    let summary = play(
        5,
        vec![
            Event::Reused(v1::CaseReused { cases: vec![4] }),
            attempt(0, 1, &Outcome::Passed, true),
            attempt(1, 1, &failed(), false),
            attempt(1, 2, &Outcome::Passed, true),
            attempt(2, 1, &Outcome::Lost, false),
            attempt(2, 2, &Outcome::Passed, true),
            attempt(3, 1, &leaked, true),
            ended(StopReason::Complete),
        ],
    );
    assert_eq!(
        statuses(&summary),
        [
            CaseStatus::Passed,
            CaseStatus::Flaky { passes: true },
            CaseStatus::Passed,
            CaseStatus::Ended(leaked),
            CaseStatus::Reused
        ]
    );
    assert_eq!((summary.verdict, summary.exit_code()), (Verdict::Flaky, 0));
    // Six attempts of 2 s, one of them lost, on 2 slots.
    assert_eq!(summary.floor.time, Duration::from_secs(6));
    assert_eq!(summary.cases[1].attempts.len(), 2);
}

#[test]
fn a_missing_word_is_incomplete_even_if_the_end_says_complete() {
    let summary = play(
        2,
        vec![attempt(0, 1, &Outcome::Passed, true), ended(StopReason::Complete)],
    );
    assert_eq!((summary.verdict, summary.exit_code()), (Verdict::Incomplete, 106));
    assert_eq!(summary.tally.not_run, 1);
}

#[test]
fn a_case_between_two_attempts_was_not_run_to_its_end() {
    let summary = play(
        1,
        vec![attempt(0, 1, &failed(), false), ended(StopReason::Cancelled)],
    );
    assert_eq!(statuses(&summary), [CaseStatus::NotRun]);
    assert_eq!(summary.cases[0].attempts.len(), 1);
}

#[test]
fn events_that_were_seen_count_once() {
    let pass = |case| attempt(case, 1, &Outcome::Passed, true);
    let events = vec![
        (1, pass(0)),
        (1, pass(0)),
        (2, pass(1)),
        (1, pass(0)),
        (3, ended(StopReason::Complete)),
        (4, pass(0)),
    ];
    let (summary, ends) = play_numbered(2, events);
    assert_eq!(summary.verdict, Verdict::Pass);
    assert_eq!(ends.into_values().collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn contradictions_are_never_green() {
    let pass = |case| attempt(case, 1, &Outcome::Passed, true);
    let complete = || ended(StopReason::Complete);
    for events in [
        vec![(1, pass(0)), (2, attempt(0, 1, &failed(), true)), (3, complete())],
        vec![(1, pass(0)), (2, pass(7)), (3, complete())],
        vec![(1, pass(0)), (3, complete())],
        vec![
            (1, pass(0)),
            (2, Event::Reused(v1::CaseReused { cases: vec![0] })),
            (3, complete()),
        ],
    ] {
        let (summary, ends) = play_numbered(1, events);
        assert_eq!(summary.verdict, Verdict::Incomplete);
        assert!(summary.message.contains("contradict"), "{}", summary.message);
        assert_eq!(ends.into_values().collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn failures_and_setup_scripts_have_their_exit_codes() {
    let summary = play(
        1,
        vec![attempt(0, 1, &failed(), true), ended(StopReason::MaxFail)],
    );
    assert_eq!(summary.exit_code(), 100);
    let summary = play(1, vec![ended(StopReason::SetupScriptFailed)]);
    assert_eq!(summary.exit_code(), 105);
    let summary = play(
        1,
        vec![
            attempt(0, 1, &Outcome::Cancelled, true),
            ended(StopReason::Cancelled),
        ],
    );
    assert_eq!((summary.exit_code(), summary.tally.not_run), (106, 1));
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let mut fold = fold(1);
    let event = v1::RunEvent {
        number: 1,
        event: Some(Event::Attempt(v1::AttemptEnded::default())),
        ..v1::RunEvent::default()
    };
    assert!(fold.apply(event, &mut |_, _| {}).is_err());
}

#[test]
fn an_abandoned_run_still_has_a_word_on_every_case() {
    let mut fold = fold(2);
    let mut ends = 0;
    fold.abandon(
        Timestamp::default(),
        StopReason::Cancelled,
        "why".into(),
        &mut |_, event| {
            ends += u32::from(matches!(event, ReportEvent::CaseEnded { .. }));
        },
    );
    assert_eq!(ends, 2);
    assert_eq!(
        fold.summary().map(|summary| summary.verdict),
        Some(Verdict::Incomplete)
    );
}

#[test]
fn what_a_worker_does_not_isolate_is_told_once() {
    let mut fold = fold(1);
    let mut told = Vec::new();
    let reduced = |worker: &str| {
        Event::IsolationReduced(v1::IsolationReduced {
            worker: worker.into(),
            shortfalls: vec!["one".into(), "other".into()],
        })
    };
    for (number, event) in (1..).zip([reduced("a"), reduced("b"), reduced("a")]) {
        let event = v1::RunEvent {
            number,
            at_micros: 1,
            event: Some(event),
        };
        let mut report = |_: Timestamp, event: &ReportEvent<'_>| {
            if let ReportEvent::IsolationReduced { worker, message } = event {
                told.push(format!("{worker}: {message}"));
            }
        };
        fold.apply(event, &mut report).unwrap();
    }
    assert_eq!(told, ["a: one", "a: other", "b: one", "b: other"]);
}

#[test]
fn a_worker_at_other_paths_is_told_once_and_kept_for_the_summary() {
    let mut fold = fold(1);
    let mut told = Vec::new();
    let remapped = |worker: &str, cause: &str| {
        Event::InputsRemapped(v1::InputsRemapped {
            worker: worker.into(),
            cause: cause.into(),
        })
    };
    let events = [
        remapped("a", "not permitted"),
        remapped("b", "none left"),
        remapped("a", "not permitted"),
        attempt(0, 1, &failed(), true),
        ended(StopReason::Complete),
    ];
    for (number, event) in (1..).zip(events) {
        let event = v1::RunEvent {
            number,
            at_micros: 1,
            event: Some(event),
        };
        let mut report = |_: Timestamp, event: &ReportEvent<'_>| {
            if let ReportEvent::InputsRemapped(worker) = event {
                told.push((*worker).clone());
            }
        };
        fold.apply(event, &mut report).unwrap();
    }
    let expected = [("a", "not permitted"), ("b", "none left")].map(|(worker, cause)| RemappedWorker {
        worker: worker.into(),
        cause: cause.into(),
    });
    assert_eq!(told, expected);
    let summary = fold.summary().unwrap();
    assert_eq!(
        (summary.verdict, &summary.remapped[..]),
        (Verdict::Fail, &expected[..])
    );
}

#[test]
fn what_audits_find_follows_the_word_on_the_case() {
    let past = RunId::from_u128(7);
    let audited = |case: u32| audited_to_wire(CaseIndex(case), Some(past));
    let events = [
        Event::Planned(v1::Planned {
            quarantined: vec![1],
            audited: [0, 1, 2, 3].map(audited).into(),
            ..v1::Planned::default()
        }),
        attempt(0, 1, &Outcome::Passed, true),
        attempt(1, 1, &failed(), true),
        attempt(2, 1, &failed(), false),
        attempt(2, 2, &Outcome::Passed, true),
        attempt(4, 1, &failed(), true),
        ended(StopReason::Cancelled),
    ];
    let mut fold = fold(5);
    let mut told = Vec::new();
    for (number, event) in (1..).zip(events) {
        let event = v1::RunEvent {
            number,
            at_micros: 1,
            event: Some(event),
        };
        fold.apply(event, &mut |_, event| match event {
            ReportEvent::Planned(plan) => assert_eq!(plan.audited, 4),
            ReportEvent::CaseAudited {
                case,
                finding,
                past_run,
            } => told.push((case.0, finding.word(), *past_run)),
            _ => {}
        })
        .unwrap();
    }
    let expected = [(0, "agreed"), (1, "disagreed"), (2, "flaky")];
    assert_eq!(told, expected.map(|(case, word)| (case, word, Some(past))));
    assert_eq!(fold.disagreed(), [(CaseIndex(1), Some(past))]);
}

/// Events behind one another, as their lengths tell.
fn read_events(mut bytes: &[u8]) -> Vec<v1::RunEvent> {
    std::iter::from_fn(|| v1::RunEvent::decode_length_delimited(&mut bytes).ok()).collect()
}

#[test]
fn whatever_a_coordinator_tells_each_case_ends_once() {
    let planned = v1::Planned {
        cases: 3,
        reused: 1,
        quarantined: vec![1],
        audited: vec![audited_to_wire(CaseIndex(0), Some(RunId::from_u128(9)))],
        ..v1::Planned::default()
    };
    let events = [
        Event::Planned(planned),
        Event::Reused(v1::CaseReused { cases: vec![2] }),
        attempt(0, 1, &failed(), false),
        attempt(0, 2, &Outcome::Passed, true),
        attempt(1, 1, &failed(), true),
        ended(StopReason::Complete),
    ];
    let valid: Vec<u8> = (1..)
        .zip(events)
        .flat_map(|(number, event)| {
            let event = v1::RunEvent {
                number,
                at_micros: 1,
                event: Some(event),
            };
            event.encode_length_delimited_to_vec()
        })
        .collect();
    let told = |bytes: &[u8]| {
        let (mut fold, mut ends) = (fold(3), BTreeMap::new());
        let mut report = |_: Timestamp, event: &ReportEvent<'_>| {
            if let ReportEvent::CaseEnded { case, .. } = event {
                *ends.entry(case.0).or_insert(0) += 1;
            }
        };
        for event in read_events(bytes) {
            // Who follows a run leaves it then.
            if fold.apply(event, &mut report).is_err() {
                break;
            }
        }
        fold.abandon(
            Timestamp::default(),
            StopReason::Stranded,
            String::new(),
            &mut report,
        );
        let summary = fold.summary().expect("it has ended").clone();
        assert_eq!(ends, [(0, 1), (1, 1), (2, 1)].into());
        assert_eq!(summary.cases.len(), 3);
        assert_eq!(summary.tally.planned, 3);
        summary
    };
    let summary = told(&valid);
    assert_eq!(summary.reason, StopReason::Complete);
    assert_eq!((summary.tally.flaky, summary.tally.quarantined), (1, 1));
    fuzz(2_000, &valid, |bytes| drop(told(bytes)));
}
