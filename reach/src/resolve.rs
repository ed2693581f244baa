//! Which object defines a name, and which members of archives are taken: as the linker decides.
//!
//! Files are gone through in the order of the command line. An object is taken, and its strong definitions win over weak
//! ones. A member of an archive is taken at once when a name that it defines is needed, and what it needs itself comes before what
//! else is needed, as lld does it; one that only a weak reference names is not needed. Of COMDAT groups with one signature the first
//! is taken.
//!
//! What is not decided here is [ambiguous](Resolution::ambiguous): of several weak definitions or tentative ones any might be chosen, and linkers
//! other than lld may choose another archive where two have a name.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use crate::inputs::Part;
use crate::unit::Target;

/// Where a name is defined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) part: u32,
    /// The index of the definition in its unit.
    pub(crate) definition: u32,
    weak: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Needed,
    /// Only weakly needed: null if nobody else needs it.
    Wished,
    /// A member of an archive that was not taken has it.
    Offered(u32),
    /// Members of several archives have it, this one first.
    OfferedAgain(u32),
    /// The binary looks for it in dynamic libraries.
    Imported,
    Defined(Found),
}

/// No number.
const NONE: u32 = u32::MAX;

/// The outcome.
#[derive(Debug)]
pub(crate) struct Resolution<'p> {
    parts: &'p [Part],
    /// The numbers of names: looking for a long name among many is dear, and most are met several times.
    numbers: HashMap<&'p str, u32>,
    /// The names by number.
    names: Vec<&'p str>,
    /// By part and name, its number where it has been asked for.
    known: Vec<Vec<u32>>,
    /// By number.
    states: Vec<Option<State>>,
    groups: HashMap<&'p str, u32>,
    /// Parts in the order in which they were taken.
    pub(crate) taken: Vec<u32>,
    is_taken: Vec<bool>,
    /// Nodes that another group of the same signature stands for, by part.
    dropped: HashSet<(u32, u32)>,
    /// Parts that were taken and whose references are being gone through, with the place of the next one.
    open: Vec<(u32, usize)>,
    /// Names that an archive had before they were needed, by number. lld goes back to it; others may have gone on to the next.
    late: HashSet<u32>,
    /// A name for which a linker may have chosen otherwise.
    pub(crate) ambiguous: Option<&'p str>,
    /// A name that several archives have, and which was needed. lld takes the first.
    pub(crate) offered_again: Option<&'p str>,
}

impl<'p> Resolution<'p> {
    /// Resolves the names of a link. `needed` are names that the command line or the C library's start-up code asks
    /// for, or that the binary exports. `imports` are those that it looks for in dynamic libraries: linkers do not agree on whether a member of an
    /// archive goes before such a library.
    pub(crate) fn new(parts: &'p [Part], needed: &'p [String], imports: &'p HashSet<String>) -> Self {
        let mut resolution = Self {
            parts,
            numbers: HashMap::new(),
            names: Vec::new(),
            known: vec![Vec::new(); parts.len()],
            states: Vec::new(),
            groups: HashMap::new(),
            taken: Vec::new(),
            is_taken: vec![false; parts.len()],
            dropped: HashSet::new(),
            open: Vec::new(),
            late: HashSet::new(),
            ambiguous: tentative(parts),
            offered_again: None,
        };
        for name in imports {
            let number = resolution.number(name);
            resolution.states[number as usize] = Some(State::Imported);
        }
        for name in needed {
            let number = resolution.number(name);
            resolution.need(number, false);
        }
        for (index, part) in parts.iter().enumerate() {
            if part.always {
                resolution.take(index as u32);
            } else {
                resolution.offer(index as u32);
            }
            resolution.drain();
        }
        resolution
    }

    /// The number of a name.
    fn number(&mut self, name: &'p str) -> u32 {
        let next = self.names.len() as u32;
        let number = *self.numbers.entry(name).or_insert(next);
        if number == next {
            self.names.push(name);
            self.states.push(None);
        }
        number
    }

    /// The number of one of a part's names.
    fn number_in(&mut self, part: u32, name: u32) -> u32 {
        let names = &self.parts[part as usize].unit.names;
        let known = &mut self.known[part as usize];
        known.resize(names.len(), NONE);
        match known[name as usize] {
            NONE => {
                let number = self.number(&names[name]);
                self.known[part as usize][name as usize] = number;
                number
            }
            number => number,
        }
    }

    fn state(&self, name: &str) -> Option<State> {
        self.states[*self.numbers.get(name)? as usize]
    }

    /// Where a name is defined among the taken parts.
    pub(crate) fn find(&self, name: &str) -> Option<Found> {
        match self.state(name)? {
            State::Defined(found) => Some(found),
            _ => None,
        }
    }

    /// Where one of a part's names is defined.
    pub(crate) fn find_in(&self, part: u32, name: u32) -> Option<Found> {
        let known = self.known[part as usize].get(name as usize);
        match known.filter(|number| **number != NONE) {
            Some(number) => match self.states[*number as usize]? {
                State::Defined(found) => Some(found),
                _ => None,
            },
            None => self.find(&self.parts[part as usize].unit.names[name]),
        }
    }

