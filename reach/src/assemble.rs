//! The graph of a link put together from its objects: nodes numbered through all of them, names led to definitions.

use std::borrow::Cow;
use std::collections::BTreeMap;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use thresh_core::digest::{Digest, FieldHasher};

use crate::graph::{ENTRIES, Graph, GraphEdge, GraphError, GraphNode, IMAGE, LOADERS, LeafKind, Rooted, To};
use crate::harness::Harness;
use crate::inputs::Part;
use crate::location;
use crate::marks::Marks;
use crate::pieces::Known;
use crate::resolve::{Found, Resolution};
use crate::unit::{Role, Target};

/// Makes the graph. `image` is the digest of what is loaded of the linked binary, `roots` are names that are reached from outside.
pub(crate) fn build<'p>(
    parts: &'p [Part],
    resolution: &'p Resolution<'p>,
    harness: Option<(u32, &Harness)>,
    image: Digest,
    roots: &[String],
) -> Result<Rooted<'p>, GraphError> {
    let mut builder = Builder::new(parts, resolution, image)?;
    let labels = builder.labels();
    let units = || resolution.taken.iter().map(|index| &parts[*index as usize].unit);
    builder
        .graph
        .nodes
        .reserve(units().map(|unit| unit.nodes.len()).sum());
    builder
        .graph
        .edges
        .reserve(units().map(|unit| unit.edges.len()).sum());
    for index in &resolution.taken {
        builder.part(*index, harness, &labels)?;
    }
    let lists = builder.lists();
    let exports = builder.exports(roots)?;
    let mut rooted = builder.roots(roots);
    rooted.lists = lists;
    rooted.exports = exports;
    rooted.bases = resolution
        .taken
        .iter()
        .map(|part| (builder.base[part], *part))
        .collect();
    rooted.graph = builder.graph;
    if let Some((part, harness)) = harness {
        let base = builder.base[&part];
        rooted.cases = harness.cases.iter().map(|case| base + case.descriptor).collect();
        let cut = harness.array.into_iter().map(|array| base + array);
        alone(&rooted, cut.chain(rooted.cases.iter().copied()).collect())?;
    }
    Ok(rooted)
}

/// Checks that nothing refers to the array of cases, or to a case's descriptor, once the array is cut off.
fn alone(rooted: &Rooted<'_>, cut: std::collections::BTreeSet<u32>) -> Result<(), GraphError> {
    let led = |edge: &GraphEdge| matches!(edge.target, To::Node(node) if cut.contains(&node));
    if rooted.graph.edges.iter().any(led) {
        return Err(GraphError::DescriptorsUsed);
    }
    Ok(())
}

/// What a name stands for in one object.
#[derive(Clone, Copy)]
struct Named {
    edge: GraphEdge,
    /// Who refers to it reads the lines of panic locations.
    observes: bool,
}

struct Builder<'p> {
    parts: &'p [Part],
    resolution: &'p Resolution<'p>,
    graph: Graph<'p>,
    /// The number of the first node of a part.
    base: HashMap<u32, u32>,
    /// The nodes of sections that `__start_` and `__stop_` symbols stand for.
    listed: BTreeMap<&'p str, Vec<u32>>,
    /// The node that stands for all of these.
    list_nodes: BTreeMap<&'p str, u32>,
    /// Nodes of such sections that the linker keeps only if something refers to them besides.
    loose: HashSet<u32>,
    image: Digest,
    total: u32,
}

impl<'p> Builder<'p> {
    fn new(parts: &'p [Part], resolution: &'p Resolution<'p>, image: Digest) -> Result<Self, GraphError> {
        let mut base = HashMap::new();
        let mut listed: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        let mut loose = HashSet::new();
        let mut total = 0u32;
        for index in &resolution.taken {
            base.insert(*index, total);
            let unit = &parts[*index as usize].unit;
            for (number, node) in unit.nodes.iter().enumerate() {
                if let Some(name) = node.listed
                    && !resolution.is_dropped(*index, number as u32)
                {
                    let name = &unit.texts[name];
                    listed.entry(name).or_default().push(total + number as u32);
                    if !node.retained {
                        loose.insert(total + number as u32);
                    }
                }
            }
            let count = u32::try_from(unit.nodes.len()).map_err(|_| GraphError::TooLarge)?;
            total = total.checked_add(count).ok_or(GraphError::TooLarge)?;
        }
        let numbered = listed.keys().zip(total..).map(|(name, node)| (*name, node));
        let list_nodes = numbered.collect();
        Ok(Self {
            parts,
            resolution,
            graph: Graph::default(),
            base,
            listed,
            list_nodes,
            loose,
            image,
            total,
        })
    }

