//! Status lines.

use std::time::Duration;

use thresh_core::outcome::{FailureCause, Outcome};
use thresh_core::verdict::CaseStatus;

use super::super::event::{AttemptRecord, CaseLabel, CaseRecord};
use super::super::failure::signal_name;
use super::super::text::one_line;
use super::paint::{Paint, Tone};

/// Between the parts of a report.
pub(super) const RULE: &str = "────────────";

pub(super) fn status_line(paint: &Paint, word: &str, tone: Tone, took: Duration, what: &str) -> String {
    format!("{} [{:>8.3}s] {what}", paint.head(word, tone), took.as_secs_f64())
}

pub(super) fn case_name(paint: &Paint, label: &CaseLabel) -> String {
    format!(
        "{} {}",
        paint.binary(&one_line(&label.binary_id)),
        paint.name(&one_line(&label.name))
    )
}

/// The word for a case that is decided.
pub(super) fn status_word(record: &CaseRecord) -> (String, Tone) {
    match &record.status {
        CaseStatus::Passed => ("PASS".to_owned(), Tone::Good),
        CaseStatus::Reused => ("REUSED".to_owned(), Tone::Good),
        CaseStatus::NotRun => ("NOT RUN".to_owned(), Tone::Warn),
        CaseStatus::Flaky { passes } => {
            let (number, of) = record
                .attempts
                .last()
                .map_or((0, 0), |last| (last.number, last.number_max));
            if *passes {
                (format!("FLAKY {number}/{of}"), Tone::Warn)
            } else {
                (format!("FLKY-FL {number}/{of}"), Tone::Bad)
            }
        }
        CaseStatus::Ended(outcome) => outcome_word(outcome),
        CaseStatus::Quarantined(outcome) => (format!("QUARANTINED {}", outcome_word(outcome).0), Tone::Warn),
    }
}

/// The word for the last of several attempts.
pub(super) fn attempt_word(attempt: &AttemptRecord) -> (String, Tone) {
    if attempt.outcome.passes() {
        (format!("TRY {} PASS", attempt.number), Tone::Good)
    } else {
        retried_word(attempt)
    }
}

/// The word for an attempt that does not pass.
pub(super) fn retried_word(attempt: &AttemptRecord) -> (String, Tone) {
    let short = match &attempt.outcome {
        Outcome::Failed {
            cause: FailureCause::Exec(_),
            ..
        } => "XFAIL".to_owned(),
        Outcome::Failed { leaked: true, .. } => "FL+LK".to_owned(),
        Outcome::Failed { leaked: false, .. } => "FAIL".to_owned(),
        Outcome::Crashed { signal, .. } => short_signal(*signal),
        Outcome::TookWorker => "WORKER".to_owned(),
        Outcome::Leaked { .. } => "LKFAIL".to_owned(),
        Outcome::TimedOut { .. } => "TMT".to_owned(),
        Outcome::Lost => "LOST".to_owned(),
        Outcome::Cancelled => "CANCEL".to_owned(),
        Outcome::Passed => "PASS".to_owned(),
    };
    // An attempt that the farm lost says nothing about the case.
    let tone = if attempt.outcome.is_about_the_case() {
        Tone::Bad
    } else {
        Tone::Warn
    };
    (format!("TRY {} {short}", attempt.number), tone)
}

fn outcome_word(outcome: &Outcome) -> (String, Tone) {
    let (word, tone) = match outcome {
        Outcome::Passed => ("PASS", Tone::Good),
        Outcome::Leaked { passes: true } => ("LEAK", Tone::Warn),
        Outcome::Leaked { passes: false } => ("LEAK-FAIL", Tone::Bad),
        Outcome::Failed {
            cause: FailureCause::Exec(_),
            ..
        } => ("XFAIL", Tone::Bad),
        Outcome::Failed { leaked: true, .. } => ("FAIL + LEAK", Tone::Bad),
        Outcome::Failed { leaked: false, .. } => ("FAIL", Tone::Bad),
        Outcome::Crashed { signal, .. } => {
            let word =
                signal_name(*signal).map_or_else(|| format!("ABORT {signal}"), |name| format!("SIG{name}"));
            return (word, Tone::Bad);
        }
        Outcome::TookWorker => ("CRASHED WORKER", Tone::Bad),
        Outcome::TimedOut { passes: true } => ("TIMEOUT-PASS", Tone::Warn),
        Outcome::TimedOut { passes: false } => ("TIMEOUT", Tone::Bad),
        Outcome::Lost => ("LOST", Tone::Warn),
        Outcome::Cancelled => ("CANCELLED", Tone::Warn),
    };
    (word.to_owned(), tone)
}

fn short_signal(signal: i32) -> String {
    signal_name(signal).map_or_else(|| format!("SIG {signal}"), str::to_owned)
}
