//! Whether the graph is what the linker has made: the binary is followed from where the program starts, together with the graph.
//!
//! # Method
//!
//! The graph's `main` stands at one address of the binary. Where a section stands, its bytes have to be those of its object once the
//! linker's fields are emptied ([`crate::filled`]), and what was in a field says where its target stands: this has to be one
//! address for each section, whoever refers to it. So it goes on until all that can be executed or read is compared. Cases are reached by their array, constructors and destructors by the
//! tables that they are called from, what dynamic libraries may call by the binary's own names.
//!
//! # Why it is sound
//!
//! Addresses are a map from sections to places in memory under which each section has its bytes, and each of its references leads where the map says. Executing
//! the binary from `main` is then executing the graph, whichever way the linker came to it: which definition it chose, from which archive, in
//! which order. What [`crate::resolve`] takes for granted of linkers is a guess that is confirmed here.
//!
//! # Deliberately absent
//!
//! How unwinding finds out where it is in a function; notes; members of lists of which the linker may have left some out (who reads these depends on the whole binary
//! anyway); names that the linker itself defines (the same); what the C compiler's own objects add. Machines other than x86-64.

use std::ops::Range;

use foldhash::HashMap;
use thresh_core::digest::ShortHasher;

use crate::certain::PLATFORM;
use crate::fields::{self, Field};
use crate::filled::{Led, Section};
use crate::graph::{self, GraphEdge, LeafKind, To};
use crate::made::Made;
use crate::memory::{Memory, Word, main_of};
use crate::pieces::{self, Known, Piece};
use crate::unit::Role;
use crate::unwind::{self, Entry};

/// Where the binary is something else than the graph says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unlike {
    #[error("where `main` is in the binary cannot be told")]
    Start,
    #[error("{0} is not in the binary where something refers to it, or not as it was compiled")]
    Content(String),
    #[error("{0} is in the binary more than once, or under another address for each who refers to it")]
    Twice(String),
    #[error("{0} is something else in the binary")]
    Name(String),
    #[error("its unwind table has a form that is not known")]
    Unwinding,
    #[error("its constructors or destructors are others, or in another order")]
    Constructors,
    #[error("the members of the list {0} are not in the binary in their order")]
    List(String),
}

/// The C compiler's own objects add one constructor, and one function for the end.
const FOREIGN: u64 = 1;

/// No address.
const NONE: u64 = u64::MAX;

/// Compares a binary with what it should be.
///
/// # Errors
/// [`Unlike`]: it is something else, or cannot be told.
pub(crate) fn compare(made: Made<'_>, memory: &Memory<'_>) -> Result<(), Unlike> {
    let graph = &made.rooted.graph;
    let mut comparison = Comparison {
        made,
        memory,
        addresses: vec![NONE; graph.nodes.len()],
        leaves: vec![NONE; graph.leaves.len()],
        open: Vec::new(),
        hasher: pieces::hasher(),
        found: Found::default(),
        unwinding: unwind::entries(memory, memory.unwinding.clone()).ok_or(Unlike::Unwinding)?,
    };
    comparison.start()?;
    comparison.tables()?;
    for (name, at) in &memory.exports {
        if let Some((node, value)) = made.defined(name) {
            comparison.meet(node, value, *at)?;
        }
    }
    while let Some(node) = comparison.open.pop() {
        comparison.node(node)?;
    }
    Ok(())
}

/// What is read of a node; memory that is used again for the next.
#[derive(Debug, Default)]
struct Found<'c> {
    fields: Vec<Field>,
    bytes: Vec<u8>,
    /// The edges, and where they lead in the binary.
    edges: Vec<(GraphEdge, Led<'c>)>,
}

struct Comparison<'a, 'c> {
    made: Made<'a>,
    memory: &'a Memory<'c>,
    /// By node, where it stands.
    addresses: Vec<u64>,
    /// By leaf, where it was last found.
    leaves: Vec<u64>,
    /// Nodes that stand somewhere and are not compared yet.
    open: Vec<u32>,
    hasher: ShortHasher,
    found: Found<'c>,
    /// The unwind table by function.
    unwinding: HashMap<u64, Entry>,
}

