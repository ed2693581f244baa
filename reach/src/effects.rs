//! What a case's own reach can ask of the operating system, apart from what `main` does for every case.
//!
//! # Method
//!
//! A process asks the system for something in two ways: it calls a function of a dynamic library, or it executes an instruction
//! that enters the kernel. The first is an import that a node refers to, the second are bytes of a node that can
//! be executed ([`crate::marks`]). From every node that does so, edges are followed backwards: whatever is met there can do
//! it as well. Two things are told, of what a case's descriptor reaches:
//!
//! * **It can open nothing**: all imports are of a list of harmless ones ([`crate::imports`]), and no byte of its
//!   code enters the kernel. So whatever the files of the machine are, the case never learns of it.
//! * **It does not see the package's version** in its environment: it has no bytes that a variable's name could be made of, does not
//!   refer to the environment as a whole, and starts no process, which would inherit it.
//!
//! # Why it is sound
//!
//! What is reached is all that can be executed (see the crate's docs), threads, callbacks and signal handlers included, for
//! their addresses are taken somewhere. What a dynamic library calls back was handed to it. Besides the case's own code its process
//! executes that of start-up, that of libtest, and what libtest's own code calls by name in the build: an
//! allocator. Start-up code and such callees count for every case. libtest itself reads processors, arguments, and
//! variables that are in every key, and leaves nothing behind that a case reads.
//!
//! Not looked into are the parts of the standard library that print a panic and make random numbers. They have to be the toolchain's
//! own, and so has each function that may do what nobody else may (`syscall` for a `futex`).
//!
//! # What is assumed
//!
//! * The C library that is loaded does what its functions' names say. It is told by the platform's part of a key.
//! * No code is made at run time without `mmap` or `mprotect`, and nothing jumps to what is no code.
//! * A name of a variable is not computed from pieces shorter than those looked for, nor read from a file or a pipe. The caller has to
//!   know that nothing was compiled with optimisation, as for [`crate::Locations`].
//! * What is printed for a panic is not read back.
//!
//! # Deliberately absent
//!
//! Static C libraries (`musl`): their code enters the kernel itself, so each case can open files. Which path a case opens.

use std::collections::BTreeSet;

use crate::graph::{Graph, GraphNode, LeafKind, Rooted, To};
use crate::imports;
use crate::marks::Marks;
use crate::name::shown;

/// What one case can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effects {
    /// It may open files, or do anything else that is not known to be harmless.
    pub(crate) opens: bool,
    /// It may look at the version of its package in the environment.
    pub(crate) sees_version: bool,
}

impl Effects {
    /// Nothing is known.
    pub(crate) const ANY: Self = Self {
        opens: true,
        sees_version: true,
    };
    const NONE: Self = Self {
        opens: false,
        sees_version: false,
    };

    fn or(self, other: Self) -> Self {
        Self {
            opens: self.opens || other.opens,
            sees_version: self.sees_version || other.sees_version,
        }
    }
}

/// The effects of each case, in a binary that is loaded with known libraries only.
pub(crate) fn of_cases(rooted: &Rooted) -> Vec<Effects> {
    let graph = &rooted.graph;
    let spread = Spread::new(graph);
    let (opens, sees) = (
        spread.back(|effects| effects.opens),
        spread.back(|effects| effects.sees_version),
    );
    let of = |node: u32| Effects {
        opens: opens[node as usize],
        sees_version: sees[node as usize],
    };
    let around = all_around(rooted).into_iter().map(|node| {
        // It may be handed the environment's address, as C libraries do with what is in `.init_array`.
        let is_handed = rooted.starting.contains(&node) && !graph.nodes[node as usize].toolchain;
        Effects {
            sees_version: is_handed,
            ..Effects::NONE
        }
        .or(of(node))
    });
    let around = around.fold(Effects::NONE, Effects::or);
    rooted.cases.iter().map(|case| of(*case).or(around)).collect()
}

/// What is executed for every case but is neither its own nor libtest's: start-up code, what others may call by name,
/// and what the toolchain's code calls in the build.
fn all_around(rooted: &Rooted) -> BTreeSet<u32> {
    let graph = &rooted.graph;
    let mut found: BTreeSet<u32> = rooted.starting.iter().chain(&rooted.exported).copied().collect();
    for (number, _) in graph.nodes.iter().enumerate().filter(|(_, node)| node.toolchain) {
        let edges = graph.edges_of(number as u32).iter();
        found.extend(edges.filter_map(|edge| match edge.target {
            To::Node(to) if !graph.nodes[to as usize].toolchain => Some(to),
            _ => None,
        }));
    }
    found
}

/// The graph's edges backwards, except those out of what is not looked into.
struct Spread {
    own: Vec<Effects>,
    /// By node, where its edges begin in `from`; one more at the end.
    starts: Vec<u32>,
    from: Vec<u32>,
}

impl Spread {
    fn new(graph: &Graph) -> Self {
        let opaque: Vec<bool> = graph.nodes.iter().map(is_opaque).collect();
        let looked_into = || (0..graph.nodes.len() as u32).filter(|node| !opaque[*node as usize]);
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
        let mut from = vec![0; *starts.last().expect("there is one more") as usize];
        for node in looked_into() {
            for to in led(node) {
                from[next[to] as usize] = node;
                next[to] += 1;
            }
        }
        let own = |node: usize| match opaque[node] {
            true => None,
            false => Some(own_effects(graph, node)),
        };
        Self {
            own: (0..graph.nodes.len())
                .map(|node| own(node).unwrap_or(Effects::NONE))
                .collect(),
            starts,
            from,
        }
    }

    /// Which nodes reach one that has an effect.
    fn back(&self, has: impl Fn(&Effects) -> bool) -> Vec<bool> {
        let mut reaches: Vec<bool> = self.own.iter().map(has).collect();
        let mut open: Vec<u32> = (0..)
            .zip(&reaches)
            .filter(|(_, has)| **has)
            .map(|(node, _)| node)
            .collect();
        while let Some(node) = open.pop() {
            let range = self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize;
            for from in &self.from[range] {
                if !std::mem::replace(&mut reaches[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        reaches
    }
}

/// The path of a function of the toolchain; of a method that of its type.
fn toolchain_path(node: &GraphNode) -> Option<String> {
    node.toolchain
        .then(|| shown(&node.name).trim_start_matches(['<', '&']).to_owned())
}

fn is_opaque(node: &GraphNode) -> bool {
    // Most names are told apart without the work of demangling them.
    let perhaps = || {
        ["panicking", "random", "alloc"]
            .iter()
            .any(|word| node.name.contains(word))
    };
    node.toolchain && perhaps() && toolchain_path(node).is_some_and(|path| imports::is_opaque(&path))
}

/// What a node does itself.
fn own_effects(graph: &Graph, number: usize) -> Effects {
    let node = &graph.nodes[number];
    let mut effects = Effects {
        opens: node.marks.contains(Marks::KERNEL),
        sees_version: node.marks.contains(Marks::KERNEL) || node.marks.contains(Marks::VERSION),
    };
    let mut path = None;
    for edge in graph.edges_of(number as u32) {
        let To::Leaf(leaf) = edge.target else { continue };
        match graph.leaf_kinds[leaf as usize] {
            LeafKind::Own(marks) => effects.sees_version |= marks.contains(Marks::VERSION),
            LeafKind::Import => {
                let name = graph.leaf_names[leaf as usize].as_str();
                let path = path.get_or_insert_with(|| toolchain_path(node)).as_deref();
                effects.opens |= !imports::is_harmless(name, path);
                effects.sees_version |= imports::gives_environment(name, path);
            }
        }
    }
    effects
}
