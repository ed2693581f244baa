//! Hashes of all that a node can reach.
//!
//! # Method
//!
//! The graph is condensed into its strongly connected components (Tarjan), which form a graph without cycles; each is
//! hashed after those it leads to. A node's hash is made of its content and, for each edge in order, of where in its
//! target it leads and the target's hash. Within a component hashes of one another are not there yet, so colours stand
//! for them: a node's first colour is its content and its edges out of the component; in each round its next colour is
//! its last one and the last ones of where its inner edges lead. This ends when a round tells no more nodes apart than
//! the one before. A node's hash is then made of its colour, the number of rounds, and the *set* of all colours of its
//! component.
//!
//! # Why equal hashes mean equal reach
//!
//! Let two nodes, of one link or of two, have equal hashes, and no hash collide. By induction over components what they
//! reach outside is bisimilar: the same contents with the same edges to the same contents, as far as one follows. Inside:
//! both components have the same set of colours after the same k rounds. A colour of round k determines one of round k-1;
//! as round k told no more nodes apart, that map is one to one on this shared set. Take two nodes of equal colour k. The
//! targets of their edges, in order, have equal colours k-1, so by the one-to-one map equal colours k. So "of equal colour"
//! is a bisimulation. Nodes with a label (see [`crate::unit`]) are in it with one node of the other link only, as
//! labels are different within a link: two links whose hashes are equal can differ in how often the same constant or the
//! same function is there, and in nothing else.

use std::ops::Range;

use rayon::prelude::*;
use thresh_core::digest::{Digest, ShortHasher};

use crate::graph::{Graph, GraphEdge, GraphNode, To};

/// Hashes by node. A node that no root reaches has none.
#[derive(Debug)]
pub(crate) struct Hashes {
    /// With all that is there.
    pub(crate) exact: Vec<Digest>,
    /// Without lines and columns of panic locations.
    pub(crate) masked: Vec<Digest>,
    /// Whether the node reaches one that reads the line of a panic's location.
    pub(crate) observes: Vec<bool>,
    pub(crate) reached: Vec<bool>,
}

const NONE: u32 = u32::MAX;

/// The strongly connected components of what the roots reach. Each comes after those it leads to.
#[derive(Debug, Default)]
struct Components {
    nodes: Vec<u32>,
    /// Where each component ends in `nodes`.
    ends: Vec<u32>,
    /// By node.
    of: Vec<u32>,
}

impl Graph<'_> {
    pub(crate) fn edges_of(&self, node: u32) -> &[GraphEdge] {
        self.edges_in(&self.nodes[node as usize].edges)
    }

    pub(crate) fn edges_in(&self, range: &Range<u32>) -> &[GraphEdge] {
        &self.edges[range.start as usize..range.end as usize]
    }
}

/// Hashes everything that `roots` reach.
pub(crate) fn hashes(graph: &Graph<'_>, roots: &[u32]) -> Hashes {
    let components = components(graph, roots);
    let mut hashing = Hashing::new(graph, &components);
    let every = vec![true; graph.nodes.len()];
    hashing.all(&every);
    let exact = hashing.hashes.clone();
    // Who reaches no location of a panic has one hash: it stays.
    hashing.masked = true;
    hashing.all(&components.reaching(graph, |node| node.masked.is_some()));
    Hashes {
        exact,
        masked: hashing.hashes,
        observes: components.reaching(graph, |node| node.observes),
        reached: components.of.iter().map(|component| *component != NONE).collect(),
    }
}

impl Components {
    fn each(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(self.ends.iter().copied());
        ranges.map(|(start, end)| &self.nodes[start as usize..end as usize])
    }