    /// The label of each node that has one: its name without hashes, and which one it is of those that share the name.
    /// Labels of one link are all different, which is all that soundness asks of them; that they are the same in the
    /// next link is only what reuse asks.
    fn labels(&self) -> HashMap<u32, Digest> {
        let mut bearers: HashMap<&str, Vec<(Digest, u32)>> = HashMap::new();
        for index in &self.resolution.taken {
            let unit = &self.parts[*index as usize].unit;
            let base = self.base[index];
            for (number, node) in unit.nodes.iter().enumerate() {
                if let Some(label) = node.label
                    && !self.resolution.is_dropped(*index, number as u32)
                {
                    let bearer = (node.content, base + number as u32);
                    bearers.entry(&unit.texts[label]).or_default().push(bearer);
                }
            }
        }
        let mut labels = HashMap::new();
        for (name, mut bearers) in bearers {
            bearers.sort_unstable();
            for (number, (_, node)) in bearers.into_iter().enumerate() {
                labels.insert(node, label(&["label", name, &number.to_string()]));
            }
        }
        labels
    }

    fn part(
        &mut self,
        index: u32,
        harness: Option<(u32, &Harness)>,
        labels: &HashMap<u32, Digest>,
    ) -> Result<(), GraphError> {
        let part = &self.parts[index as usize];
        let base = self.base[&index];
        let harness = harness
            .filter(|(part, _)| *part == index)
            .map(|(_, harness)| harness);
        // Most names are referred to many times, and finding what a name stands for is most of the work.
        let mut known: Vec<Option<Named>> = vec![None; part.unit.names.len()];
        for (number, node) in part.unit.nodes.iter().enumerate() {
            let start = self.graph.edges.len() as u32;
            let cut = harness.and_then(|harness| harness.cut(number as u32));
            let name = &part.unit.names[node.name];
            let mut observes = !part.toolchain && location::observes(name);
            for (place, edge) in part.unit.edges_of(node).iter().enumerate() {
                if cut.is_some_and(|cut| !cut.keeps(place)) {
                    continue;
                }
                let edge = match edge.target {
                    Target::Name(name) => {
                        let known = known.get_mut(name as usize).ok_or_else(|| self.broken(index))?;
                        let named = match *known {
                            Some(named) => named,
                            None => *known.insert(self.named(index, name)?),
                        };
                        observes |= named.observes;
                        GraphEdge {
                            value: named.edge.value.wrapping_add(edge.value),
                            ..named.edge
                        }
                    }
                    target => GraphEdge {
                        target: self.local(index, target)?,
                        value: edge.value,
                        kind: edge.kind,
                    },
                };
                self.graph.edges.push(edge);
            }
            let id = base + number as u32;
            let content = cut.map_or(node.content, |cut| cut.content);
            let content = match labels.get(&id) {
                Some(label) => labelled(content, label),
                None => content,
            };
            if self.graph.edges.len() > u32::MAX as usize {
                return Err(GraphError::TooLarge);
            }
            self.graph.nodes.push(GraphNode {
                name: Cow::Borrowed(name),
                content,
                masked: node.masked,
                marks: node.marks,
                toolchain: part.toolchain,
                edges: start..self.graph.edges.len() as u32,
                observes,
            });
        }
        Ok(())
    }

    fn local(&mut self, part: u32, target: Target) -> Result<To, GraphError> {
        let unit = &self.parts[part as usize].unit;
        match target {
            Target::Node(node) if (node as usize) < unit.nodes.len() => Ok(To::Node(self.base[&part] + node)),
            Target::Leaf(leaf) => {
                let leaf = unit.leaves.get(leaf as usize).ok_or_else(|| self.broken(part))?;
                Ok(self.leaf(
                    leaf.digest,
                    LeafKind::Own(leaf.marks),
                    &unit.texts[leaf.shown],
                    Some(leaf.known),
                ))
            }
            _ => Err(self.broken(part)),
        }
    }

    fn broken(&self, part: u32) -> GraphError {
        GraphError::Broken(self.parts[part as usize].name.clone())
    }

    /// What a name of a part stands for.
    fn named(&mut self, index: u32, number: u32) -> Result<Named, GraphError> {
        let part = &self.parts[index as usize];
        let name = &part.unit.names[number];
        Ok(Named {
            edge: self.by_name(name, self.resolution.find_in(index, number))?,
            observes: !part.toolchain && (location::observes(name) || LOADERS.contains(&name)),
        })
    }

