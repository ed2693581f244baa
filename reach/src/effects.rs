//! What a case's own reach can ask of the operating system, apart from what `main` does for every case.
//!
//! # Method
//!
//! A process asks the system for something in two ways: it calls a function of a dynamic library, or it executes an instruction
//! that enters the kernel. The first is an import that a node refers to, the second are bytes of a node that can
//! be executed ([`crate::marks`], which decodes what rustc has compiled). From every node that does so, edges are followed backwards: whatever is met there can do
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

use crate::backwards::Backwards;
use crate::constructors::Constructors;
use crate::graph::{Graph, GraphNode, LeafKind, Rooted, To};
use crate::imports;
use crate::marks::Marks;
use crate::name::toolchain_path;

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

/// The effects of each case, in a binary that is loaded with known libraries only. `reached` says which nodes anything reaches.
pub(crate) fn of_cases(rooted: &Rooted<'_>, constructors: &Constructors, reached: &[bool]) -> Vec<Effects> {
    let graph = &rooted.graph;
    let spread = Spread::new(graph, reached);
    let (opens, sees) = (
        spread.back(|effects| effects.opens),
        spread.back(|effects| effects.sees_version),
    );
    let of = |node: u32| Effects {
        opens: opens[node as usize],
        sees_version: sees[node as usize],
    };
    let starting: BTreeSet<u32> = rooted
        .starting
        .iter()
        .chain(&rooted.constructors)
        .copied()
        .collect();
    let around = |node: &u32| {
        // It may be handed the environment's address, as C libraries do with what is in `.init_array`.
        let is_handed = starting.contains(node) && !graph.nodes[*node as usize].toolchain;
        Effects {
            sees_version: is_handed,
            ..Effects::NONE
        }
        .or(of(*node))
    };
    let all = all_around(rooted, constructors, reached);
    let all = all.iter().map(around).fold(Effects::NONE, Effects::or);
    let cases = rooted.cases.iter().zip(&constructors.joined);
    cases
        .map(|(case, joined)| joined.iter().map(around).fold(of(*case).or(all), Effects::or))
        .collect()
}

/// What is executed for every case but is neither its own nor libtest's: start-up code, what others may call by name,
/// and what the toolchain's code calls in the build.
fn all_around(rooted: &Rooted<'_>, constructors: &Constructors, reached: &[bool]) -> BTreeSet<u32> {
    let graph = &rooted.graph;
    let start = rooted.starting.iter().chain(&rooted.constructors);
    let start = start.filter(|node| !constructors.apart.contains(node));
    let mut found: BTreeSet<u32> = start.chain(&rooted.exported).copied().collect();
    let nodes = graph.nodes.iter().zip(reached).enumerate();
    for (number, _) in nodes.filter(|(_, (node, reached))| **reached && node.toolchain) {
        let edges = graph.edges_of(number as u32).iter();
        found.extend(edges.filter_map(|edge| match edge.target {
            To::Node(to) if !graph.nodes[to as usize].toolchain => Some(to),
            _ => None,
        }));
    }
    found
}

/// Which nodes reach one that has an effect, without looking into what is opaque.
struct Spread {
    own: Vec<Effects>,
    backwards: Backwards,
}

impl Spread {
    fn new(graph: &Graph<'_>, reached: &[bool]) -> Self {
        let nodes = graph.nodes.iter().zip(reached);
        let opaque: Vec<bool> = nodes.map(|(node, reached)| !reached || is_opaque(node)).collect();
        let leaves = graph.leaf_kinds.iter().zip(&graph.leaf_names);
        let leaves: Vec<Leaf> = leaves.map(|(kind, name)| leaf(*kind, name)).collect();
        let own = |(node, opaque): (usize, &bool)| match opaque {
            true => Effects::NONE,
            false => own_effects(graph, node, &leaves),
        };
        Self {
            own: opaque.iter().enumerate().map(own).collect(),
            backwards: Backwards::new(graph, |node| opaque[node as usize]),
        }
    }

    fn back(&self, has: impl Fn(&Effects) -> bool) -> Vec<bool> {
        self.backwards.reach(self.own.iter().map(has).collect())
    }
}

fn is_opaque(node: &GraphNode<'_>) -> bool {
    // Most names are told apart without the work of demangling them.
    let perhaps = || imports::may_be_opaque(&node.name);
    node.toolchain && perhaps() && toolchain_path(node).is_some_and(|path| imports::is_opaque(&path))
}

/// What a leaf is for those who refer to it.
struct Leaf {
    effects: Effects,
    is_import: bool,
}

fn leaf(kind: LeafKind, name: &str) -> Leaf {
    let effects = match kind {
        LeafKind::Own(marks) => Effects {
            opens: false,
            sees_version: marks.contains(Marks::VERSION),
        },
        LeafKind::Import => {
            let import = imports::by_name(name);
            Effects {
                opens: !import.is_harmless,
                sees_version: import.gives_environment,
            }
        }
    };
    Leaf {
        effects,
        is_import: kind == LeafKind::Import,
    }
}

/// What a node does itself.
fn own_effects(graph: &Graph<'_>, number: usize, leaves: &[Leaf]) -> Effects {
    let node = &graph.nodes[number];
    let mut effects = Effects {
        opens: node.marks.contains(Marks::KERNEL),
        sees_version: node.marks.contains(Marks::KERNEL) || node.marks.contains(Marks::VERSION),
    };
    let mut path = None;
    for edge in graph.edges_of(number as u32) {
        let To::Leaf(number) = edge.target else { continue };
        let leaf = &leaves[number as usize];
        // Most leaves have no effect, and a path has to be made of a mangled name.
        if leaf.effects == Effects::NONE {
            continue;
        }
        let path = path.get_or_insert_with(|| toolchain_path(node)).as_deref();
        let import = Some(&graph.leaf_names[number as usize]).filter(|_| leaf.is_import);
        let is_known = import
            .zip(path)
            .is_some_and(|(import, path)| imports::is_known(import, path));
        if !is_known {
            effects = effects.or(leaf.effects);
        }
    }
    effects
}
