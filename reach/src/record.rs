//! What is kept of one link: keys by case, and what is needed to say how two links differ.

use thresh_core::digest::{Digest, FieldHasher};

use crate::condense::Hashes;
use crate::constructors::Constructors;
use crate::effects::Effects;
use crate::encode::{Damaged, Reader, Writer};
use crate::graph::{GraphNode, Rooted, To};
use crate::harness::Harness;
use crate::inputs::Library;

/// The keys of one link: the first part of what is kept, which is short.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Why single cases are not told apart, if they are not.
    pub(crate) whole: Option<String>,
    /// How long the analysis took, in microseconds.
    pub(crate) took_us: u64,
    /// What the linker was asked for, apart from contents ([`crate::arguments::Link::asked`]).
    pub(crate) asked: Option<Digest>,
    pub(crate) libraries: Vec<Library>,
    /// What every case executes or reads.
    pub(crate) common: Option<Keys>,
    pub(crate) cases: Vec<CaseRecord>,
}

/// What is needed to say how two links differ, as it is read again. It is written by [`Found`].
#[derive(Debug, Default)]
pub(crate) struct Detail {
    pub(crate) common_roots: Vec<u32>,
    pub(crate) nodes: Vec<RecordNode>,
    pub(crate) leaves: Vec<(Digest, String)>,
}

/// Two keys of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) exact: Digest,
    /// Without lines and columns of panic locations; as `exact` where these can be observed.
    pub(crate) masked: Digest,
    pub(crate) observes: bool,
}

#[derive(Debug)]
pub(crate) struct CaseRecord {
    pub(crate) name: String,
    pub(crate) ignored: bool,
    pub(crate) keys: Keys,
    pub(crate) effects: Effects,
    pub(crate) root: u32,
    /// Constructors that are not common to all cases but count for this one.
    pub(crate) joined: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct RecordNode {
    pub(crate) name: String,
    pub(crate) content: Digest,
    pub(crate) masked: Option<Digest>,
    pub(crate) edges: Vec<(To, u64)>,
}

/// What was found of a link.
#[derive(Debug)]
pub(crate) struct Found<'g, 'p> {
    pub(crate) rooted: &'g Rooted<'p>,
    pub(crate) hashes: &'g Hashes,
    pub(crate) constructors: &'g Constructors,
}

impl Found<'_, '_> {
    /// Makes the keys. `effects` are those of the link's cases; `surroundings` is what counts for every case besides the graph.
    pub(crate) fn head(
        &self,
        effects: &[Effects],
        harness: Option<&Harness>,
        surroundings: &Digest,
        libraries: Vec<Library>,
    ) -> Head {
        let Self {
            rooted,
            hashes,
            constructors,
        } = self;
        let common = common(rooted, hashes, constructors, surroundings);
        let key = |node: u32, joined: &[u32]| {
            let key = |context: &str, common: &Digest, own: &[Digest]| {
                let mut hasher = FieldHasher::new(context);
                hasher.field(common.as_bytes());
                [node].iter().chain(joined).for_each(|node| {
                    hasher.field(own[*node as usize].as_bytes());
                });
                hasher.finish()
            };
            let exact = key("thresh reach case v1", &common.exact, &hashes.exact);
            let mut own = [node].into_iter().chain(joined.iter().copied());
            let observes = common.observes || own.any(|node| hashes.observes[node as usize]);
            let masked = match observes {
                true => exact,
                false => key(
                    "thresh reach case v1, lines ignored",
                    &common.masked,
                    &hashes.masked,
                ),
            };
            Keys {
                exact,
                masked,
                observes,
            }
        };
        let places = places(hashes);
        let cases = harness
            .iter()
            .flat_map(|harness| &harness.cases)
            .zip(rooted.cases.iter().zip(effects).zip(&constructors.joined));
        let cases = cases.map(|(case, ((node, effects), joined))| CaseRecord {
            name: case.name.clone(),
            ignored: case.ignored,
            keys: key(*node, joined),
            joined: joined.iter().map(|node| places[*node as usize]).collect(),
            effects: *effects,
            root: places[*node as usize],
        });
        Head {
            whole: None,
            took_us: 0,
            asked: None,
            libraries,
            common: Some(common),
            cases: cases.collect(),
        }
    }

