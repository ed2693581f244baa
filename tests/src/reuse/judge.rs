//! What a run with reuse and real runs of the same build say together.

use crate::status::{Case, Status, Statuses, Word};

/// What became of the cases that were reused and did not pass at once for real.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// They never passed for real: they should have run.
    pub wrong: Vec<Case>,
    /// They passed at least once when repeated.
    pub flaky: Vec<Case>,
}

/// Whether a case that came to this in a real run passes. A stored pass stands for nothing less: what the settings let
/// pass though it timed out or is quarantined does not count.
pub fn passes_for_real(status: Status) -> bool {
    status.passes && matches!(status.word, Word::Passed | Word::Flaky | Word::Leaked)
}

/// Returns the cases that were reused in `first` and do not pass in `real`, the same build without reuse; those that
/// are missing there, too.
pub fn suspects(first: &Statuses, real: &Statuses) -> Vec<Case> {
    let reused = first.iter().filter(|(_, status)| status.word == Word::Reused);
    let failing = reused.filter(|(case, _)| !passes(real, case));
    failing.map(|(case, _)| case.clone()).collect()
}

/// Tells flaky cases from those that are wrongly reused, by more real runs of the same build.
pub fn settle(suspects: Vec<Case>, repeats: &[Statuses]) -> Settled {
    let (flaky, wrong) = suspects
        .into_iter()
        .partition(|case| repeats.iter().any(|real| passes(real, case)));
    Settled { wrong, flaky }
}

fn passes(real: &Statuses, case: &Case) -> bool {
    real.get(case).is_some_and(|status| passes_for_real(*status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(all: &[(&str, Word, bool)]) -> Statuses {
        let one = |(name, word, passes): &(&str, Word, bool)| (case(name), Status::new(*word, *passes));
        all.iter().map(one).collect()
    }

    fn case(name: &str) -> Case {
        ("suite".to_owned(), name.to_owned())
    }

    #[test]
    fn only_what_was_reused_and_does_not_pass_is_suspect() {
        let first = statuses(&[
            ("reused, passes", Word::Reused, true),
            ("reused, fails", Word::Reused, true),
            ("reused, crashes", Word::Reused, true),
            ("reused, timed out but let pass", Word::Reused, true),
            ("reused, quarantined", Word::Reused, true),
            ("reused, missing", Word::Reused, true),
            ("reused, not run", Word::Reused, true),
            ("ran, fails", Word::Failed, false),
            ("ran, passed before it failed", Word::Passed, true),
        ]);
        let real = statuses(&[
            ("reused, passes", Word::Passed, true),
            ("reused, fails", Word::Failed, false),
            ("reused, crashes", Word::Crashed, false),
            ("reused, timed out but let pass", Word::TimedOut, true),
            ("reused, quarantined", Word::Quarantined, true),
            ("reused, not run", Word::NotRun, false),
            ("ran, fails", Word::Failed, false),
            ("ran, passed before it failed", Word::Failed, false),
        ]);
        let expected = [
            "reused, crashes",
            "reused, fails",
            "reused, missing",
            "reused, not run",
            "reused, quarantined",
            "reused, timed out but let pass",
        ];
        assert_eq!(suspects(&first, &real), expected.map(case));
    }

    #[test]
    fn a_suspect_that_passes_once_is_flaky_and_any_other_is_wrong() {
        let fails = statuses(&[
            ("always", Word::Failed, false),
            ("sometimes", Word::Failed, false),
        ]);
        let passes = statuses(&[("always", Word::Failed, false), ("sometimes", Word::Passed, true)]);
        let all = ["always", "missing", "sometimes"].map(case).to_vec();
        let settled = settle(all.clone(), &[fails.clone(), passes, fails.clone()]);
        assert_eq!(settled.wrong, ["always", "missing"].map(case));
        assert_eq!(settled.flaky, ["sometimes"].map(case));
        assert_eq!(settle(all.clone(), &[fails]).wrong, all);
        assert_eq!(settle(all.clone(), &[]).wrong, all);
    }
}
