//! How what a case reaches differs between two links.

use std::collections::{HashMap, VecDeque};

use crate::analysis::{Analysis, Locations};
use crate::graph::To;
use crate::name::shown;
use crate::record::{CaseRecord, Detail, RecordNode};

/// At most this many changed things are named.
const CHANGED_MAX: usize = 20;

/// What differs where nothing that is reached does.
const SURROUNDINGS: &str = "how it was linked: flags, libraries that it is loaded with, names that it exports, or the size of its thread-locals";

/// What differs in a case's reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Functions, statics and constants that differ, nearest to the case first, at most 20.
    pub changed: Vec<String>,
    /// How the first of them is reached: from the case's function to it.
    pub path: Vec<String>,
}

/// Says what differs for a case between two links; none if nothing does, or if one of them does not tell its cases apart
/// or has no such case.
pub fn explain(old: &Analysis, new: &Analysis, case: &str, locations: Locations) -> Option<Difference> {
    let (old_case, new_case) = (find(old, case)?, find(new, case)?);
    let (old_keys, new_keys) = (old_case.keys, new_case.keys);
    let exact = locations == Locations::Exact || old_keys.observes || new_keys.observes;
    let same = match exact {
        true => old_keys.exact == new_keys.exact,
        false => old_keys.masked == new_keys.masked,
    };
    if same {
        return None;
    }
    let joined = old_case
        .joined
        .iter()
        .copied()
        .zip(new_case.joined.iter().copied());
    let roots = std::iter::once((old_case.root, new_case.root)).chain(joined);
    let common = old
        .detail
        .common_roots
        .iter()
        .copied()
        .zip(new.detail.common_roots.iter().copied());
    let mut walk = Walk {
        old: &old.detail,
        new: &new.detail,
        exact,
        from: HashMap::new(),
        queue: VecDeque::new(),
        found: Vec::new(),
    };
    for pair in roots.chain(common) {
        walk.meet(pair, None);
    }
    walk.all();
    Some(walk.difference())
}

fn find<'a>(analysis: &'a Analysis, name: &str) -> Option<&'a CaseRecord> {
    let mut cases = analysis.summary().0.cases.iter();
    cases.find(|case| case.name == name)
}

/// A case's descriptor, and what it calls the case's function by.
fn is_harness(name: &str) -> bool {
    name.starts_with('.') || name.ends_with("FnOnce::call_once") || name.ends_with("{{closure}}")
}

type Pair = (u32, u32);

struct Walk<'r> {
    old: &'r Detail,
    new: &'r Detail,
    exact: bool,
    /// From which pair each was reached.
    from: HashMap<Pair, Option<Pair>>,
    queue: VecDeque<Pair>,
    found: Vec<(Pair, Option<String>)>,
}

impl Walk<'_> {
    fn meet(&mut self, pair: Pair, from: Option<Pair>) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.from.entry(pair) {
            entry.insert(from);
            self.queue.push_back(pair);
        }
    }

    fn same(&self, old: &RecordNode, new: &RecordNode) -> bool {
        let masked = !self.exact && old.masked.is_some() && old.masked == new.masked;
        (masked || old.content == new.content) && old.edges.len() == new.edges.len()
    }

    fn all(&mut self) {
        while let Some(pair) = self.queue.pop_front() {
            if self.found.len() >= CHANGED_MAX {
                break;
            }
            let (old, new) = (&self.old.nodes[pair.0 as usize], &self.new.nodes[pair.1 as usize]);
            if !self.same(old, new) {
                self.found.push((pair, None));
                continue;
            }
            for ((old_to, old_value), (new_to, new_value)) in old.edges.iter().zip(&new.edges) {
                match (*old_to, *new_to) {
                    (To::Node(old), To::Node(new)) if old_value == new_value => {
                        self.meet((old, new), Some(pair))
                    }
                    (To::Leaf(old), To::Leaf(new)) if old_value == new_value => {
                        let (old, new) = (&self.old.leaves[old as usize], &self.new.leaves[new as usize]);
                        if old.0 != new.0 {
                            self.found
                                .push((pair, Some(format!("{} became {}", old.1, new.1))));
                        }
                    }
                    _ => self.found.push((pair, Some("what it refers to".to_owned()))),
                }
            }
        }
    }

    fn difference(&self) -> Difference {
        let name = |pair: &Pair| {
            let node = &self.new.nodes[pair.1 as usize];
            shown(&node.name)
        };
        let changed = self.found.iter().map(|(pair, what)| match what {
            Some(what) => format!("{}: {what}", name(pair)),
            None => name(pair),
        });
        let mut path = Vec::new();
        let mut at = self.found.first().map(|(pair, _)| *pair);
        while let Some(pair) = at {
            path.push(name(&pair));
            at = self.from.get(&pair).copied().flatten();
        }
        path.reverse();
        // How libtest comes to the case's function, the same for all.
        let before = path.iter().take_while(|name| is_harness(name)).count();
        if before < path.len() {
            path.drain(..before);
        }
        let mut changed: Vec<String> = changed.collect();
        changed.dedup();
        if changed.is_empty() {
            changed.push(SURROUNDINGS.to_owned());
        }
        Difference { changed, path }
    }
}