    /// Writes what a [`Detail`] is read from. It is most of an analysis, and few are ever read.
    pub(crate) fn write_detail(&self, writer: &mut Writer) {
        let Self {
            rooted,
            hashes,
            constructors,
        } = self;
        let places = places(hashes);
        let roots: Vec<&u32> = common_roots(rooted, constructors).chain(&rooted.kept).collect();
        writer.list(roots, |writer, root| {
            writer.number(u64::from(places[*root as usize]))
        });
        let graph = &rooted.graph;
        writer.list(
            graph.leaves.iter().zip(&graph.leaf_names),
            |writer, (digest, shown)| {
                writer.digest(digest);
                writer.text(shown);
            },
        );
        let reached = graph
            .nodes
            .iter()
            .zip(&hashes.reached)
            .filter(|(_, reached)| **reached);
        let reached: Vec<&GraphNode<'_>> = reached.map(|(node, _)| node).collect();
        writer.list(reached, |writer, node| {
            writer.text(&node.name);
            writer.digest(&node.content);
            writer.optional(node.masked.as_ref(), Writer::digest);
            writer.list(graph.edges_in(&node.edges), |writer, edge| {
                let number = match edge.target {
                    To::Node(to) => u64::from(places[to as usize]) * 2,
                    To::Leaf(leaf) => u64::from(leaf) * 2 + 1,
                };
                writer.number(number);
                writer.number(edge.value);
            });
        });
    }
}

/// Writes a [`Detail`] of nothing.
pub(crate) fn write_nothing(writer: &mut Writer) {
    (0..3).for_each(|_| writer.number(0));
}

/// What is common to all cases, in the linker's order.
fn common_roots<'r>(rooted: &'r Rooted<'_>, constructors: &'r Constructors) -> impl Iterator<Item = &'r u32> {
    rooted
        .common
        .iter()
        .filter(|root| !constructors.apart.contains(root))
}

fn common(rooted: &Rooted<'_>, hashes: &Hashes, constructors: &Constructors, surroundings: &Digest) -> Keys {
    let all = |context: &str, hashes: &[Digest]| {
        let mut hasher = FieldHasher::new(context);
        hasher.field(surroundings.as_bytes());
        for root in common_roots(rooted, constructors) {
            hasher.field(hashes[*root as usize].as_bytes());
        }
        let mut kept: Vec<&Digest> = rooted.kept.iter().map(|root| &hashes[*root as usize]).collect();
        kept.sort_unstable();
        kept.dedup();
        hasher.field(b"kept");
        kept.into_iter().for_each(|hash| {
            hasher.field(hash.as_bytes());
        });
        hasher.field(b"exports");
        for (name, edge) in &rooted.exports {
            // Dynamic libraries find things by name, and at a place within a section.
            hasher.field(name.as_bytes());
            let Some(edge) = edge else { continue };
            let content = match edge.target {
                To::Node(node) => &hashes[node as usize],
                To::Leaf(leaf) => &rooted.graph.leaves[leaf as usize],
            };
            hasher.field(content.as_bytes());
            hasher.field(&edge.value.to_le_bytes()).field(&[edge.kind]);
        }
        hasher.finish()
    };
    let mut roots = common_roots(rooted, constructors).chain(&rooted.kept);
    Keys {
        exact: all("thresh reach common v1", &hashes.exact),
        masked: all("thresh reach common v1, lines ignored", &hashes.masked),
        observes: roots.any(|root| hashes.observes[*root as usize]),
    }
}

