//! Whether the graph is what the linker has made, as far as its inputs tell. Where it is not certain, the binary counts whole. On x86-64 it is compared
//! besides ([`crate::compare`]).
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
    let is_ordered = |node: &&Node| {
        node.listed.is_some()
            || matches!(
                node.role,
                Role::Constructor(_) | Role::Destructor(_) | Role::Start
            )
    };
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
pub(crate) const PLATFORM: &[&str] = &[
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

#[cfg(test)]
mod tests {
    use foldhash::{HashSet, HashSetExt};
    use thresh_core::digest::Digest;

    use super::*;
    use crate::marks::Marks;
    use crate::texts::Texts;
    use crate::unit::{Definition, Reference, Target, Unit};

    fn node(content: &[u8], role: Role) -> Node {
        Node {
            name: 0,
            content: Digest::of(content),
            marks: Marks::default(),
            masked: None,
            edges: 0..0,
            role,
            label: None,
            listed: None,
            retained: false,
            form: 0,
        }
    }

    /// An object that defines `f`, or refers to it if it has no content.
    fn part(file: &str, content: Option<&[u8]>, always: bool, weak: bool) -> Part {
        let mut unit = Unit::default();
        unit.names.add("f");
        match content {
            Some(content) => {
                unit.nodes.push(node(content, Role::Plain));
                unit.definitions.push(Definition {
                    name: 0,
                    target: Target::Node(0),
                    value: 0,
                    kind: 0,
                    weak,
                    tentative: false,
                });
            }
            None => unit.references.push(Reference { name: 0, weak: false }),
        }
        Part {
            unit,
            name: file.to_owned(),
            always,
            toolchain: false,
            path: None,
        }
    }

    fn check(flag: &str, parts: &[Part]) -> Result<(), String> {
        let link = Link {
            flags: vec![flag.to_owned()],
            ..Link::default()
        };
        let imports = HashSet::new();
        chosen(&link, parts, &Resolution::new(parts, &[], &imports))
    }

    const LLD: &str = "-fuse-ld=lld";
    const BFD: &str = "-fuse-ld=bfd";

    #[test]
    fn several_weak_definitions_are_certain_if_they_are_alike() {
        let weak = |content: &'static [u8]| part("x.o", Some(content), true, true);
        assert_eq!(check(LLD, &[weak(b"1"), weak(b"1")]), Ok(()));
        let why = check(LLD, &[weak(b"1"), weak(b"2")]);
        assert!(why.is_err_and(|why| why.contains("defined several times")));
    }

    #[test]
    fn a_name_in_two_archives_is_certain_with_lld_only() {
        let parts = || {
            [
                part("root.o", None, true, false),
                part("a.a(x.o)", Some(b"1"), false, false),
                part("b.a(x.o)", Some(b"2"), false, false),
            ]
        };
        assert_eq!(
            check(BFD, &parts()),
            Ok(()),
            "the first has what is needed by then"
        );
        let [root, one, other] = parts();
        let late = [one, other, root];
        assert_eq!(check(LLD, &late), Ok(()));
        assert!(check(BFD, &late).is_err_and(|why| why.contains("several archives")));
    }

    #[test]
    fn constructors_of_one_archive_are_certain() {
        let with = |file: &str, always| {
            let mut part = part(file, Some(b"1"), always, false);
            part.unit.nodes.push(node(b"2", Role::Constructor(u16::MAX)));
            part
        };
        let root = || part("root.o", None, true, false);
        assert_eq!(check(BFD, &[with("a.o", true), with("b.o", true)]), Ok(()));
        assert_eq!(check(BFD, &[root(), with("a.a(x.o)", false)]), Ok(()));
        let mut other = with("b.a(y.o)", false);
        other.unit.names = Texts::default();
        other.unit.names.add("g");
        let mut needs_both = root();
        needs_both.unit.names.add("g");
        needs_both
            .unit
            .references
            .push(Reference { name: 1, weak: false });
        let parts = [needs_both, with("a.a(x.o)", false), other];
        assert_eq!(check(LLD, &parts), Ok(()));
        assert!(check(BFD, &parts).is_err_and(|why| why.contains("constructors")));
    }
}