    /// Which nodes reach one that is `such`.
    fn reaching(&self, graph: &Graph<'_>, such: impl Fn(&GraphNode<'_>) -> bool) -> Vec<bool> {
        let mut reaching = vec![false; graph.nodes.len()];
        for component in self.each() {
            let any = component.iter().any(|node| {
                let led = |edge: &GraphEdge| matches!(edge.target, To::Node(to) if reaching[to as usize]);
                such(&graph.nodes[*node as usize]) || graph.edges_of(*node).iter().any(led)
            });
            component.iter().for_each(|node| reaching[*node as usize] = any);
        }
        reaching
    }
}

/// Tarjan's algorithm with a stack of its own: graphs are deeper than a thread's stack.
fn components(graph: &Graph<'_>, roots: &[u32]) -> Components {
    let mut search = Search {
        graph,
        order: vec![NONE; graph.nodes.len()],
        low: vec![0; graph.nodes.len()],
        open: Vec::new(),
        next: 0,
        found: Components {
            of: vec![NONE; graph.nodes.len()],
            ..Components::default()
        },
    };
    for root in roots {
        if search.order[*root as usize] == NONE {
            search.from(*root);
        }
    }
    search.found
}

struct Search<'g> {
    graph: &'g Graph<'g>,
    /// When each node was first met.
    order: Vec<u32>,
    /// The earliest open node that each one leads back to.
    low: Vec<u32>,
    open: Vec<u32>,
    next: u32,
    found: Components,
}

impl Search<'_> {
    fn from(&mut self, root: u32) {
        // A node, and the edge at which to go on.
        let mut path: Vec<(u32, usize)> = vec![(root, 0)];
        while let Some((node, place)) = path.pop() {
            if self.order[node as usize] == NONE {
                self.order[node as usize] = self.next;
                self.low[node as usize] = self.next;
                self.next += 1;
                self.open.push(node);
            }
            match self.deeper(node, place) {
                // This edge is looked at again, for what was found behind it.
                Some((place, to)) => path.extend([(node, place), (to, 0)]),
                None if self.low[node as usize] == self.order[node as usize] => self.close(node),
                None => {}
            }
        }
    }

    fn deeper(&mut self, node: u32, from: usize) -> Option<(usize, u32)> {
        for (place, edge) in self.graph.edges_of(node).iter().enumerate().skip(from) {
            let To::Node(to) = edge.target else { continue };
            if self.order[to as usize] == NONE {
                return Some((place, to));
            }
            if self.found.of[to as usize] == NONE {
                self.low[node as usize] = self.low[node as usize].min(self.low[to as usize]);
            }
        }
        None
    }

    fn close(&mut self, node: u32) {
        let component = self.found.ends.len() as u32;
        while let Some(member) = self.open.pop() {
            self.found.of[member as usize] = component;
            self.found.nodes.push(member);
            if member == node {
                break;
            }
        }
        self.found.ends.push(self.found.nodes.len() as u32);
    }
}

/// So many nodes at least are the work of one thread.
const TOGETHER: usize = 512;

struct Hashing<'g> {
    graph: &'g Graph<'g>,
    components: &'g Components,
    /// Without lines and columns of panic locations.
    masked: bool,
    hashes: Vec<Digest>,
    hashers: Hashers,
}

/// The hashes that are made of each node.
#[derive(Clone)]
struct Hashers {
    node: ShortHasher,
    colour: ShortHasher,
    member: ShortHasher,
}

impl<'g> Hashing<'g> {
    fn new(graph: &'g Graph<'g>, components: &'g Components) -> Self {
        Self {
            graph,
            components,
            masked: false,
            hashes: vec![Digest::from_bytes([0; 32]); graph.nodes.len()],
            hashers: Hashers {
                node: ShortHasher::new("thresh reach node v2"),
                colour: ShortHasher::new("thresh reach colour v2"),
                member: ShortHasher::new("thresh reach member v2"),
            },
        }
    }

    /// Hashes the components of the nodes for which `is_new`; the others keep their hashes.
    fn all(&mut self, is_new: &[bool]) {
        let mut hasher = self.hashers.node.clone();
        for component in self.components.each() {
            match component {
                [node] if is_new[*node as usize] => {
                    self.hashes[*node as usize] = self.first(*node, &mut hasher);
                }
                several if is_new[several[0] as usize] => self.component(several),
                _ => {}
            }
        }
    }

