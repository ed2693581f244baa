//! Which places become mutants, and in which order: a seed decides.

use crate::site::{Kind, Site};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use thresh_tests::sim::Random;

/// Returns the places in the order of their mutants: of each kind in turn, and of each file in turn within a kind. A
/// change that several kinds have is there once.
pub(crate) fn draw(sites: Vec<Site>, seed: u64) -> Vec<Site> {
    let mut kinds: BTreeMap<Kind, Vec<Site>> = BTreeMap::new();
    for site in sites {
        kinds.entry(site.kind).or_default().push(site);
    }
    let kinds = kinds.into_iter().map(|(kind, sites)| {
        let mut random = Random::new(seed, kind.name());
        spread(sites, &mut random)
    });
    let mut taken = BTreeSet::new();
    in_turn(kinds.collect(), |site| {
        taken.insert((site.path.clone(), format!("{:?}", site.edit)))
    })
}

/// Shuffles, and takes one of each file in turn.
fn spread(mut sites: Vec<Site>, random: &mut Random) -> VecDeque<Site> {
    shuffle(&mut sites, random);
    let mut files: BTreeMap<PathBuf, VecDeque<Site>> = BTreeMap::new();
    for site in sites {
        files.entry(site.path.clone()).or_default().push_back(site);
    }
    let mut files: Vec<VecDeque<Site>> = files.into_values().collect();
    shuffle(&mut files, random);
    in_turn(files, |_| true).into()
}

/// Takes the first that `is_new` of each queue in turn, until all are empty.
fn in_turn(mut queues: Vec<VecDeque<Site>>, mut is_new: impl FnMut(&Site) -> bool) -> Vec<Site> {
    let mut all = Vec::new();
    while !queues.is_empty() {
        for queue in &mut queues {
            all.extend(std::iter::from_fn(|| queue.pop_front()).find(|site| is_new(site)));
        }
        queues.retain(|queue| !queue.is_empty());
    }
    all
}

/// Fisher and Yates.
fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for end in (1..all.len()).rev() {
        let other = usize::try_from(random.below(end as u64 + 1)).expect("an index of a slice");
        all.swap(end, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Edit;

    fn site(kind: Kind, path: &str, at: usize) -> Site {
        Site {
            kind,
            path: path.into(),
            line: at,
            before: String::new(),
            after: String::new(),
            edit: Edit::Replace(at..at + 1, Vec::new()),
        }
    }

    fn sites() -> Vec<Site> {
        let operators = (0..40).map(|at| site(Kind::Operator, if at < 30 { "a" } else { "b" }, at));
        let inline = (0..3).map(|at| site(Kind::Inline, "a", at));
        operators
            .chain(inline)
            .chain([site(Kind::Text, "c", 1)])
            .collect()
    }

    #[test]
    fn kinds_and_files_take_turns_and_no_change_comes_twice() {
        let drawn = draw(sites(), 1);
        assert_eq!(drawn.len(), 41, "the inline ones are operators, too");
        let kinds: BTreeSet<Kind> = drawn[..3].iter().map(|site| site.kind).collect();
        assert_eq!(kinds.len(), 3);
        let operators = sites().into_iter().filter(|site| site.kind == Kind::Operator);
        let drawn = draw(operators.collect(), 1);
        let files = drawn[..4].iter().map(|site| site.path.to_str().expect("text"));
        let files: Vec<&str> = files.collect();
        assert!(
            files == ["a", "b", "a", "b"] || files == ["b", "a", "b", "a"],
            "{files:?}"
        );
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(draw(sites(), 1), draw(sites(), 1));
        assert_ne!(draw(sites(), 1), draw(sites(), 2));
    }
}
