//! The end of a run: what became of every case, and how well the time was used.

use std::sync::Arc;
use std::time::Duration;

use nextest_metadata::NextestExitCode;
use thresh_core::id::{CaseIndex, RunId};
use thresh_core::schedule::StopReason;
use thresh_core::verdict::{Tally, Verdict};

use super::event::{CaseRecord, Roster, ScriptRecord};
use super::remapped::RemappedWorker;
use super::text::counted;

/// The word for the end of a run in machine formats.
pub(crate) fn reason_word(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Complete => "complete",
        StopReason::MaxFail => "max-fail",
        StopReason::Cancelled => "cancelled",
        StopReason::GlobalTimeout => "global-timeout",
        StopReason::SetupScriptFailed => "setup-script-failed",
        StopReason::Stranded => "stranded",
    }
}

/// A clause on the end of a run for people.
pub(crate) fn reason_clause(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Complete => "every case was run",
        StopReason::MaxFail => "enough cases failed",
        StopReason::Cancelled => "the run was cancelled",
        StopReason::GlobalTimeout => "the global timeout was reached",
        StopReason::SetupScriptFailed => "a setup script failed",
        StopReason::Stranded => "no worker could run what was left",
    }
}

/// The cases of a run by status, for people.
pub(crate) fn counts(tally: &Tally) -> String {
    let mut counts = vec![format!("{} passed", tally.passed)];
    for (count, word) in [
        (tally.reused, "reused"),
        (tally.flaky, "flaky"),
        (tally.failed, "failed"),
        (tally.quarantined, "quarantined"),
        (tally.planned.saturating_sub(tally.reported()), "not run"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {word}"));
        }
    }
    let cases = counted(tally.planned as usize, "case");
    format!("{cases}: {}", counts.join(", "))
}

/// A finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run.
    pub run_id: RunId,
    /// Its cases' labels.
    pub roster: Arc<Roster>,
    /// One for every case of the roster.
    pub cases: Vec<CaseRecord>,
    /// Setup scripts in the order in which they ended.
    pub scripts: Vec<ScriptRecord>,
    /// Workers that showed cases the client's files at other paths, in the order in which they got cases.
    pub remapped: Vec<RemappedWorker>,
    /// Counts of `cases`.
    pub tally: Tally,
    /// The decision.
    pub verdict: Verdict,
    /// Why it ended.
    pub reason: StopReason,
    /// More about the reason, or nothing.
    pub message: String,
    /// Cases that the selection left out.
    pub skipped: usize,
    /// Wall time from the first grant to the last outcome.
    pub took: Duration,
    /// How well the time was used.
    pub floor: Floor,
}

impl RunSummary {
    /// The exit code that tells the verdict to a caller.
    pub fn exit_code(&self) -> i32 {
        match (self.verdict, self.reason) {
            (Verdict::Pass | Verdict::Flaky, _) => NextestExitCode::OK,
            (Verdict::Fail, _) => NextestExitCode::TEST_RUN_FAILED,
            (Verdict::Incomplete, StopReason::SetupScriptFailed) => NextestExitCode::SETUP_SCRIPT_FAILED,
            (Verdict::Incomplete, _) => NextestExitCode::INCOMPLETE_RUN,
        }
    }

    /// The cases whose record is of interest, with their indices.
    pub fn indexed(&self) -> impl Iterator<Item = (CaseIndex, &CaseRecord)> {
        // A run has fewer than 2^32 cases: their indices are u32 on the wire.
        self.cases
            .iter()
            .enumerate()
            .map(|(at, record)| (CaseIndex(at as u32), record))
    }
}

/// The floor under the time of a run, and how near it came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Floor {
    /// The slots that it reckons with.
    pub slots: u32,
    /// Σ case time ÷ slots, or the longest case if that is more.
    pub time: Duration,
    /// `time` ÷ achieved time, from 0 to 1; 1 when nothing ran.
    pub packing: f64,
}

impl Floor {
    /// Reckons the floor of a run that took `achieved`. Each item is the time of one case (all its attempts)
    /// and how many slots it takes.
    pub fn of(cases: impl IntoIterator<Item = (Duration, u32)>, slots: u32, achieved: Duration) -> Self {
        let (mut total, mut longest) = (Duration::ZERO, Duration::ZERO);
        for (took, weight) in cases {
            total = total.saturating_add(took.saturating_mul(weight.clamp(1, slots.max(1))));
            longest = longest.max(took);
        }
        let time = (total / slots.max(1)).max(longest);
        let packing = if time.is_zero() || achieved.is_zero() {
            1.0
        } else {
            (time.as_secs_f64() / achieved.as_secs_f64()).min(1.0)
        };
        Self { slots, time, packing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_floor_is_the_larger_of_the_mean_load_and_the_longest_case() {
        let floor = Floor::of([(seconds(4), 1), (seconds(4), 1), (seconds(4), 1)], 2, seconds(8));
        assert_eq!((floor.time, floor.packing), (seconds(6), 0.75));
        let floor = Floor::of([(seconds(9), 1), (seconds(1), 1)], 4, seconds(9));
        assert_eq!((floor.time, floor.packing), (seconds(9), 1.0));
    }

    #[test]
    fn a_heavy_case_counts_for_its_slots_but_not_for_more_than_there_are() {
        assert_eq!(
            Floor::of([(seconds(2), 2), (seconds(2), 1)], 2, seconds(4)).time,
            seconds(3)
        );
        assert_eq!(Floor::of([(seconds(2), 100)], 2, seconds(2)).time, seconds(2));
    }

    #[test]
    fn nothing_to_run_is_packed_perfectly() {
        assert_eq!(
            Floor::of([], 0, Duration::ZERO),
            Floor {
                slots: 0,
                time: Duration::ZERO,
                packing: 1.0
            }
        );
        assert_eq!(Floor::of([(seconds(1), 0)], 0, seconds(1)).time, seconds(1));
    }
}
