//! Which cases are meant.

use std::collections::BTreeSet;

use super::case_ref::{CaseRef, matching};

/// What stands in the way of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undecided {
    /// Nothing matches this pattern.
    Nothing(String),
    /// Several cases match it.
    Several(String, Vec<CaseRef>),
    /// Nothing matches it, and it is no full name.
    NotInFull(String),
}

/// Returns the cases that `patterns` name among the `known` ones. With `all`, a pattern may name several. With
/// `unseen`, it may name one in full that is not known.
pub(super) fn decide(
    known: &[CaseRef],
    patterns: &[String],
    all: bool,
    unseen: bool,
) -> Result<BTreeSet<CaseRef>, Undecided> {
    let mut chosen = BTreeSet::new();
    for pattern in patterns {
        let found = matching(known, pattern);
        match (found.len(), unseen) {
            (0, false) => return Err(Undecided::Nothing(pattern.clone())),
            (0, true) => {
                let case = CaseRef::in_full(pattern);
                chosen.insert(case.ok_or_else(|| Undecided::NotInFull(pattern.clone()))?);
            }
            (2.., _) if !all => {
                let cases = found.into_iter().cloned().collect();
                return Err(Undecided::Several(pattern.clone(), cases));
            }
            _ => chosen.extend(found.into_iter().cloned()),
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<CaseRef> {
        ["a one", "a two", "b one"]
            .map(|name| CaseRef::in_full(name).unwrap())
            .into()
    }

    fn chosen(patterns: &[&str], all: bool, unseen: bool) -> Result<Vec<String>, Undecided> {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let cases = decide(&known(), &patterns, all, unseen)?;
        Ok(cases.iter().map(CaseRef::to_string).collect())
    }

    #[test]
    fn one_pattern_names_one_case_unless_all_are_meant() {
        assert_eq!(
            chosen(&["two", "b one"], false, false),
            Ok(vec!["a two".into(), "b one".into()])
        );
        assert_eq!(
            chosen(&["one"], false, false),
            Err(Undecided::Several(
                "one".into(),
                vec![known()[0].clone(), known()[2].clone()]
            ))
        );
        assert_eq!(chosen(&["one"], true, false).unwrap().len(), 2);
        assert_eq!(
            chosen(&["a", "one"], true, false).unwrap().len(),
            3,
            "each case once"
        );
    }

    #[test]
    fn a_slip_decides_nothing() {
        assert_eq!(
            chosen(&["two", "three"], true, false),
            Err(Undecided::Nothing("three".into()))
        );
        assert_eq!(
            chosen(&["three"], true, true),
            Err(Undecided::NotInFull("three".into()))
        );
        assert_eq!(chosen(&["c three"], false, true), Ok(vec!["c three".into()]));
    }
}
