//! Cases that may take the action down in which they run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use thresh_core::id::{CaseIndex, RunId};

/// Alone in its action, a case that goes down with it so often is what takes it down.
const DEATHS_MAX: u32 = 2;

/// What is known of cases whose action went down, by how often each was alone in it.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<BTreeMap<(RunId, CaseIndex), u32>>);

impl Suspects {
    /// Whether a case is to be alone in its action.
    pub(super) fn has(&self, run: RunId, case: CaseIndex) -> bool {
        self.known().contains_key(&(run, case))
    }

    /// An action went down with these cases in it. Returns whether that settles who did it: the only one.
    pub(super) fn went_down(&self, run: RunId, cases: &[CaseIndex]) -> bool {
        let mut known = self.known();
        for case in cases {
            let deaths = known.entry((run, *case)).or_default();
            *deaths += u32::from(cases.len() == 1);
        }
        matches!(cases, [only] if known[&(run, *only)] >= DEATHS_MAX)
    }

    /// The run is over.
    pub(super) fn forget(&self, run: RunId) {
        self.known().retain(|(of, _), _| *of != run);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<(RunId, CaseIndex), u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_case_that_was_alone_twice_is_blamed() {
        let (suspects, run) = (Suspects::default(), RunId::from_u128(1));
        let [one, other] = [CaseIndex(1), CaseIndex(2)];
        assert!(!suspects.has(run, one));
        for _ in 0..3 {
            assert!(!suspects.went_down(run, &[one, other]));
        }
        assert!(suspects.has(run, one) && suspects.has(run, other));
        assert!(!suspects.went_down(run, &[one]));
        assert!(suspects.went_down(run, &[one]));
        assert!(!suspects.went_down(run, &[other]));
        suspects.forget(run);
        assert!(!suspects.has(run, one));
    }
}
