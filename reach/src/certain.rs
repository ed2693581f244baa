//! Whether the graph is what the linker has made, as far as that is known. Where it is not, the binary counts whole.
//!
//! Names are led to definitions as linkers do it ([`crate::resolve`]). What linkers do differently, and what is not found at all, is refused
//! here rather than modelled.

use crate::arguments::Link;
use crate::condense::Hashes;
use crate::graph::{self, LeafKind, Rooted, To};
use crate::image;
use crate::inputs::Part;
use crate::resolve::Resolution;
use crate::unit::{Node, Role};

/// Checks that the linker cannot have chosen otherwise.
pub(crate) fn chosen(link: &Link, parts: &[Part], resolution: &Resolution<'_>) -> Result<(), String> {
    if let Some(name) = resolution.ambiguous {
        return Err(format!(
            "{name} is defined several times, and none is sure to count"
        ));
    }
    if link.by_lld() {
        return Ok(());
    }
    if let Some(name) = resolution.offered_again {
        return Err(format!(
            "{name} is in several archives, and the linker is not known to take the first"
        ));
    }
    let taken = resolution.taken.iter().map(|index| &parts[*index as usize]);
    let from_archives = taken.filter(|part| !part.always && !part.toolchain);
    let is_ordered =
        |node: &&Node| node.listed.is_some() || matches!(node.role, Role::Constructor | Role::Start);
    let mut ordered = from_archives.filter(|part| part.unit.nodes.iter().any(|node| is_ordered(&node)));
    match (ordered.next(), ordered.next()) {
        (Some(_), Some(part)) => Err(format!(
            "{} and another archive have constructors, and the order in which the linker takes them is not known",
            part.name
        )),
        _ => Ok(()),
    }
}

/// What the C library's and the C compiler's static parts define, which are linked without being named.
const PLATFORM: &[&str] = &[
    "__dso_handle",
    "__TMC_END__",
    "atexit",
    "at_quick_exit",
    "pthread_atfork",
    "__stack_chk_fail_local",
    "stat",
    "lstat",
    "fstat",
    "fstatat",
    "stat64",
    "lstat64",
    "fstat64",
    "fstatat64",
    "mknod",
    "mknodat",
];

/// Checks that all names that are reached and defined nowhere are looked for in dynamic libraries: else they are somewhere
/// that was not seen.
pub(crate) fn defined(
    rooted: &Rooted<'_>,
    hashes: &Hashes,
    resolution: &Resolution<'_>,
    names: &image::Names,
) -> Result<(), String> {
    if names.needed.is_empty() {
        return Ok(());
    }
    let graph = &rooted.graph;
    let reached = graph
        .nodes
        .iter()
        .zip(&hashes.reached)
        .filter(|(_, reached)| **reached);
    let edges = reached.flat_map(|(node, _)| graph.edges_in(&node.edges));
    let mut met = vec![false; graph.leaves.len()];
    for edge in edges {
        if let To::Leaf(leaf) = edge.target {
            met[leaf as usize] = true;
        }
    }
    let all = met.iter().zip(&graph.leaf_kinds).zip(&graph.leaf_names);
    let mut external = all
        .filter(|((met, kind), _)| **met && **kind == LeafKind::Import)
        .map(|(_, name)| name.as_str());
    let is_known = |name: &str| {
        names.imports.contains(name) || PLATFORM.contains(&name) || graph::is_made_by_linker(name)
    };
    match external.find(|name| !is_known(name) && resolution.is_missing(name)) {
        Some(name) => Err(format!(
            "{name} is defined neither in what was linked nor in a dynamic library"
        )),
        None => Ok(()),
    }
}
