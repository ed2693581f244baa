//! A link as the graph has it, as far as a binary is compared with it.

use crate::encode::Reader;
use crate::fields::{self, Field, Form};
use crate::graph::{GraphEdge, Rooted, To};
use crate::harness::Harness;
use crate::inputs::Part;
use crate::resolve::Resolution;
use crate::unit::{Edge, Target};

/// The link that a binary is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    pub(crate) parts: &'a [Part],
    pub(crate) resolution: &'a Resolution<'a>,
    pub(crate) harness: Option<(u32, &'a Harness)>,
    pub(crate) rooted: &'a Rooted<'a>,
    /// It is loaded with dynamic libraries.
    pub(crate) is_dynamic: bool,
}

impl Made<'_> {
    /// The part of a node, and its number there; none if it stands for a list.
    pub(crate) fn part(&self, node: u32) -> Option<(u32, usize)> {
        let bases = &self.rooted.bases;
        let (base, part) = *bases.get(bases.partition_point(|(base, _)| *base <= node).checked_sub(1)?)?;
        let number = (node - base) as usize;
        (number < self.parts[part as usize].unit.nodes.len()).then_some((part, number))
    }

    fn node(&self, part: u32, number: u32) -> Option<u32> {
        let mut bases = self.rooted.bases.iter();
        bases.find(|(_, of)| *of == part).map(|(base, _)| base + number)
    }

    /// The node in which a name is defined, and where in it.
    pub(crate) fn defined(&self, name: &str) -> Option<(u32, u64)> {
        let found = self.resolution.find(name)?;
        let definition = self.parts[found.part as usize].unit.definitions[found.definition as usize];
        match definition.target {
            Target::Node(number) => Some((self.node(found.part, number)?, definition.value)),
            _ => None,
        }
    }

    /// Where an edge of one part leads, if it leads to a node.
    fn led(&self, part: u32, edge: &Edge) -> Option<(u32, u64)> {
        match edge.target {
            Target::Node(number) => Some((self.node(part, number)?, edge.value)),
            Target::Name(name) => {
                let name = &self.parts[part as usize].unit.names[name];
                let (node, value) = self.defined(name)?;
                Some((node, value.wrapping_add(edge.value)))
            }
            Target::Leaf(_) => None,
        }
    }

    /// Where an edge of a node leads, also if it is cut off; none inside if that is no node's. `place` is its place among the node's edges.
    pub(crate) fn edge(
        &self,
        node: u32,
        (part, number): (u32, usize),
        place: usize,
    ) -> Option<Option<GraphEdge>> {
        let is_cut = |(of, harness): (u32, &Harness)| of == part && harness.cut(number as u32).is_some();
        if !self.harness.is_some_and(is_cut) {
            return self.rooted.graph.edges_of(node).get(place).copied().map(Some);
        }
        let unit = &self.parts[part as usize].unit;
        let edge = unit.edges_of(&unit.nodes[number]).get(place)?;
        Some(self.led(part, edge).map(|(node, value)| GraphEdge {
            target: To::Node(node),
            value,
            kind: edge.kind,
        }))
    }

    pub(crate) fn form(&self, place: (u32, usize), fields: &mut Vec<Field>) -> Option<Form> {
        fields::read(&mut self.forms(place)?, fields).ok()
    }

    /// What is kept of a node's form.
    pub(crate) fn forms(&self, (part, number): (u32, usize)) -> Option<Reader<'_>> {
        let unit = &self.parts[part as usize].unit;
        unit.forms
            .get(unit.nodes[number].form as usize..)
            .map(Reader::new)
    }
}
