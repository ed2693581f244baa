//! One object file as a part of the graph: its sections as nodes, their relocations as edges.
//!
//! A node's content is what the section says by itself: kind, flags, alignment, size, bytes, and of each relocation the
//! offset, type and addend, in order; for a function its unwind entry too ([`crate::frames`]). *Where* edges lead is not in
//! it: that is hashed by [`crate::condense`], by what is found there and never by a symbol's name. So renaming a
//! function changes nothing.
//!
//! Two things have an identity besides their content, because code can tell two of them apart that look the same:
//! what can be written to (two counters that both start as 0), and named statics (whose addresses may be compared).
//! These have a label.

use std::ops::Range;

use thresh_core::digest::Digest;

use crate::marks::Marks;
use crate::pieces::Known;
use crate::texts::Texts;

/// An object file as a part of the graph. Indices are within the unit.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct Unit {
    pub(crate) machine: u16,
    pub(crate) nodes: Vec<Node>,
    /// All edges, those of one node together.
    pub(crate) edges: Vec<Edge>,
    /// Names of symbols, and of sections without one.
    pub(crate) names: Texts,
    /// Other texts.
    pub(crate) texts: Texts,
    pub(crate) references: Vec<Reference>,
    pub(crate) definitions: Vec<Definition>,
    pub(crate) groups: Vec<Group>,
    pub(crate) leaves: Vec<Leaf>,
    /// The forms of all nodes, one after the other, as [`crate::fields::read`] reads them.
    pub(crate) forms: Vec<u8>,
}

impl Unit {
    pub(crate) fn edges_of(&self, node: &Node) -> &[Edge] {
        &self.edges[node.edges.start as usize..node.edges.end as usize]
    }
}

/// A section.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct Node {
    /// As the linker knows it: the symbol at its start, or else the section's name. Among the unit's names.
    pub(crate) name: u32,
    pub(crate) content: Digest,
    pub(crate) marks: Marks,
    /// The content without line and column, if this is a panic's location.
    pub(crate) masked: Option<Digest>,
    /// Where they are in [`Unit::edges`].
    pub(crate) edges: Range<u32>,
    pub(crate) role: Role,
    /// Tells nodes apart that code can tell apart whatever they hold: names without hashes. Among the unit's texts.
    pub(crate) label: Option<u32>,
    /// The section's name, if `__start_` and `__stop_` symbols may stand for it. Among the unit's texts.
    pub(crate) listed: Option<u32>,
    /// The linker is told to keep it whoever refers to it.
    pub(crate) retained: bool,
    /// Where in [`Unit::forms`] its form begins.
    pub(crate) form: u32,
}

/// What keeps a section in the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// That something refers to it.
    Plain,
    /// It is executed, or read, at the start or the end of every process.
    Start,
    /// It holds addresses of functions that are called before `main`: the less, the earlier.
    Constructor(u16),
    /// It holds addresses of functions that are called when the process ends.
    Destructor(u16),
    /// It is a note, which the loader reads. (What is merely flagged to be retained is in the binary, but only read by
    /// who refers to it.)
    Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) target: Target,
    /// Where in the target, in bytes.
    pub(crate) value: u64,
    /// The ELF type of the symbol: a call to an indirect function is not one to a function.
    pub(crate) kind: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Node(u32),
    /// Something that is found by its name, here or in another object.
    Name(u32),
    Leaf(u32),
}

/// What has no edges: a piece of a merged section, an absolute address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) digest: Digest,
    pub(crate) marks: Marks,
    /// For humans. Among the unit's texts.
    pub(crate) shown: u32,
    pub(crate) known: Known,
}

/// A name that is needed from elsewhere.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct Reference {
    pub(crate) name: u32,
    pub(crate) weak: bool,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct Definition {
    pub(crate) name: u32,
    pub(crate) target: Target,
    pub(crate) value: u64,
    pub(crate) kind: u8,
    pub(crate) weak: bool,
    /// What C calls so: memory that is there if nobody else defines it.
    pub(crate) tentative: bool,
}

/// A COMDAT group.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) struct Group {
    /// Among the unit's texts.
    pub(crate) signature: u32,
    pub(crate) nodes: Vec<u32>,
}