impl<'c> Comparison<'_, 'c> {
    fn name(&self, node: u32) -> String {
        self.made.rooted.graph.nodes[node as usize]
            .name
            .clone()
            .into_owned()
    }

    fn start(&mut self) -> Result<(), Unlike> {
        if let Some((node, value)) = self.made.defined("_start") {
            return self.meet(node, value, self.memory.entry);
        }
        let (node, value) = self.made.defined("main").ok_or(Unlike::Start)?;
        let at = main_of(self.memory).ok_or(Unlike::Start)?;
        self.meet(node, value, at)
    }

    /// Something refers to a place in a node, which is at an address.
    fn meet(&mut self, node: u32, value: u64, at: u64) -> Result<(), Unlike> {
        let address = at.wrapping_sub(value);
        if address == NONE {
            return Err(Unlike::Content(self.name(node)));
        }
        let known = &mut self.addresses[node as usize];
        if *known == NONE {
            *known = address;
            self.open.push(node);
        }
        if *known == address {
            Ok(())
        } else {
            Err(Unlike::Twice(self.name(node)))
        }
    }

    fn node(&mut self, node: u32) -> Result<(), Unlike> {
        let at = self.addresses[node as usize];
        if self.made.part(node).is_none() {
            let (members, _) = self.members(node).ok_or_else(|| Unlike::List(self.name(node)))?;
            let mut members = members.into_iter();
            return members
                .try_for_each(|(member, distance)| self.meet(member, 0, at.wrapping_add(distance)));
        }
        let mut found = std::mem::take(&mut self.found);
        self.filled(node, at, &mut found)
            .ok_or_else(|| Unlike::Content(self.name(node)))?;
        for (edge, led) in found.edges.drain(..) {
            self.edge(edge, led)?;
        }
        self.found = found;
        Ok(())
    }

    /// Compares the bytes of a node with what is at an address, and finds out where its edges lead; none if something else is there.
    fn filled(&self, node: u32, at: u64, found: &mut Found<'c>) -> Option<()> {
        let place = self.made.part(node)?;
        let mut forms = self.made.forms(place)?;
        let form = fields::read(&mut forms, &mut found.fields).ok()?;
        found.edges.clear();
        if form.is_blank && form.is_thread_local {
            let zeros = &self.memory.thread_zeros;
            let is_within = zeros.start <= at && at.checked_add(form.size)? <= zeros.end;
            return (is_within && found.fields.is_empty()).then_some(());
        }
        let bytes = self.memory.bytes(at, form.size)?;
        if form.is_unwinding {
            return Some(());
        }
        if form.is_blank {
            let is_blank = bytes.iter().all(|byte| *byte == 0) && found.fields.is_empty();
            return is_blank.then_some(());
        }
        found.bytes.clear();
        found.bytes.extend_from_slice(bytes);
        found.bytes.resize(usize::try_from(form.size).ok()?, 0);
        let mut section = Section::new(self.memory, at, &mut found.bytes, &found.fields);
        let mut edges = 0..;
        let mut fields = found.fields.iter().peekable();
        while let Some(field) = fields.next() {
            let next = fields.peek().copied();
            let filled = section.empty(field, next)?;
            if field.has_target
                && let Some(edge) = self.made.edge(node, place, edges.next()?)?
            {
                found.edges.push((edge, filled.led));
            }
            if filled.takes_next && fields.next()?.has_target {
                edges.next()?;
            }
        }
        if fields::sum(&found.bytes) != form.sum {
            return None;
        }
        for _ in 0..forms.number().ok()? {
            fields::read_fields(&mut forms, &mut found.fields).ok()?;
            self.unwinding(node, place, at, &mut edges, found)?;
        }
        Some(())
    }

    /// Compares an unwind entry of a function: in it come the routine, if it has one, the function, and the table that the routine reads, if it has one.
    fn unwinding(
        &self,
        node: u32,
        place: (u32, usize),
        at: u64,
        edges: &mut impl Iterator<Item = usize>,
        found: &mut Found<'c>,
    ) -> Option<()> {
        let mut fields = Vec::with_capacity(found.fields.len());
        for field in found.fields.iter().filter(|field| field.has_target) {
            fields.push((field, self.made.edge(node, place, edges.next()?)??));
        }
        let is_function = |(_, edge): &(&Field, GraphEdge)| edge.target == To::Node(node);
        let middle = fields.iter().position(is_function)?;
        let (field, edge) = fields[middle];
        let function = at.wrapping_add(edge.value).wrapping_add_signed(field.addend);
        let entry = self.unwinding.get(&function)?;
        let pairs = [
            (&fields[..middle], entry.personality),
            (&fields[middle + 1..], entry.table),
        ];
        for pair in pairs {
            match pair {
                ([], None) => {}
                ([(field, edge)], Some(at)) => {
                    let at = at.wrapping_sub(field.addend as u64);
                    found.edges.push((*edge, Led::To(at)));
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn edge(&mut self, edge: GraphEdge, led: Led<'c>) -> Result<(), Unlike> {
        match (edge.target, led) {
            (_, Led::Nowhere) => Ok(()),
            (To::Node(node), Led::To(at)) if self.made.part(node).is_none() => {
                self.list(node, edge.value != 0, at)
            }
            (To::Node(node), Led::To(at)) => self.meet(node, edge.value, at),
            (To::Node(node), Led::Named(_) | Led::Chosen) => Err(Unlike::Name(self.name(node))),
            (To::Leaf(leaf), led) => {
                let graph = &self.made.rooted.graph;
                let name = &graph.leaf_names[leaf as usize];
                let is_so = match graph.leaf_kinds[leaf as usize] {
                    LeafKind::Import => self.is_import(name, led),
                    LeafKind::Own(_) => {
                        matches!(led, Led::To(at) if self.is_piece(leaf, at.wrapping_sub(edge.value)))
                    }
                };
                is_so.then_some(()).ok_or_else(|| Unlike::Name(name.clone()))
            }
        }
    }

    fn is_import(&self, name: &str, led: Led<'_>) -> bool {
        if self.made.resolution.is_offered(name) {
            // It was seen, and not taken: not so if the linker took it.
            return matches!(led, Led::To(0));
        }
        if name.starts_with("__start_") || name.starts_with("__stop_") {
            // Of a list without members.
            return matches!(led, Led::To(0));
        }
        // What is linked statically of the C library is not looked at.
        if graph::is_made_by_linker(name) || PLATFORM.contains(&name) || !self.made.is_dynamic {
            return true;
        }
        match led {
            Led::Named(found) => found == name,
            Led::To(0) => !self.made.resolution.is_missing(name),
            Led::To(at) => {
                self.memory.word(at) == Some(Word::Copy(name)) || self.jump(at) == Some(Word::Named(name, 0))
            }
            Led::Chosen => false,
            Led::Nowhere => true,
        }
    }

    /// What the code at an address jumps to, if it is a stub by which functions of dynamic libraries are called.
    fn jump(&self, at: u64) -> Option<Word<'c>> {
        const MARK: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
        let code = self.memory.bytes(at, 16)?;
        let rest = code.strip_prefix(MARK).unwrap_or(code);
        let rest = rest.strip_prefix(&[0xf2]).unwrap_or(rest);
        // mold has the stub's number in a register first.
        let rest = match rest {
            [0x41, 0xbb, _, _, _, _, rest @ ..] => rest,
            _ => rest,
        };
        let distance = i32::from_le_bytes(*rest.strip_prefix(&[0xff, 0x25])?.first_chunk()?);
        let end = at + (code.len() - rest.len()) as u64 + 6;
        self.memory.word(end.wrapping_add_signed(i64::from(distance)))
    }

    fn is_piece(&mut self, leaf: u32, at: u64) -> bool {
        let graph = &self.made.rooted.graph;
        let last = self.leaves[leaf as usize];
        let length = match graph.leaves_known[leaf as usize] {
            _ if at == NONE => return false,
            _ if last == at => return true,
            None => return false,
            Some(Known::Absolute(value)) => return at == value,
            Some(Known::Zeros(size)) => {
                let bytes = self.memory.bytes(at, size);
                let are_zeros = bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
                self.leaves[leaf as usize] = at;
                return last == NONE && are_zeros;
            }
            Some(Known::Piece(length)) => length,
        };
        let Some(bytes) = self
            .memory
            .bytes(at, u64::from(length.bytes) + u64::from(length.is_terminated))
        else {
            return false;
        };
        let bytes = match length.is_terminated {
            true => bytes.strip_suffix(&[0]),
            false => Some(bytes),
        };
        let is_so = bytes.is_some_and(|bytes| {
            let piece = Piece {
                bytes,
                terminated: length.is_terminated,
                offset: 0,
                addend: 0,
            };
            piece.digest(&mut self.hasher) == graph.leaves[leaf as usize]
        });
        if is_so {
            self.leaves[leaf as usize] = at;
        }
        is_so
    }

    /// Something refers to the start of a list, or to its end.
    fn list(&mut self, list: u32, is_end: bool, at: u64) -> Result<(), Unlike> {
        // Who reads another depends on the whole binary.
        if !self.made.rooted.lists.contains(&list) {
            return Ok(());
        }
        let (_, size) = self.members(list).ok_or_else(|| Unlike::List(self.name(list)))?;
        self.meet(list, 0, if is_end { at.wrapping_sub(size) } else { at })
    }

    /// The members of a list with their distances from its start, one after the other, and where it ends.
    fn members(&self, list: u32) -> Option<(Vec<(u32, u64)>, u64)> {
        let mut end = 0u64;
        let mut members = Vec::new();
        for edge in self.made.rooted.graph.edges_of(list) {
            let To::Node(member) = edge.target else { continue };
            let form = self.made.form(self.made.part(member)?, &mut Vec::new())?;
            let start = end.checked_next_multiple_of(form.align.max(1))?;
            members.push((member, start));
            end = start.checked_add(form.size)?;
        }
        Some((members, end))
    }

    /// Finds what is called before `main`, and when the process ends, in the tables that the loader and the C library call from.
    fn tables(&mut self) -> Result<(), Unlike> {
        let roles = |node: &u32| {
            let (part, number) = self.made.part(*node)?;
            Some((self.made.parts[part as usize].unit.nodes[number].role, *node))
        };
        let rooted = self.made.rooted;
        let all = rooted.constructors.iter().chain(&rooted.starting);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for role in all.map(roles) {
            match role {
                Some((Role::Constructor(priority), node)) => before.push((priority, node)),
                Some((Role::Destructor(priority), node)) => after.push((priority, node)),
                _ => return Err(Unlike::Constructors),
            }
        }
        if self.memory.is_prepared {
            return Err(Unlike::Constructors);
        }
        self.table(before, self.memory.constructors.clone())?;
        self.table(after, self.memory.destructors.clone())
    }

    fn table(&mut self, mut nodes: Vec<(u16, u32)>, table: Range<u64>) -> Result<(), Unlike> {
        nodes.sort_by_key(|(priority, _)| *priority);
        let (mut at, mut foreign) = (table.start, 0);
        for (_, node) in nodes {
            while !self.may_be(node, at) {
                foreign += 1;
                if foreign > FOREIGN || at >= table.end {
                    return Err(Unlike::Constructors);
                }
                at += 8;
            }
            self.meet(node, 0, at)?;
            let place = self.made.part(node).ok_or(Unlike::Constructors)?;
            let form = self.made.form(place, &mut Vec::new());
            let end = at.checked_add(form.ok_or(Unlike::Constructors)?.size);
            at = end.ok_or(Unlike::Constructors)?;
        }
        let left = table.end.checked_sub(at).ok_or(Unlike::Constructors)? / 8;
        if foreign + left > FOREIGN {
            return Err(Unlike::Constructors);
        }
        Ok(())
    }

    /// Whether a constructor's addresses may be at an address: whether its function is where they lead.
    fn may_be(&self, node: u32, at: u64) -> bool {
        let mut found = Found::default();
        if self.filled(node, at, &mut found).is_none() {
            return false;
        }
        let mut function = Found::default();
        found
            .edges
            .into_iter()
            .all(|(edge, led)| match (edge.target, led) {
                (To::Node(to), Led::To(at)) => {
                    let at = at.wrapping_sub(edge.value);
                    self.filled(to, at, &mut function).is_some()
                }
                (To::Leaf(_), _) => true,
                _ => false,
            })
    }
}
