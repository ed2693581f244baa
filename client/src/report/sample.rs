//! A small run, told to the reporters under test.

use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::{CaseIndex, RunId};
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::reuse::AuditFinding;
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;
use thresh_core::verdict::{CaseStatus, Tally};

use super::*;
use crate::nextest::{FlakyFailStatus, OutputDisplay, ReportSettings, ReportSkipped};

/// nextest's defaults.
pub(super) const SETTINGS: ReportSettings = ReportSettings {
    success_output: OutputDisplay::Never,
    failure_output: OutputDisplay::Immediate,
    junit_store_success_output: false,
    junit_store_failure_output: true,
    junit_report_skipped: ReportSkipped::None,
    junit_flaky_fail_status: FlakyFailStatus::Failure,
};

const START_MICROS: u64 = 1_700_000_000_000_000;

pub(super) fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_micros(START_MICROS + milliseconds * 1000)
}

fn label(binary_id: &str, name: &str) -> CaseLabel {
    CaseLabel {
        binary_id: binary_id.into(),
        package: "alpha".into(),
        name: name.into(),
        report: SETTINGS,
    }
}

fn attempt(number: u32, outcome: Outcome, milliseconds: u64, last: bool) -> AttemptRecord {
    AttemptRecord {
        number,
        number_max: 2,
        worker: "w1".into(),
        outcome,
        started: at(10),
        took: Duration::from_millis(milliseconds),
        stdout: Captured::default(),
        stderr: Captured::default(),
        last,
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        cause: FailureCause::ExitCode(101),
        leaked: false,
    }
}

pub(super) fn roster() -> Arc<Roster> {
    roster_with(SETTINGS)
}

fn roster_with(report: ReportSettings) -> Arc<Roster> {
    let label = |binary_id: &str, name: &str| CaseLabel {
        report,
        ..label(binary_id, name)
    };
    let script = ScriptLabel {
        id: "db".into(),
        argv: vec!["start-db".into(), "--port 1".into()],
        store_success_output: true,
        store_failure_output: true,
    };
    Arc::new(Roster {
        skipped: vec![(
            label("alpha::it", "ignored"),
            "does not match the run-ignored option".into(),
        )],
        scripts: vec![script],
        cases: vec![
            label("alpha", "tests::passes"),
            label("alpha", "tests::flaky"),
            label("alpha", "tests::it's (odd)"),
            label("alpha::it", "known"),
            label("alpha::it", "left"),
        ],
    })
}

pub(super) fn records() -> Vec<CaseRecord> {
    let mut first = attempt(1, failed(), 30, false);
    first.stderr.head = b"first try \xff\x1b[31m]]>\x00 went wrong\n".to_vec();
    let mut lost = attempt(1, failed(), 120, true);
    lost.number_max = 1;
    lost.stdout.head = b"before".to_vec();
    lost.stdout.tail = b"after\n".to_vec();
    lost.stdout.omitted_bytes = 1000;
    lost.stderr.head =
        b"\x1b[1mthread 'tests::odd' panicked at src/lib.rs:7:9:\x1b[0m\n100% wrong,\nreally\n\
          note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n"
            .to_vec();
    vec![
        CaseRecord {
            status: CaseStatus::Passed,
            attempts: vec![attempt(1, Outcome::Passed, 12, true)],
        },
        CaseRecord {
            status: CaseStatus::Flaky { passes: true },
            attempts: vec![first, attempt(2, Outcome::Passed, 20, true)],
        },
        CaseRecord {
            status: CaseStatus::Ended(failed()),
            attempts: vec![lost],
        },
        CaseRecord {
            status: CaseStatus::Reused,
            attempts: Vec::new(),
        },
        CaseRecord::NOT_RUN,
    ]
}

