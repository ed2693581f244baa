//! The decision over all outcomes of a run.

use std::fmt;

use crate::outcome::Outcome;

/// The final word on one planned test case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseStatus {
    /// Its first attempt passed.
    Passed,
    /// A clean pass of equal content was found; nothing was executed.
    Reused,
    /// It failed, then passed.
    Flaky {
        /// Whether the settings let it pass all the same.
        passes: bool,
    },
    /// Its last attempt ended so, which is not [`Outcome::Passed`].
    Ended(Outcome),
    /// Its last attempt failed so, but it is quarantined: shown, and no failure of the run.
    Quarantined(Outcome),
    /// It was never tried to its end: the run stopped before.
    NotRun,
}

impl CaseStatus {
    /// Whether the case counts as a success.
    pub fn passes(&self) -> bool {
        match self {
            Self::Passed | Self::Reused => true,
            Self::Flaky { passes } => *passes,
            Self::Ended(outcome) => outcome.passes(),
            Self::Quarantined(_) | Self::NotRun => false,
        }
    }

    /// Whether the case counts as a failure of the suite. A case that was lost or not run is neither a
    /// success nor a failure: it makes the verdict incomplete.
    pub fn fails(&self) -> bool {
        match self {
            Self::Ended(outcome) => outcome.is_about_the_case() && !outcome.passes(),
            Self::Flaky { passes } => !passes,
            Self::Passed | Self::Reused | Self::Quarantined(_) | Self::NotRun => false,
        }
    }

    /// Whether a pass with this status may be reused later: only a clean one.
    pub fn is_clean_pass(&self) -> bool {
        matches!(self, Self::Passed)
    }

    /// The one word (or two) for this status, the same in every report.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Reused => "reused",
            Self::Flaky { .. } => "flaky",
            Self::Ended(outcome) => outcome.word(),
            Self::Quarantined(_) => "quarantined",
            Self::NotRun => "not run",
        }
    }
}

/// The decision over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Every planned case passed.
    Pass,
    /// Every planned case passes, some only on a later attempt.
    Flaky,
    /// At least one case failed.
    Fail,
    /// No case failed, but not every planned case was reported: never green.
    Incomplete,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Flaky => "flaky",
            Self::Fail => "fail",
            Self::Incomplete => "incomplete",
        })
    }
}

/// Counts of the planned cases of a run by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cases that the run was to decide.
    pub planned: u32,
    /// Cases with [`CaseStatus::Passed`], or that pass with a leak or a timeout.
    pub passed: u32,
    /// Cases with [`CaseStatus::Reused`].
    pub reused: u32,
    /// Flaky cases that pass.
    pub flaky: u32,
    /// Cases that fail; flaky ones that the settings let fail are here.
    pub failed: u32,
    /// Quarantined cases that failed.
    pub quarantined: u32,
    /// Cases without a word on them: not run, or lost.
    pub not_run: u32,
}

impl Tally {
    /// Starts a tally for so many cases.
    pub fn new(planned: u32) -> Self {
        Self {
            planned,
            ..Self::default()
        }
    }

    /// Counts one case. Each planned case is counted at most once; the caller sees to it.
    pub fn count(&mut self, status: &CaseStatus) {
        let counter = match status {
            CaseStatus::Reused => &mut self.reused,
            CaseStatus::Quarantined(_) => &mut self.quarantined,
            status if status.fails() => &mut self.failed,
            CaseStatus::Flaky { .. } => &mut self.flaky,
            status if status.passes() => &mut self.passed,
            _ => &mut self.not_run,
        };
        *counter += 1;
    }

    /// Cases that were tried to their end, or reused.
    pub fn reported(&self) -> u32 {
        self.passed + self.reused + self.flaky + self.failed + self.quarantined
    }

    /// The decision.
    pub fn verdict(&self) -> Verdict {
        if self.failed > 0 {
            Verdict::Fail
        } else if self.reported() != self.planned {
            Verdict::Incomplete
        } else if self.flaky > 0 {
            Verdict::Flaky
        } else {
            Verdict::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::FailureCause;

    fn verdict(planned: u32, statuses: &[CaseStatus]) -> Verdict {
        let mut tally = Tally::new(planned);
        statuses.iter().for_each(|status| tally.count(status));
        tally.verdict()
    }

    #[test]
    fn green_needs_a_word_on_every_planned_case() {
        let failed = CaseStatus::Ended(Outcome::Failed {
            cause: FailureCause::ExitCode(101),
            leaked: false,
        });
        let lost = CaseStatus::Ended(Outcome::Lost);
        let leaky = CaseStatus::Ended(Outcome::Leaked { passes: true });
        assert_eq!(
            verdict(2, &[CaseStatus::Passed, CaseStatus::Reused]),
            Verdict::Pass
        );
        assert_eq!(verdict(1, &[leaky]), Verdict::Pass);
        assert_eq!(verdict(2, &[CaseStatus::Passed]), Verdict::Incomplete);
        assert_eq!(
            verdict(2, &[CaseStatus::Passed, CaseStatus::NotRun]),
            Verdict::Incomplete
        );
        assert_eq!(
            verdict(2, &[CaseStatus::Passed, lost.clone()]),
            Verdict::Incomplete
        );
        assert_eq!(verdict(3, &[failed, lost]), Verdict::Fail);
        assert_eq!(verdict(1, &[CaseStatus::Flaky { passes: true }]), Verdict::Flaky);
        assert_eq!(verdict(1, &[CaseStatus::Flaky { passes: false }]), Verdict::Fail);
        let excused = CaseStatus::Quarantined(Outcome::TookWorker);
        assert_eq!(verdict(2, &[CaseStatus::Passed, excused.clone()]), Verdict::Pass);
        assert_eq!(verdict(2, &[excused]), Verdict::Incomplete);
        assert_eq!(verdict(0, &[]), Verdict::Pass);
    }

    #[test]
    fn every_status_is_counted_once() {
        let statuses = [
            CaseStatus::Passed,
            CaseStatus::Reused,
            CaseStatus::Flaky { passes: true },
            CaseStatus::Flaky { passes: false },
            CaseStatus::Ended(Outcome::TimedOut { passes: false }),
            CaseStatus::Ended(Outcome::Cancelled),
            CaseStatus::Quarantined(Outcome::TookWorker),
            CaseStatus::NotRun,
        ];
        let mut tally = Tally::new(8);
        statuses.iter().for_each(|status| tally.count(status));
        assert_eq!(tally.reported() + tally.not_run, 8);
        assert_eq!(
            (tally.failed, tally.flaky, tally.quarantined, tally.not_run),
            (2, 1, 1, 2)
        );
    }
}