    /// A node's content and edges. Those into its own component only say so.
    fn first(&self, node: u32, hasher: &mut ShortHasher) -> Digest {
        let own = self.components.of[node as usize];
        let data = &self.graph.nodes[node as usize];
        let content = data.masked.filter(|_| self.masked).unwrap_or(data.content);
        hasher.fixed(content.as_bytes());
        for edge in self.graph.edges_of(node) {
            let (kind, hash) = match edge.target {
                To::Node(to) if self.components.of[to as usize] == own => (0, None),
                To::Node(to) => (1, Some(&self.hashes[to as usize])),
                To::Leaf(leaf) => (2, Some(&self.graph.leaves[leaf as usize])),
            };
            // Most lead to the start of what is of no special kind: the first byte says what follows.
            let (is_within, is_special) = (edge.value != 0, edge.kind != 0);
            hasher.fixed(&[kind | u8::from(is_within) << 2 | u8::from(is_special) << 3]);
            if is_within {
                hasher.fixed(&edge.value.to_le_bytes());
            }
            if is_special {
                hasher.fixed(&[edge.kind]);
            }
            if let Some(hash) = hash {
                hasher.fixed(hash.as_bytes());
            }
        }
        hasher.finish()
    }

    fn component(&mut self, nodes: &[u32]) {
        let inner = self.inner(nodes);
        let first = |hasher: &mut ShortHasher, node: &u32| self.first(*node, hasher);
        let mut colours: Vec<Digest> = nodes
            .par_iter()
            .with_min_len(TOGETHER)
            .map_init(|| self.hashers.node.clone(), first)
            .collect();
        let mut told = distinct(&colours).len();
        let mut rounds = 0u64;
        let set = loop {
            let next = |hasher: &mut ShortHasher, at| next(&colours, at, &inner[at], hasher);
            colours = (0..nodes.len())
                .into_par_iter()
                .with_min_len(TOGETHER)
                .map_init(|| self.hashers.colour.clone(), next)
                .collect();
            rounds += 1;
            let set = distinct(&colours);
            if set.len() == told {
                break set;
            }
            told = set.len();
        };
        let mut whole = blake3::Hasher::new_derive_key("thresh reach component v1");
        whole.update(&rounds.to_le_bytes());
        set.iter().for_each(|colour| {
            whole.update(colour.as_bytes());
        });
        let whole = whole.finalize();
        for (node, colour) in nodes.iter().zip(&colours) {
            let hasher = &mut self.hashers.member;
            hasher.fixed(whole.as_bytes()).fixed(colour.as_bytes());
            self.hashes[*node as usize] = hasher.finish();
        }
    }

    /// For each node of a component, where in the component its inner edges lead, in order.
    fn inner(&self, nodes: &[u32]) -> Vec<Vec<u32>> {
        let places: foldhash::HashMap<u32, u32> = nodes.iter().copied().zip(0..).collect();
        let lead = |node: &u32| {
            let edges = self.graph.edges_of(*node).iter();
            let inner = edges.filter_map(|edge| match edge.target {
                To::Node(to) => places.get(&to).copied(),
                To::Leaf(_) => None,
            });
            inner.collect()
        };
        nodes.iter().map(lead).collect()
    }
}

fn next(colours: &[Digest], at: usize, inner: &[u32], hasher: &mut ShortHasher) -> Digest {
    hasher.fixed(colours[at].as_bytes());
    inner.iter().for_each(|to| {
        hasher.fixed(colours[*to as usize].as_bytes());
    });
    hasher.finish()
}

/// The colours that there are, sorted.
fn distinct(colours: &[Digest]) -> Vec<Digest> {
    let mut all = colours.to_vec();
    all.par_sort_unstable();
    all.dedup();
    all
}