pub(super) fn summary() -> RunSummary {
    let cases = records();
    let mut tally = Tally::new(5);
    cases.iter().for_each(|record| tally.count(&record.status));
    RunSummary {
        run_id: RunId::from_u128(0x0192_3456_789a_7bcd_8eef_0123_4567_89ab),
        roster: roster(),
        scripts: vec![script()],
        remapped: vec![RemappedWorker {
            worker: "w1".into(),
            cause: "not permitted".into(),
        }],
        verdict: tally.verdict(),
        tally,
        reason: StopReason::MaxFail,
        message: String::new(),
        skipped: 4,
        took: Duration::from_millis(200),
        floor: Floor::of(
            cases.iter().map(|case| (case.took(), 1)),
            2,
            Duration::from_millis(200),
        ),
        cases,
    }
}

fn script() -> ScriptRecord {
    ScriptRecord {
        id: "db".into(),
        worker: "w1".into(),
        outcome: Outcome::Passed,
        took: Duration::from_millis(5),
        stdout: Captured::default(),
        stderr: Captured {
            head: b"ready\n".to_vec(),
            ..Captured::default()
        },
    }
}

/// Tells the whole run to `reporter`.
pub(super) fn play(reporter: &mut dyn Reporter) {
    play_with(SETTINGS, reporter);
}

/// Tells it with these settings for every case.
pub(super) fn play_with(report: ReportSettings, reporter: &mut dyn Reporter) {
    let mut summary = summary();
    summary.roster = roster_with(report);
    let start = RunStart {
        run_id: summary.run_id,
        project: "github.com/owner/alpha".into(),
        profile: "default".into(),
        roster: Arc::clone(&summary.roster),
        skipped: 4,
    };
    let mut tell = |milliseconds, event: ReportEvent<'_>| reporter.event(at(milliseconds), &event).unwrap();
    tell(0, ReportEvent::RunStarted(&start));
    let plan = PlanNews {
        cases: 5,
        reused: 1,
        audited: 1,
        slots: 2,
        workers: Some(1),
        total: Duration::from_millis(300),
        longest: Duration::from_millis(100),
        known: 3,
    };
    tell(1, ReportEvent::Planned(&plan));
    tell(
        1,
        ReportEvent::CaseEnded {
            case: CaseIndex(3),
            record: &summary.cases[3],
        },
    );
    tell(2, ReportEvent::InputsRemapped(&summary.remapped[0]));
    tell(6, ReportEvent::SetupScriptEnded(&summary.scripts[0]));
    for index in [0, 1, 2] {
        let record = &summary.cases[index as usize];
        let case = CaseIndex(index);
        for attempt in &record.attempts {
            tell(
                10,
                ReportEvent::CaseStarted {
                    case,
                    attempt: attempt.number,
                    worker: &attempt.worker,
                },
            );
            if index == 2 {
                let elapsed = Duration::from_millis(100);
                tell(
                    110,
                    ReportEvent::CaseSlow {
                        case,
                        attempt: 1,
                        elapsed,
                        will_terminate: false,
                    },
                );
            }
            tell(150, ReportEvent::AttemptEnded { case, attempt });
        }
        tell(150, ReportEvent::CaseEnded { case, record });
        if index == 0 {
            let (finding, past_run) = (&AuditFinding::Agreed, Some(RunId::from_u128(7)));
            tell(
                150,
                ReportEvent::CaseAudited {
                    case,
                    finding,
                    past_run,
                },
            );
        }
    }
    let change = WorkerChange {
        worker: "w1".into(),
        kind: WorkerChangeKind::Cordoned,
        message: "no space left on device".into(),
        requeued: 1,
        slots: 2,
    };
    tell(160, ReportEvent::Worker(&change));
    tell(
        170,
        ReportEvent::Note("1 file changed during the run, passes not stored: src/lib.rs"),
    );
    tell(
        200,
        ReportEvent::CaseEnded {
            case: CaseIndex(4),
            record: &summary.cases[4],
        },
    );
    tell(200, ReportEvent::RunEnded(&summary));
}