/// The number that each reached node has in the record.
fn places(hashes: &Hashes) -> Vec<u32> {
    let mut next = 0;
    let number = |reached: &bool| {
        let place = next;
        next += u32::from(*reached);
        place
    };
    hashes.reached.iter().map(number).collect()
}

impl Head {
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.optional(self.whole.as_ref(), |writer, why| writer.text(why));
        writer.number(self.took_us);
        writer.optional(self.asked.as_ref(), Writer::digest);
        writer.list(&self.libraries, |writer, library| {
            writer.text(&library.name);
            writer.optional(library.digest.as_ref(), Writer::digest);
        });
        writer.optional(self.common.as_ref(), write_keys);
        writer.list(&self.cases, |writer, case| {
            writer.text(&case.name);
            writer.flag(case.ignored);
            write_keys(writer, &case.keys);
            writer.flag(case.effects.opens);
            writer.flag(case.effects.sees_version);
            writer.number(u64::from(case.root));
            writer.list(&case.joined, |writer, root| writer.number(u64::from(*root)));
        });
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(Self {
            whole: reader.optional(Reader::text)?,
            took_us: reader.number()?,
            asked: reader.optional(Reader::digest)?,
            libraries: reader.list(|reader| {
                Ok(Library {
                    name: reader.text()?,
                    digest: reader.optional(Reader::digest)?,
                })
            })?,
            common: reader.optional(keys)?,
            cases: reader.list(|reader| {
                Ok(CaseRecord {
                    name: reader.text()?,
                    ignored: reader.flag()?,
                    keys: keys(reader)?,
                    effects: Effects {
                        opens: reader.flag()?,
                        sees_version: reader.flag()?,
                    },
                    root: reader.index()?,
                    joined: reader.list(Reader::index)?,
                })
            })?,
        })
    }
}

impl Detail {
    /// Reads what belongs to `head`.
    pub(crate) fn read(reader: &mut Reader<'_>, head: &Head) -> Result<Self, Damaged> {
        let detail = Self {
            common_roots: reader.list(Reader::index)?,
            leaves: reader.list(|reader| Ok((reader.digest()?, reader.text()?)))?,
            nodes: reader.list(|reader| {
                Ok(RecordNode {
                    name: reader.text()?,
                    content: reader.digest()?,
                    masked: reader.optional(Reader::digest)?,
                    edges: reader.list(edge)?,
                })
            })?,
        };
        detail.check(head)?;
        Ok(detail)
    }

    fn check(&self, head: &Head) -> Result<(), Damaged> {
        let node = |index: u32| (index as usize) < self.nodes.len();
        let leads = |to: &To| match to {
            To::Node(index) => node(*index),
            To::Leaf(index) => (*index as usize) < self.leaves.len(),
        };
        let edges = self.nodes.iter().flat_map(|node| &node.edges);
        let roots = |case: &CaseRecord| node(case.root) && case.joined.iter().all(|root| node(*root));
        let sound = head.cases.iter().all(roots)
            && self.common_roots.iter().all(|root| node(*root))
            && edges.map(|(to, _)| to).all(leads);
        if sound { Ok(()) } else { Err(Damaged) }
    }
}

fn write_keys(writer: &mut Writer, keys: &Keys) {
    writer.digest(&keys.exact);
    writer.digest(&keys.masked);
    writer.flag(keys.observes);
}

fn keys(reader: &mut Reader<'_>) -> Result<Keys, Damaged> {
    Ok(Keys {
        exact: reader.digest()?,
        masked: reader.digest()?,
        observes: reader.flag()?,
    })
}

fn edge(reader: &mut Reader<'_>) -> Result<(To, u64), Damaged> {
    let number = reader.number()?;
    let index = u32::try_from(number / 2).map_err(|_| Damaged)?;
    let to = if number % 2 == 0 {
        To::Node(index)
    } else {
        To::Leaf(index)
    };
    Ok((to, reader.number()?))
}
