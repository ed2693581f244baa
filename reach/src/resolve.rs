//! Which object defines a name, and which members of archives are taken: as the linker decides.
//!
//! Files are gone through in the order of the command line. An object is taken, and its strong definitions win over weak
//! ones, else the first wins. A member of an archive is taken when a name that it defines is needed; one that only a weak
//! reference names is not needed. Of COMDAT groups with one signature the first is taken.
//!
//! Where linkers differ (a name defined in two archives), what is chosen here may not be what the binary has. A name that
//! is defined in a static input and in a dynamic library counts as the former; the libraries count whole anyway.

use std::collections::VecDeque;

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
    Defined(Found),
}

/// The outcome.
#[derive(Debug)]
pub(crate) struct Resolution<'p> {
    parts: &'p [Part],
    states: HashMap<&'p str, State>,
    groups: HashMap<&'p str, u32>,
    /// Parts in the order in which they were taken.
    pub(crate) taken: Vec<u32>,
    is_taken: Vec<bool>,
    /// Nodes that another group of the same signature stands for, by part.
    dropped: HashSet<(u32, u32)>,
    queue: VecDeque<u32>,
}

impl<'p> Resolution<'p> {
    /// Resolves the names of a link. `needed` are names that the command line or the C library's start-up code asks
    /// for, or that the binary exports.
    pub(crate) fn new(parts: &'p [Part], needed: &'p [String]) -> Self {
        let mut resolution = Self {
            parts,
            states: HashMap::new(),
            groups: HashMap::new(),
            taken: Vec::new(),
            is_taken: vec![false; parts.len()],
            dropped: HashSet::new(),
            queue: VecDeque::new(),
        };
        for name in needed {
            resolution.need(name, false);
        }
        for (index, part) in parts.iter().enumerate() {
            if part.always {
                resolution.queue.push_back(index as u32);
            } else {
                resolution.offer(index as u32);
            }
            resolution.drain();
        }
        resolution
    }

    /// Where a name is defined among the taken parts.
    pub(crate) fn find(&self, name: &str) -> Option<Found> {
        match self.states.get(name) {
            Some(State::Defined(found)) => Some(*found),
            _ => None,
        }
    }

    /// Whether another group of the same signature stands for a node.
    pub(crate) fn is_dropped(&self, part: u32, node: u32) -> bool {
        self.dropped.contains(&(part, node))
    }

    fn drain(&mut self) {
        while let Some(part) = self.queue.pop_front() {
            self.take(part);
        }
    }

    fn offer(&mut self, index: u32) {
        let unit = &self.parts[index as usize].unit;
        for definition in &unit.definitions {
            let name = unit.names[definition.name as usize].as_str();
            match self.states.get(name) {
                Some(State::Needed) => {
                    self.queue.push_back(index);
                    return;
                }
                None | Some(State::Wished) => {
                    self.states.insert(name, State::Offered(index));
                }
                Some(State::Offered(_) | State::Defined(_)) => {}
            }
        }
    }

    fn need(&mut self, name: &'p str, weak: bool) {
        match self.states.get(name) {
            Some(State::Offered(part)) if !weak => {
                self.queue.push_back(*part);
            }
            Some(State::Wished) | None => {
                let state = if weak { State::Wished } else { State::Needed };
                self.states.insert(name, state);
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
            let first = *self.groups.entry(group.signature.as_str()).or_insert(index);
            if first != index {
                self.dropped.extend(group.nodes.iter().map(|node| (index, *node)));
            }
        }
        for (number, definition) in unit.definitions.iter().enumerate() {
            let name = unit.names[definition.name as usize].as_str();
            if let Target::Node(node) = definition.target
                && self.dropped.contains(&(index, node))
            {
                self.need(name, definition.weak);
                continue;
            }
            let found = Found {
                part: index,
                definition: number as u32,
                weak: definition.weak,
            };
            match self.states.get(name) {
                Some(State::Defined(old)) if !old.weak || found.weak => {}
                _ => {
                    self.states.insert(name, State::Defined(found));
                }
            }
        }
        for reference in &unit.references {
            self.need(unit.names[reference.name as usize].as_str(), reference.weak);
        }
    }
}