    /// Whether something refers to a name that is defined nowhere, and not just if it is there.
    pub(crate) fn is_missing(&self, name: &str) -> bool {
        matches!(self.state(name), Some(State::Needed))
    }

    /// Whether a member of an archive has a name, and was not taken.
    pub(crate) fn is_offered(&self, name: &str) -> bool {
        matches!(self.state(name), Some(State::Offered(_) | State::OfferedAgain(_)))
    }

    /// Whether another group of the same signature stands for a node.
    pub(crate) fn is_dropped(&self, part: u32, node: u32) -> bool {
        self.dropped.contains(&(part, node))
    }

    /// Whether it does not matter which of two definitions counts.
    fn are_alike(&self, one: Found, other: Found) -> bool {
        let of = |found: Found| {
            let unit = &self.parts[found.part as usize].unit;
            let definition = unit.definitions[found.definition as usize];
            match definition.target {
                Target::Node(node) => {
                    let node = &unit.nodes[node as usize];
                    node.edges
                        .is_empty()
                        .then_some((node.content, definition.value, definition.kind))
                }
                Target::Leaf(leaf) => {
                    let digest = unit.leaves[leaf as usize].digest;
                    Some((digest, definition.value, definition.kind))
                }
                Target::Name(_) => None,
            }
        };
        of(one).is_some_and(|one| of(other) == Some(one))
    }

    fn drain(&mut self) {
        while let Some((part, next)) = self.open.last_mut() {
            let unit = &self.parts[*part as usize].unit;
            let Some(reference) = unit.references.get(*next) else {
                self.open.pop();
                continue;
            };
            *next += 1;
            let part = *part;
            let number = self.number_in(part, reference.name);
            self.need(number, reference.weak);
        }
    }

    fn offer(&mut self, index: u32) {
        let unit = &self.parts[index as usize].unit;
        for definition in &unit.definitions {
            let number = self.number_in(index, definition.name);
            let name = self.names[number as usize];
            let state = &mut self.states[number as usize];
            match state {
                Some(State::Needed) => {
                    self.take(index);
                    return;
                }
                None | Some(State::Wished) => *state = Some(State::Offered(index)),
                Some(State::Offered(first)) if *first != index => {
                    *state = Some(State::OfferedAgain(*first));
                }
                Some(State::Defined(_)) if self.late.contains(&number) => {
                    self.offered_again.get_or_insert(name);
                }
                Some(State::Offered(_) | State::OfferedAgain(_) | State::Defined(_) | State::Imported) => {}
            }
        }
    }

    fn need(&mut self, number: u32, weak: bool) {
        let state = &mut self.states[number as usize];
        match *state {
            Some(State::Offered(part)) if !weak => {
                self.late.insert(number);
                self.take(part);
            }
            Some(State::OfferedAgain(part)) if !weak => {
                self.offered_again.get_or_insert(self.names[number as usize]);
                self.take(part);
            }
            Some(State::Wished) | None => {
                *state = Some(if weak { State::Wished } else { State::Needed });
            }
            _ => {}
        }
    }

    fn take(&mut self, index: u32) {
        if std::mem::replace(&mut self.is_taken[index as usize], true) {
            return;
        }
        self.taken.push(index);
        let parts = self.parts;
        let unit = &parts[index as usize].unit;
        for group in &unit.groups {
            let first = *self.groups.entry(&unit.texts[group.signature]).or_insert(index);
            if first != index {
                self.dropped.extend(group.nodes.iter().map(|node| (index, *node)));
            }
        }
        for (at, definition) in unit.definitions.iter().enumerate() {
            let number = self.number_in(index, definition.name);
            if let Target::Node(node) = definition.target
                && self.dropped.contains(&(index, node))
            {
                self.need(number, definition.weak);
                continue;
            }
            let found = Found {
                part: index,
                definition: at as u32,
                weak: definition.weak,
            };
            match self.states[number as usize] {
                Some(State::Defined(old)) if !old.weak || found.weak => {
                    if old.weak && !self.are_alike(old, found) {
                        self.ambiguous.get_or_insert(self.names[number as usize]);
                    }
                }
                Some(State::Imported) => {}
                _ => self.states[number as usize] = Some(State::Defined(found)),
            }
        }
        self.open.push((index, 0));
    }
}

/// A name of which there is a tentative definition and another one, wherever it is: which one counts depends on their kinds, sizes
/// and on the linker.
fn tentative(parts: &[Part]) -> Option<&str> {
    let all = || {
        parts.iter().flat_map(|part| {
            let definitions = part.unit.definitions.iter();
            definitions.map(|definition| {
                let name = &part.unit.names[definition.name];
                (name, definition.tentative)
            })
        })
    };
    let tentative: HashSet<&str> = all()
        .filter(|(_, tentative)| *tentative)
        .map(|(name, _)| name)
        .collect();
    if tentative.is_empty() {
        return None;
    }
    let mut met = HashSet::new();
    all()
        .map(|(name, _)| name)
        .filter(|name| tentative.contains(name))
        .find(|name| !met.insert(*name))
}
