//! The graph of a whole link: the nodes of all objects that are taken, edges led to where names are defined.

use std::borrow::Cow;

use foldhash::HashMap;
use thresh_core::digest::Digest;

use crate::marks::Marks;
use crate::pieces::Known;

/// The graph. Nodes are numbered through all parts; leaves are numbered apart.
#[derive(Debug, Default)]
pub(crate) struct Graph<'p> {
    pub(crate) nodes: Vec<GraphNode<'p>>,
    /// All edges, those of one node together.
    pub(crate) edges: Vec<GraphEdge>,
    pub(crate) leaves: Vec<Digest>,
    pub(crate) leaf_names: Vec<String>,
    pub(crate) leaf_kinds: Vec<LeafKind>,
    /// What is known of each; nothing of an import.
    pub(crate) leaves_known: Vec<Option<Known>>,
    pub(crate) leaf_index: HashMap<Digest, u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct GraphNode<'p> {
    pub(crate) name: Cow<'p, str>,
    /// The content with the label, if there is one.
    pub(crate) content: Digest,
    pub(crate) masked: Option<Digest>,
    /// Where this node's edges are in [`Graph::edges`].
    pub(crate) edges: std::ops::Range<u32>,
    pub(crate) marks: Marks,
    /// Comes with the Rust toolchain.
    pub(crate) toolchain: bool,
    /// Reads the lines of panic locations, outside of the toolchain's own code.
    pub(crate) observes: bool,
}

/// What a leaf is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafKind {
    /// A function or variable that a dynamic library has, by its name.
    Import,
    /// Bytes of the binary, or an address.
    Own(Marks),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct GraphEdge {
    pub(crate) target: To,
    pub(crate) value: u64,
    pub(crate) kind: u8,
}

/// Where an edge leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum To {
    Node(u32),
    Leaf(u32),
}

/// A graph and where its roots are.
#[derive(Debug, Default)]
pub(crate) struct Rooted<'p> {
    pub(crate) graph: Graph<'p>,
    /// What every process executes or reads, in the linker's order.
    pub(crate) common: Vec<u32>,
    /// Those of `common` that are called before `main`.
    pub(crate) constructors: Vec<u32>,
    /// Those of `common` besides that are executed, or read, at the start or the end of every process.
    pub(crate) starting: Vec<u32>,
    /// Those of `common` that are reached from outside of the binary.
    pub(crate) exported: Vec<u32>,
    /// The names by which others find them and what else is exported, and what each leads to: nothing if the linker has made it.
    pub(crate) exports: Vec<(String, Option<GraphEdge>)>,
    /// What is kept, in no order.
    pub(crate) kept: Vec<u32>,
    /// By case, the node of its descriptor.
    pub(crate) cases: Vec<u32>,
    /// The first node of each part that is taken, and the part.
    pub(crate) bases: Vec<(u32, u32)>,
    /// Nodes that stand for a list of which all members are in the binary.
    pub(crate) lists: Vec<u32>,
}

/// Why a link's graph says nothing of single cases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GraphError {
    #[error("it has more sections than can be numbered")]
    TooLarge,
    #[error("the descriptors of its cases are referred to from elsewhere")]
    DescriptorsUsed,
    #[error("{0} refers to what its object file does not have")]
    Broken(String),
}

/// Names that the linker defines and that tell where parts of the binary lie. Who uses one can read everything.
pub(crate) const IMAGE: &[&str] = &[
    "__executable_start",
    "__ehdr_start",
    "etext",
    "_etext",
    "__etext",
    "edata",
    "_edata",
    "end",
    "_end",
    "__bss_start",
    "__data_start",
    "data_start",
    "__eh_frame_start",
    "__eh_frame_end",
    "__eh_frame_hdr_start",
    "__GNU_EH_FRAME_HDR",
    "__preinit_array_start",
    "__preinit_array_end",
    "__init_array_start",
    "__init_array_end",
    "__fini_array_start",
    "__fini_array_end",
    "__rela_iplt_start",
    "__rela_iplt_end",
    "_DYNAMIC",
    "_GLOBAL_OFFSET_TABLE_",
];

/// Functions by which code is found that is not in the binary: it may look at what it is given, lines of panics too.
pub(crate) const LOADERS: &[&str] = &["dlopen", "dlmopen", "dlsym", "dlvsym"];

/// Whether the linker itself defines a name, if nobody else does.
pub(crate) fn is_made_by_linker(name: &str) -> bool {
    IMAGE.contains(&name) || name.starts_with("__start_") || name.starts_with("__stop_")
}

/// Names that start a program. `main` is called by the C library's start-up code.
pub(crate) const ENTRIES: &[&str] = &["main", "_start", "_init", "_fini"];