    fn by_name(&mut self, name: &str, found: Option<Found>) -> Result<GraphEdge, GraphError> {
        if let Some(found) = found {
            let definition = self.parts[found.part as usize].unit.definitions[found.definition as usize];
            return Ok(GraphEdge {
                target: self.local(found.part, definition.target)?,
                value: definition.value,
                kind: definition.kind,
            });
        }
        let target = match name
            .strip_prefix("__start_")
            .or_else(|| name.strip_prefix("__stop_"))
        {
            Some(list) => match self.list_nodes.get(list) {
                Some(node) => To::Node(*node),
                None => self.external(name),
            },
            None => self.external(name),
        };
        // The start of a list and its end are told apart.
        Ok(GraphEdge {
            target,
            value: u64::from(name.starts_with("__stop_")),
            kind: 0,
        })
    }

    fn external(&mut self, name: &str) -> To {
        if IMAGE.contains(&name) {
            let image = self.image;
            return self.leaf(
                label(&["image", &image.to_string()]),
                LeafKind::Import,
                name,
                None,
            );
        }
        self.leaf(label(&["external", name]), LeafKind::Import, name, None)
    }

    fn leaf(&mut self, digest: Digest, kind: LeafKind, shown: &str, known: Option<Known>) -> To {
        let graph = &mut self.graph;
        To::Leaf(*graph.leaf_index.entry(digest).or_insert_with(|| {
            graph.leaves.push(digest);
            graph.leaf_names.push(shown.to_owned());
            graph.leaf_kinds.push(kind);
            graph.leaves_known.push(known);
            graph.leaves.len() as u32 - 1
        }))
    }

    /// Adds the nodes that stand for sections of one name: who refers to their start can read all. Which of them are in the
    /// binary may depend on who else refers to them; then the list is as much as the binary.
    /// Returns the nodes of the others.
    fn lists(&mut self) -> Vec<u32> {
        let mut complete = Vec::new();
        debug_assert_eq!(self.total as usize, self.graph.nodes.len());
        for (name, members) in &self.listed {
            let is_loose = members.iter().any(|node| self.loose.contains(node));
            let image = self.image.to_string();
            let of = if is_loose { image.as_str() } else { "" };
            let start = self.graph.edges.len() as u32;
            self.graph.edges.extend(members.iter().map(|node| GraphEdge {
                target: To::Node(*node),
                value: 0,
                kind: 0,
            }));
            if !is_loose {
                complete.push(self.graph.nodes.len() as u32);
            }
            self.graph.nodes.push(GraphNode {
                name: format!("all of section {name}").into(),
                content: label(&["list", name, of]),
                masked: None,
                marks: Marks::default(),
                toolchain: false,
                edges: start..self.graph.edges.len() as u32,
                observes: false,
            });
        }
        complete
    }

    fn exports(&mut self, names: &[String]) -> Result<Vec<(String, Option<GraphEdge>)>, GraphError> {
        let names = names.iter();
        let exports = names.map(|name| {
            let found = self.resolution.find(name);
            let edge = found.map(|found| self.by_name(name, Some(found))).transpose()?;
            Ok((name.clone(), edge))
        });
        exports.collect()
    }

    fn roots(&self, names: &[String]) -> Rooted<'p> {
        let node = |name: &str| {
            let found = self.resolution.find(name)?;
            let definition = self.parts[found.part as usize].unit.definitions[found.definition as usize];
            match definition.target {
                Target::Node(node) => Some(self.base[&found.part] + node),
                _ => None,
            }
        };
        let names = names.iter().map(String::as_str);
        let exported = names.filter(|name| !ENTRIES.contains(name));
        let mut rooted = Rooted {
            common: ENTRIES.iter().copied().filter_map(node).collect(),
            exported: exported.filter_map(node).collect(),
            ..Rooted::default()
        };
        rooted.common.extend(&rooted.exported);
        for index in &self.resolution.taken {
            for (number, node) in self.parts[*index as usize].unit.nodes.iter().enumerate() {
                match node.role {
                    _ if self.resolution.is_dropped(*index, number as u32) => {}
                    Role::Plain => {}
                    Role::Start | Role::Destructor(_) => {
                        rooted.common.push(self.base[index] + number as u32);
                        rooted.starting.push(self.base[index] + number as u32);
                    }
                    Role::Constructor(_) => {
                        rooted.common.push(self.base[index] + number as u32);
                        rooted.constructors.push(self.base[index] + number as u32);
                    }
                    Role::Kept => rooted.kept.push(self.base[index] + number as u32),
                }
            }
        }
        rooted
    }
}

fn label(parts: &[&str]) -> Digest {
    let mut hasher = FieldHasher::new("thresh reach label v1");
    parts.iter().for_each(|part| {
        hasher.field(part.as_bytes());
    });
    hasher.finish()
}

fn labelled(content: Digest, label: &Digest) -> Digest {
    let mut hasher = FieldHasher::new("thresh reach labelled v1");
    hasher.field(content.as_bytes()).field(label.as_bytes());
    hasher.finish()
}
