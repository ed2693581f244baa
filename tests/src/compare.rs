//! Differences between what two runs say of the same cases.

use crate::status::{Case, Status, Statuses};
use std::collections::BTreeSet;
use std::fmt;

/// A case that two runs do not agree about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The case.
    pub case: Case,
    /// What was expected of it; `None` when it was not expected at all.
    pub expected: Option<Status>,
    /// What was found; `None` when it is missing.
    pub found: Option<Status>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |status: Option<Status>| status.map_or("absent".to_owned(), |status| status.to_string());
        let (binary_id, name) = &self.case;
        let name: String = name.chars().take(100).collect();
        write!(
            f,
            "{binary_id} {name}: expected {}, found {}",
            word(self.expected),
            word(self.found)
        )
    }
}

/// Returns every case that the two do not agree about.
pub fn differences(expected: &Statuses, found: &Statuses) -> Vec<Difference> {
    let cases: BTreeSet<&Case> = expected.keys().chain(found.keys()).collect();
    let all = cases.into_iter().map(|case| Difference {
        case: case.clone(),
        expected: expected.get(case).copied(),
        found: found.get(case).copied(),
    });
    all.filter(|difference| difference.expected != difference.found)
        .collect()
}

/// Checks that two runs agree.
///
/// # Panics
/// When they do not; the message has every difference.
#[track_caller]
pub fn assert_same(what: &str, expected: &Statuses, found: &Statuses) {
    let lines: Vec<String> = differences(expected, found)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        lines.is_empty(),
        "{what}: {} differences\n{}",
        lines.len(),
        lines.join("\n")
    );
}
