//! Workers that show cases the client's files at other paths, and what failed there.

use std::fmt;

use super::event::CaseRecord;
use super::summary::RunSummary;
use super::text::counted;

/// A worker without mount namespaces. Arguments and variables of its cases name the paths there; what cases
/// have compiled in still names the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemappedWorker {
    /// Its name.
    pub worker: String,
    /// Why it has no mount namespaces.
    pub cause: String,
}

impl fmt::Display for RemappedWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, cause } = self;
        write!(
            f,
            "worker {worker} has no mount namespaces ({cause}): it presents the workspace at another path; \
             cases that bake absolute paths in may fail there"
        )
    }
}

/// A remark on each such worker where cases failed.
pub(crate) fn remapped_failures(summary: &RunSummary) -> impl Iterator<Item = String> {
    summary.remapped.iter().filter_map(|remapped| {
        let worker = &remapped.worker;
        let count = summary
            .cases
            .iter()
            .filter(|case| failed_on(case, worker))
            .count();
        let cases = counted(count, "case");
        (count > 0).then(|| format!("{cases} failed at least once where paths differ: {remapped}"))
    })
}

fn failed_on(case: &CaseRecord, worker: &str) -> bool {
    case.attempts.iter().any(|attempt| {
        attempt.worker == worker && attempt.outcome.is_about_the_case() && !attempt.outcome.passes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn only_workers_where_cases_failed_are_remarked_on() {
        let mut summary = sample::summary();
        let remarks: Vec<String> = remapped_failures(&summary).collect();
        assert_eq!(remarks.len(), 1);
        assert!(
            remarks[0].starts_with("2 cases failed")
                && remarks[0].contains("worker w1 has no mount namespaces"),
            "{remarks:?}"
        );
        for case in &mut summary.cases {
            for attempt in &mut case.attempts {
                attempt.worker = "w2".into();
            }
        }
        assert_eq!(remapped_failures(&summary).count(), 0);
    }
}
