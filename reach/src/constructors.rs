//! Which constructors count for which cases.
//!
//! A constructor is what the loader calls from `.init_array` before `main`: a registry (`inventory`, `ctor`) has one that joins
//! an entry to a list. Without more it counts for every case, and with it all that its entry can reach.
//!
//! # Method
//!
//! A constructor is *quiet* if what it reaches imports nothing but what computes or allocates, and has no instruction that
//! enters the kernel or changes the processor's state (how numbers are rounded: threads inherit it). Two quiet ones that
//! reach the same memory that can be written to are of one *group*, and so on.
//! A group that shares no such memory with what `main`, libtest or the other constructors reach is *apart*: it is left out of
//! what is common. It counts for the cases that reach some of its memory, and for those that reach such a case's other
//! groups.
//!
//! # Why it is sound
//!
//! A quiet constructor has no effect but on memory ([`crate::instructions`] says what else a processor keeps), and it can
//! write only where an address leads it: to its own stack, to what it
//! allocates, and to what it reaches of the binary (whatever else a pointer in there may lead to, one of the same group or
//! of those that are not apart put it there). A process that reaches none of the memory of a group executes the same with and without
//! it, if the group comes to its end. That it does is known: it has no inputs (but the process's arguments, which it is assumed not
//! to look at), and the binary was started to list its cases before any of its keys is used.
//!
//! A constructor that panics does not come to its end, as nothing catches a panic before `main`. So what a panic executes is not
//! looked into, unless the constructor reaches what catches one.
//!
//! Memory is told by section: two entries in one section of an object are one. What can be written only while the program is
//! loaded (`.data.rel.ro`) is constant.
//!
//! # Deliberately absent
//!
//! `.fini_array` and its kin, which run after the case: they count for all. Which of what a constructor reaches it executes: if one of a
//! registry's entries could print or open a file, it counts for all.

use std::collections::{BTreeMap, BTreeSet};

use crate::backwards::Backwards;
use crate::graph::{Graph, GraphNode, LeafKind, Rooted, To};
use crate::imports;
use crate::marks::Marks;
use crate::name::toolchain_path;

/// More groups than this are not told apart: each costs a walk through the graph.
const GROUPS_MAX: usize = 64;

/// Which constructors count for whom.
#[derive(Debug)]
pub(crate) struct Constructors {
    /// Those that are not common to all cases.
    pub(crate) apart: BTreeSet<u32>,
    /// By case those of them that count for it, in the linker's order.
    pub(crate) joined: Vec<Vec<u32>>,
}

/// Constructors with the memory that they can write to.
struct Group {
    members: BTreeSet<u32>,
    memory: BTreeSet<To>,
}

impl Constructors {
    /// Tells them apart.
    pub(crate) fn of(rooted: &Rooted<'_>) -> Self {
        let graph = &rooted.graph;
        // The toolchain's own is for `main`.
        let own = rooted
            .constructors
            .iter()
            .filter(|node| !graph.nodes[**node as usize].toolchain);
        let quiet = own.filter_map(|node| {
            let memory = quiet_memory(graph, *node)?;
            let members = [*node].into();
            Some(Group { members, memory })
        });
        let groups = grouped(quiet.collect());
        if groups.is_empty() || groups.len() > GROUPS_MAX || rooted.cases.is_empty() {
            return Self::all_common(rooted);
        }
        let backwards = Backwards::new(graph, |_| false);
        // By group, which nodes reach its memory.
        let reach: Vec<Vec<bool>> = groups
            .iter()
            .map(|group| backwards.reach(holders(graph, &group.memory)))
            .collect();
        let apart = apart(rooted, &groups, &reach);
        let joined = rooted.cases.iter().map(|case| {
            let start = BTreeSet::from([*case]);
            let groups_of_case = closure(&groups, &reach, start, &apart);
            let members = groups_of_case
                .into_iter()
                .flat_map(|group| &groups[group].members);
            let members: BTreeSet<u32> = members.copied().collect();
            let in_order = rooted.common.iter().filter(|node| members.contains(node));
            in_order.copied().collect()
        });
        Self {
            joined: joined.collect(),
            apart: apart
                .iter()
                .flat_map(|group| &groups[*group].members)
                .copied()
                .collect(),
        }
    }

    /// All count for all.
    fn all_common(rooted: &Rooted<'_>) -> Self {
        Self {
            apart: BTreeSet::new(),
            joined: vec![Vec::new(); rooted.cases.len()],
        }
    }
}

