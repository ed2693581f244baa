//! A case by its name, and which cases somebody means.

use std::fmt;

use serde::Serialize;
use thresh_proto::v1;

use crate::report::one_line;

/// How many cases a message names.
const NAMED_MAX: usize = 10;

/// Names a case of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CaseRef {
    /// nextest's binary id.
    pub binary_id: String,
    /// The name within the binary.
    pub name: String,
}

impl CaseRef {
    /// Reads `BINARY-ID NAME`; `None` when a part is missing. A binary id has no spaces.
    pub fn in_full(text: &str) -> Option<Self> {
        let (binary_id, name) = text.split_once(' ')?;
        (!binary_id.is_empty() && !name.is_empty()).then(|| Self {
            binary_id: binary_id.to_owned(),
            name: name.to_owned(),
        })
    }

    /// `BINARY-ID NAME`.
    fn full(&self) -> String {
        format!("{} {}", self.binary_id, self.name)
    }

    pub(super) fn from_wire(case: Option<v1::CaseName>) -> Self {
        let v1::CaseName { binary_id, name } = case.unwrap_or_default();
        Self { binary_id, name }
    }

    pub(super) fn to_wire(&self) -> v1::CaseName {
        v1::CaseName {
            binary_id: self.binary_id.clone(),
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for CaseRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", one_line(&self.binary_id), one_line(&self.name))
    }
}

/// Returns the cases that `pattern` names: the one that it is in full, else all with exactly this name, else all
/// whose full name contains it.
pub(super) fn matching<'a>(known: &'a [CaseRef], pattern: &str) -> Vec<&'a CaseRef> {
    let by = |accepts: &dyn Fn(&CaseRef) -> bool| known.iter().filter(|case| accepts(case)).collect();
    let found: [Vec<&CaseRef>; 3] = [
        by(&|case| case.full() == pattern),
        by(&|case| case.name == pattern),
        by(&|case| case.full().contains(pattern)),
    ];
    found
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// Returns the case that `pattern` may be a misspelling of.
pub(super) fn nearest(known: &[CaseRef], pattern: &str) -> Option<CaseRef> {
    let distance = |case: &CaseRef| {
        let name = strsim::damerau_levenshtein(pattern, &case.name);
        name.min(strsim::damerau_levenshtein(pattern, &case.full()))
    };
    known
        .iter()
        .map(|case| (distance(case), case))
        .min()
        .filter(|(distance, case)| *distance <= case.name.len() / 3)
        .map(|(_, case)| case.clone())
}

/// The end of a message about a case that was not found.
pub(super) fn did_you_mean(nearest: &Option<CaseRef>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |nearest| format!(" (did you mean '{nearest}'?)"))
}

/// The first of several cases, a line each.
pub(super) fn listed(cases: &[CaseRef]) -> String {
    let mut text: String = cases
        .iter()
        .take(NAMED_MAX)
        .map(|case| format!("\n  {case}"))
        .collect();
    if cases.len() > NAMED_MAX {
        text.push_str(&format!("\n  and {} more", cases.len() - NAMED_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(names: &[&str]) -> Vec<CaseRef> {
        names.iter().map(|name| CaseRef::in_full(name).unwrap()).collect()
    }

    fn matches(pattern: &str) -> Vec<String> {
        let known = cases(&["a parse", "a parse::empty", "b parse", "b with space"]);
        matching(&known, pattern)
            .iter()
            .map(|case| case.to_string())
            .collect()
    }

    #[test]
    fn the_more_exact_reading_wins() {
        assert_eq!(matches("a parse"), ["a parse"]);
        assert_eq!(matches("parse"), ["a parse", "b parse"]);
        assert_eq!(matches("empty"), ["a parse::empty"]);
        assert_eq!(matches("b w"), ["b with space"]);
        assert_eq!(matches("b with space"), ["b with space"]);
        assert!(matches("nothing").is_empty());
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let known = cases(&["a parse::empty", "b other"]);
        assert_eq!(nearest(&known, "parse::emty"), Some(known[0].clone()));
        assert_eq!(nearest(&known, "a parse::emtpy"), Some(known[0].clone()));
        assert_eq!(nearest(&known, "something else entirely"), None);
    }

    #[test]
    fn a_full_name_has_two_parts() {
        let case = CaseRef::in_full("a::b c d").unwrap();
        assert_eq!((&*case.binary_id, &*case.name), ("a::b", "c d"));
        assert!(CaseRef::in_full("alone").is_none() && CaseRef::in_full(" x").is_none());
    }
}
