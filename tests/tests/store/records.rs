//! Things to record.

use std::time::Duration;
use thresh_coordinator::store::{AttemptRecord, AuditRecord, Batch, CaseId, PassRecord, RunRecord};
use thresh_core::digest::Digest;
use thresh_core::id::{LeaseId, RunId};
use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::reuse::{AuditFinding, KeyParts};
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;

pub(crate) const DAY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;
pub(crate) const NOW: Timestamp = Timestamp::from_micros(20_000 * DAY_MICROS);

pub(crate) const FAILED: Outcome = Outcome::Failed {
    cause: FailureCause::ExitCode(101),
    leaked: false,
};

pub(crate) fn days_ago(days: u64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() - days * DAY_MICROS)
}

pub(crate) fn case(name: &str) -> CaseId {
    CaseId {
        binary_id: "pkg::tests".into(),
        name: name.into(),
    }
}

pub(crate) fn attempt(name: &str, outcome: Outcome, took_ms: u64, started: Timestamp) -> AttemptRecord {
    AttemptRecord {
        project: "p".into(),
        case: case(name),
        run: RunId::from_u128(7),
        attempt: 1,
        worker: "here".into(),
        outcome,
        started,
        took: Duration::from_millis(took_ms),
        granted: None,
        why: "",
        lease: None,
    }
}

/// The `number`th attempt of a run, under a lease of that number.
pub(crate) fn attempt_of(run: u128, name: &str, number: u32, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        run: RunId::from_u128(run),
        attempt: number,
        granted: Some(NOW),
        why: "first",
        lease: Some(LeaseId(number.into())),
        ..attempt(name, outcome, 5, NOW.after(Duration::from_secs(number.into())))
    }
}

pub(crate) fn parts(files: &str) -> KeyParts {
    let digest = Digest::of(b"same");
    KeyParts {
        code: digest,
        arguments: digest,
        environment: digest,
        platform: digest,
        files: Digest::of(files.as_bytes()),
        programs: digest,
    }
}

pub(crate) fn pass(name: &str, files: &str, at: Timestamp) -> PassRecord {
    PassRecord {
        project: "p".into(),
        case: case(name),
        run: RunId::from_u128(9),
        at,
        parts: parts(files),
    }
}

/// What the audit of a case in a run found; the pass was of run 9.
pub(crate) fn audit(run: u128, name: &str, finding: AuditFinding, at: Timestamp) -> AuditRecord {
    AuditRecord {
        project: "p".into(),
        case: case(name),
        run: RunId::from_u128(run),
        at,
        past_run: Some(RunId::from_u128(9)),
        finding,
        output: Vec::new(),
    }
}

pub(crate) fn ended(run: u128, project: &str, started: Timestamp) -> RunRecord {
    RunRecord {
        run: RunId::from_u128(run),
        project: project.into(),
        title: "all".into(),
        started,
        took: Duration::from_millis(1_234),
        reason: StopReason::MaxFail,
        tally: Tally {
            planned: 7,
            passed: 1,
            reused: 1,
            flaky: 1,
            failed: 1,
            quarantined: 1,
            not_run: 2,
        },
    }
}

pub(crate) fn attempts(attempts: Vec<AttemptRecord>) -> Batch {
    Batch {
        attempts,
        ..Batch::default()
    }
}

pub(crate) fn passes(passes: Vec<PassRecord>) -> Batch {
    Batch {
        passes,
        ..Batch::default()
    }
}

pub(crate) fn audits(audits: Vec<AuditRecord>) -> Batch {
    Batch {
        audits,
        ..Batch::default()
    }
}

pub(crate) fn runs(runs: Vec<RunRecord>) -> Batch {
    Batch {
        runs,
        ..Batch::default()
    }
}