/// The groups that share no memory with what is common to all cases.
fn apart(rooted: &Rooted<'_>, groups: &[Group], reach: &[Vec<bool>]) -> BTreeSet<usize> {
    let members: BTreeSet<u32> = groups.iter().flat_map(|group| &group.members).copied().collect();
    let others = rooted.common.iter().chain(&rooted.kept);
    let others: BTreeSet<u32> = others.filter(|node| !members.contains(node)).copied().collect();
    let all: BTreeSet<usize> = (0..groups.len()).collect();
    let common = closure(groups, reach, others, &all);
    all.difference(&common).copied().collect()
}

/// Which of some groups are joined by what `nodes` reach, and by what joined ones reach in turn.
fn closure(
    groups: &[Group],
    reach: &[Vec<bool>],
    mut nodes: BTreeSet<u32>,
    of: &BTreeSet<usize>,
) -> BTreeSet<usize> {
    let mut joined = BTreeSet::new();
    loop {
        let reached = |group: &usize| nodes.iter().any(|node| reach[*group][*node as usize]);
        let new: Vec<usize> = of.difference(&joined).copied().filter(reached).collect();
        if new.is_empty() {
            return joined;
        }
        for group in new {
            nodes.extend(&groups[group].members);
            joined.insert(group);
        }
    }
}

/// Joins groups that share memory.
fn grouped(single: Vec<Group>) -> Vec<Group> {
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    let mut group_of: BTreeMap<To, usize> = BTreeMap::new();
    for (number, mut group) in single.into_iter().enumerate() {
        let shared: BTreeSet<usize> = group
            .memory
            .iter()
            .filter_map(|place| group_of.get(place))
            .copied()
            .collect();
        for other in shared {
            let other = groups.remove(&other).expect("it has memory");
            group.members.extend(other.members);
            group.memory.extend(other.memory);
        }
        group_of.extend(group.memory.iter().map(|place| (*place, number)));
        groups.insert(number, group);
    }
    groups.into_values().collect()
}

/// The nodes that are, or refer to, one of these places.
fn holders(graph: &Graph<'_>, memory: &BTreeSet<To>) -> Vec<bool> {
    let mut holders = vec![false; graph.nodes.len()];
    for (number, holds) in holders.iter_mut().enumerate() {
        let refers = |edge: &crate::graph::GraphEdge| {
            matches!(edge.target, To::Leaf(_)) && memory.contains(&edge.target)
        };
        *holds =
            memory.contains(&To::Node(number as u32)) || graph.edges_of(number as u32).iter().any(refers);
    }
    holders
}

/// All memory that a constructor can write to; none if it may do anything else than to write there.
fn quiet_memory(graph: &Graph<'_>, constructor: u32) -> Option<BTreeSet<To>> {
    let mut memory = BTreeSet::new();
    let mut met = BTreeSet::from([constructor]);
    let mut open = vec![constructor];
    while let Some(number) = open.pop() {
        let node = &graph.nodes[number as usize];
        match kind(node) {
            Kind::Catches => return None,
            Kind::Panics => continue,
            Kind::Plain => {}
        }
        if node.marks.contains(Marks::KERNEL) || node.marks.contains(Marks::STATE) {
            return None;
        }
        // What the unwinder finds a personality by is written by the loader alone.
        if node.marks.contains(Marks::WRITTEN) && !node.name.starts_with("DW.ref.") {
            memory.insert(To::Node(number));
        }
        for edge in graph.edges_of(number) {
            match edge.target {
                To::Node(to) if met.insert(to) => open.push(to),
                To::Node(_) => {}
                To::Leaf(leaf) => match graph.leaf_kinds[leaf as usize] {
                    LeafKind::Own(marks) if marks.contains(Marks::WRITTEN) => {
                        memory.insert(edge.target);
                    }
                    LeafKind::Own(_) => {}
                    LeafKind::Import if imports::only_computes(&graph.leaf_names[leaf as usize]) => {}
                    LeafKind::Import => return None,
                },
            }
        }
    }
    Some(memory)
}

/// What a function has to do with panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// It is executed when there is a panic, or no memory left, and never returns to who called it.
    Panics,
    Catches,
}

fn kind(node: &GraphNode<'_>) -> Kind {
    // Those that catch are made for each use, in any crate.
    if ["catch_unwind", "9panicking3try", "__rust_try"]
        .iter()
        .any(|word| node.name.contains(word))
    {
        return Kind::Catches;
    }
    let perhaps = || {
        ["panicking", "handle_alloc_error", "personality"]
            .iter()
            .any(|word| node.name.contains(word))
    };
    let path = Some(node).filter(|_| perhaps()).and_then(toolchain_path);
    let panics = path.is_some_and(|path| {
        path.starts_with("core::panicking::")
            || path == "alloc::alloc::handle_alloc_error"
            || path == "rust_eh_personality"
    });
    if panics { Kind::Panics } else { Kind::Plain }
}
