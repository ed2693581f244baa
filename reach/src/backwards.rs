//! The edges of a graph backwards: what leads to what.

use crate::graph::{Graph, To};

/// By node, which nodes lead to it.
#[derive(Debug)]
pub(crate) struct Backwards {
    /// Where the nodes that lead to each begin in `from`; one more at the end.
    starts: Vec<u32>,
    from: Vec<u32>,
}

impl Backwards {
    /// Turns the edges of a graph around, except those out of nodes that are not to be looked into.
    pub(crate) fn new(graph: &Graph<'_>, is_opaque: impl Fn(u32) -> bool) -> Self {
        let looked_into = || (0..graph.nodes.len() as u32).filter(|node| !is_opaque(*node));
        let led = |node: u32| {
            graph.edges_of(node).iter().filter_map(|edge| match edge.target {
                To::Node(to) => Some(to as usize),
                To::Leaf(_) => None,
            })
        };
        let mut starts = vec![0u32; graph.nodes.len() + 1];
        looked_into().for_each(|node| led(node).for_each(|to| starts[to + 1] += 1));
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut from = vec![0; starts[graph.nodes.len()] as usize];
        for node in looked_into() {
            for to in led(node) {
                from[next[to] as usize] = node;
                next[to] += 1;
            }
        }
        Self { starts, from }
    }

    /// Which nodes reach one of those that are marked, these included.
    pub(crate) fn reach(&self, mut marked: Vec<bool>) -> Vec<bool> {
        let marks = (0..).zip(&marked);
        let mut open: Vec<u32> = marks.filter(|(_, mark)| **mark).map(|(node, _)| node).collect();
        while let Some(node) = open.pop() {
            let range = self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize;
            for from in &self.from[range] {
                if !std::mem::replace(&mut marked[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        marked
    }
}
