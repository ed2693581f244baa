//! What the user is told of audits that disagreed.

use thresh_core::id::{CaseIndex, RunId};

use crate::report::{Roster, counted, one_line};

/// Cases that are told one by one.
const TOLD_MAX: usize = 20;

/// Notes on the audited cases that do not pass, and that their coordinator has recorded so.
pub(super) fn notes(roster: &Roster, disagreed: &[(CaseIndex, Option<RunId>)]) -> Vec<String> {
    let note = |(case, past_run): &(CaseIndex, Option<RunId>)| {
        let label = roster.label(*case);
        let (binary, name) = (one_line(&label.binary_id), one_line(&label.name));
        let pass = match past_run {
            Some(run) => format!("its pass of run {run}"),
            None => "a pass of it in the other cache".to_owned(),
        };
        format!(
            "reuse was wrong: {binary} {name} does not pass, though {pass} is stored under the same key; it is not \
             reused any more (thresh audit report)"
        )
    };
    let mut notes: Vec<String> = disagreed.iter().take(TOLD_MAX).map(note).collect();
    let more = disagreed.len().saturating_sub(TOLD_MAX);
    if more > 0 {
        notes.push(format!(
            "reuse was wrong for {} (thresh audit report)",
            counted(more, "further case")
        ));
    }
    notes
}

/// What is said of as many cases in their place when files changed during the run.
pub(super) fn unclear(disagreed: usize) -> String {
    format!(
        "{} could have been reused and did not pass, for which the changed files may be the cause: not recorded",
        counted(disagreed, "audited case")
    )
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn the_first_cases_are_named_and_the_others_counted() {
        let label = |number: usize| CaseLabel {
            binary_id: "demo::it".into(),
            package: "demo".into(),
            name: format!("case {number}"),
            report: SETTINGS,
        };
        let roster = Roster {
            cases: (0..30).map(label).collect(),
            ..Roster::default()
        };
        let disagreed: Vec<_> = (0..30).map(|case| (CaseIndex(case), None)).collect();
        let told = notes(&roster, &disagreed);
        assert_eq!(told.len(), TOLD_MAX + 1);
        assert!(
            told[0].contains("though a pass of it in the other cache is stored"),
            "{}",
            told[0]
        );
        assert_eq!(
            told[TOLD_MAX],
            "reuse was wrong for 10 further cases (thresh audit report)"
        );
        let known = [(CaseIndex(3), Some(RunId::from_u128(7)))];
        assert_eq!(
            notes(&roster, &known),
            [
                "reuse was wrong: demo::it case 3 does not pass, though its pass of run \
              00000000-0000-0000-0000-000000000007 is stored under the same key; it is not reused any more \
              (thresh audit report)"
            ]
        );
        assert!(notes(&roster, &[]).is_empty());
    }
}
