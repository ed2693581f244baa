//! An object file taken apart: each of its sections as a node of a [`Unit`].

use foldhash::{HashMap, HashMapExt, HashSet};
use object::elf;
use object::read::ReadRef;
use thresh_core::digest::{Digest, ShortHasher};

use crate::encode::Writer;
use crate::fields::{self, Field};
use crate::frames::{Frames, frames};
use crate::location;
use crate::marks::{Marks, is_written};
use crate::name::normalised;
use crate::passed;
use crate::pieces::{self, Known, Piece, piece};
use crate::raw::{Place, Raw, RawSection, RawSymbol, Relocation, Shape};
use crate::unit::{Definition, Edge, Group, Leaf, Node, Reference, Role, Target, Unit};

/// The flag of a section that is kept whoever refers to it.
const SHF_GNU_RETAIN: u32 = 1 << 21;

/// Beginnings of the names of sections that run, or are read, at the start or the end of every process.
const STARTS: &[&str] = &[".preinit_array", ".dtors", ".init", ".fini", ".jcr"];

impl Unit {
    /// Makes the graph of an object file.
    pub(crate) fn parse<'d, R: ReadRef<'d>>(data: R) -> Result<Self, Shape> {
        Self::of(&Raw::parse(data)?)
    }

    pub(crate) fn of(raw: &Raw<'_>) -> Result<Self, Shape> {
        let mut builder = Builder::new(raw);
        let frames = frames(raw)?;
        for (index, section) in raw.sections.iter().enumerate() {
            if section.has(elf::SHF_ALLOC) {
                if section.name.starts_with(".gnu.lto_") {
                    return Err(Shape::Bitcode);
                }
                builder.node(index as u32, section, &frames)?;
            } else if section.name.starts_with(".gnu.lto_") {
                return Err(Shape::Bitcode);
            }
        }
        builder.symbols()?;
        builder.groups();
        builder.unit.forms = builder.forms.into_bytes();
        Ok(builder.unit)
    }
}

struct Builder<'r, 'd> {
    raw: &'r Raw<'d>,
    unit: Unit,
    /// Node by section.
    nodes: Vec<Option<u32>>,
    names: HashMap<&'d str, u32>,
    leaves: HashMap<Digest, u32>,
    /// Sections and the symbols in them, sorted.
    symbols_of: Vec<(u32, u32)>,
    /// Sections that are locations of panics.
    locations: HashSet<u32>,
    hasher: ShortHasher,
    piece_hasher: ShortHasher,
    forms: Writer,
    /// Memory for one section after the other.
    text: Writer,
    fields: Vec<Field>,
}

impl<'r, 'd> Builder<'r, 'd> {
    fn new(raw: &'r Raw<'d>) -> Self {
        let mut count = 0;
        let nodes = raw.sections.iter().map(|section| {
            section.has(elf::SHF_ALLOC).then(|| {
                count += 1;
                count - 1
            })
        });
        let nodes: Vec<Option<u32>> = nodes.collect();
        // Those of the unwind table are the functions' as well.
        let edges = raw
            .sections
            .iter()
            .map(|section| section.relocations.len() * if section.name == ".eh_frame" { 2 } else { 1 });
        let placed = (0..)
            .zip(&raw.symbols)
            .filter_map(|(index, symbol)| match symbol.place {
                Place::Section(section) if symbol.kind != elf::STT_SECTION => Some((section, index)),
                _ => None,
            });
        let mut symbols_of: Vec<(u32, u32)> = placed.collect();
        symbols_of.sort_unstable();
        Self {
            raw,
            unit: Unit {
                machine: raw.machine,
                nodes: Vec::with_capacity(count as usize),
                edges: Vec::with_capacity(edges.sum()),
                ..Unit::default()
            },
            nodes,
            names: HashMap::new(),
            leaves: HashMap::new(),
            symbols_of,
            locations: passed::locations(raw),
            hasher: ShortHasher::new("thresh reach section v3"),
            piece_hasher: pieces::hasher(),
            forms: Writer::default(),
            text: Writer::default(),
            fields: Vec::new(),
        }
    }

    fn node(&mut self, index: u32, section: &RawSection<'d>, frames: &Frames) -> Result<(), Shape> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let edges = self.unit.edges.len() as u32;
        self.fields(&section.relocations)?;
        fields::write(&mut text, &self.fields);
        let form = self.forms.bytes().len() as u32;
        fields::write_shape(&mut self.forms, section);
        self.forms.append(&text);
        let frames = frames.of(index);
        self.forms.number(frames.len() as u64);
        for frame in frames {
            text.piece(frame.bytes);
            self.fields(frame.relocations)?;
            fields::write(&mut text, &self.fields);
            fields::write(&mut self.forms, &self.fields);
        }
        let symbols = self.named(index);
        let first = symbols.iter().min_by_key(|symbol| symbol.value);
        let location = symbols.is_empty() && self.locations.contains(&index);
        let masked = location.then(|| location::FILE_ONLY(section.data));
        let name = self.name(first.map_or(section.name, |symbol| symbol.name));
        let texts = &mut self.unit.texts;
        self.unit.nodes.push(Node {
            name,
            content: match role(section) {
                // The order in which these are called is in their sections' names.
                Role::Constructor(_) | Role::Destructor(_) | Role::Start => {
                    text.text(section.name);
                    content(&mut self.hasher, section, section.data, text.bytes())
                }
                Role::Plain | Role::Kept => content(&mut self.hasher, section, section.data, text.bytes()),
            },
            marks: Marks::of_section(
                self.raw.machine,
                section,
                symbols.iter().map(|symbol| symbol.name),
            ),
            masked: masked.map(|data| content(&mut self.hasher, section, data, text.bytes())),
            edges: edges..self.unit.edges.len() as u32,
            role: role(section),
            label: label(section, &symbols).map(|label| texts.add(&label)),
            listed: identifier(section.name).then(|| texts.add(section.name)),
            retained: section.has(SHF_GNU_RETAIN),
            form,
        });
        self.text = text;
        Ok(())
    }

    /// The symbols with a name in a section.
    fn named(&self, index: u32) -> Vec<&'r RawSymbol<'d>> {
        let start = self.symbols_of.partition_point(|(section, _)| *section < index);
        let all = self.symbols_of[start..].iter();
        let all = all.take_while(|(section, _)| *section == index);
        let all = all.map(|(_, symbol)| &self.raw.symbols[*symbol as usize]);
        all.filter(|symbol| !symbol.name.is_empty() && !symbol.name.starts_with(".L"))
            .collect()
    }

    /// Reads what the linker fills in, into `self.fields` and the unit's edges.
    fn fields(&mut self, relocations: &[Relocation]) -> Result<(), Shape> {
        self.fields.clear();
        for relocation in relocations {
            let mut addend = relocation.addend;
            if relocation.symbol != 0 {
                let symbol = &self.raw.symbols[relocation.symbol as usize];
                // What a name leads to that others see may be defined elsewhere.
                let is_local = symbol.bind == elf::STB_LOCAL;
                let edge = match piece(self.raw, relocation).filter(|_| is_local) {
                    Some(piece) => {
                        addend = piece.addend;
                        Edge {
                            target: self.piece(&piece),
                            value: piece.offset,
                            kind: 0,
                        }
                    }
                    None => self.edge(symbol)?,
                };
                self.unit.edges.push(edge);
            }
            self.fields.push(Field {
                offset: relocation.offset,
                kind: relocation.kind,
                has_target: relocation.symbol != 0,
                addend,
            });
        }
        Ok(())
    }

    fn edge(&mut self, symbol: &RawSymbol<'d>) -> Result<Edge, Shape> {
        if symbol.bind != elf::STB_LOCAL {
            let target = Target::Name(self.name(symbol.name));
            return Ok(Edge {
                target,
                value: 0,
                kind: 0,
            });
        }
        // Not the piece at which the symbol stands, where that was refused: such a reference may lead out of it.
        let (target, value) = match symbol.name.starts_with(".L") {
            true => self.place(symbol)?,
            false => self.whole_place(symbol)?,
        };
        Ok(Edge {
            target,
            value,
            kind: symbol_kind(symbol.kind),
        })
    }

    fn piece(&mut self, piece: &Piece<'_>) -> Target {
        let digest = piece.digest(&mut self.piece_hasher);
        let first = || {
            (
                Marks::of_text(piece.bytes),
                piece.shown(),
                Known::Piece(piece.length()),
            )
        };
        self.leaf(digest, first)
    }

    /// Where a symbol that is defined here stands.
    fn place(&mut self, symbol: &RawSymbol<'d>) -> Result<(Target, u64), Shape> {
        if let Some(piece) = pieces::of_symbol(self.raw, symbol) {
            return Ok((self.piece(&piece), piece.offset));
        }
        self.whole_place(symbol)
    }

    /// The same, with the whole of a merged section in the place of a piece.
    fn whole_place(&mut self, symbol: &RawSymbol<'d>) -> Result<(Target, u64), Shape> {
        match symbol.place {
            Place::Section(section) => match self.nodes.get(section as usize).copied().flatten() {
                Some(node) => Ok((Target::Node(node), symbol.value)),
                None => Err(Shape::Unknown("an address of what is not loaded".to_owned())),
            },
            Place::Absolute => {
                let leaf = Digest::of(format!("absolute {}", symbol.value).as_bytes());
                let known = Known::Absolute(symbol.value);
                let first = || (Marks::default(), symbol.name.to_owned(), known);
                Ok((self.leaf(leaf, first), 0))
            }
            Place::Tentative => {
                let text = format!("tentative {} {} {}", symbol.name, symbol.value, symbol.size);
                let digest = Digest::of(text.as_bytes());
                let known = Known::Zeros(symbol.size);
                let first = || (Marks::WRITTEN, symbol.name.to_owned(), known);
                Ok((self.leaf(digest, first), 0))
            }
            Place::Undefined => Err(Shape::Damaged(format!("{} is local and nowhere", symbol.name))),
        }
    }

    fn name(&mut self, name: &'d str) -> u32 {
        let names = &mut self.unit.names;
        *self.names.entry(name).or_insert_with(|| names.add(name))
    }

    fn leaf(&mut self, digest: Digest, first: impl FnOnce() -> (Marks, String, Known)) -> Target {
        let (leaves, texts) = (&mut self.unit.leaves, &mut self.unit.texts);
        Target::Leaf(*self.leaves.entry(digest).or_insert_with(|| {
            let (marks, shown, known) = first();
            leaves.push(Leaf {
                digest,
                marks,
                shown: texts.add(&shown),
                known,
            });
            leaves.len() as u32 - 1
        }))
    }

    fn symbols(&mut self) -> Result<(), Shape> {
        let raw = self.raw;
        let global = raw
            .symbols
            .iter()
            .skip(1)
            .filter(|symbol| symbol.bind != elf::STB_LOCAL);
        for symbol in global {
            let name = self.name(symbol.name);
            let weak = symbol.bind == elf::STB_WEAK;
            if symbol.place == Place::Undefined {
                self.unit.references.push(Reference { name, weak });
                continue;
            }
            if let Place::Section(section) = symbol.place
                && self.nodes.get(section as usize).copied().flatten().is_none()
            {
                // Such as the name of a file's metadata, which is not loaded.
                continue;
            }
            if symbol.name.contains('@') {
                return Err(Shape::Unknown(format!("the versioned symbol {}", symbol.name)));
            }
            let (target, value) = self.place(symbol)?;
            self.unit.definitions.push(Definition {
                name,
                target,
                value,
                kind: symbol_kind(symbol.kind),
                weak: weak || symbol.place == Place::Tentative,
                tentative: symbol.place == Place::Tentative,
            });
        }
        Ok(())
    }

    fn groups(&mut self) {
        for group in &self.raw.groups {
            let nodes = group.members.iter();
            let nodes = nodes.filter_map(|section| self.nodes.get(*section as usize).copied().flatten());
            self.unit.groups.push(Group {
                signature: self.unit.texts.add(group.signature),
                nodes: nodes.collect(),
            });
        }
    }
}

fn content(hasher: &mut ShortHasher, section: &RawSection<'_>, data: &[u8], relocations: &[u8]) -> Digest {
    let flags = section.flags & !u64::from(elf::SHF_GROUP);
    for number in [u64::from(section.kind), flags, section.align, section.size] {
        hasher.fixed(&number.to_le_bytes());
    }
    hasher.field(data).field(relocations).finish()
}

/// Functions and data are called and read alike whatever a symbol says, except where the linker acts on it.
fn symbol_kind(kind: u8) -> u8 {
    match kind {
        elf::STT_TLS | elf::STT_GNU_IFUNC => kind,
        _ => 0,
    }
}

fn role(section: &RawSection<'_>) -> Role {
    let named = |start: &str| {
        let rest = section.name.strip_prefix(start);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if section.kind == elf::SHT_INIT_ARRAY || named(".init_array") || named(".ctors") {
        Role::Constructor(priority(section.name))
    } else if section.kind == elf::SHT_FINI_ARRAY || named(".fini_array") {
        Role::Destructor(priority(section.name))
    } else if section.kind == elf::SHT_PREINIT_ARRAY || STARTS.iter().any(|start| named(start)) {
        Role::Start
    } else if section.kind == elf::SHT_NOTE {
        Role::Kept
    } else {
        Role::Plain
    }
}

/// The number at the end of the name of a section of constructors; those without one come last.
fn priority(name: &str) -> u16 {
    let number = name.rsplit_once('.').map(|(_, number)| number.parse());
    number.and_then(Result::ok).unwrap_or(u16::MAX)
}

/// Whether the linker defines `__start_` and `__stop_` symbols for sections of this name.
fn identifier(name: &str) -> bool {
    let head = name.bytes().next();
    head.is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

fn label(section: &RawSection<'_>, symbols: &[&RawSymbol<'_>]) -> Option<String> {
    let written = is_written(section);
    // Only unwinding reads these, and their symbols are numbered through an object.
    let unwinding = section.name.starts_with(".gcc_except_table");
    if section.has(elf::SHF_EXECINSTR) || unwinding || (!written && symbols.is_empty()) {
        return None;
    }
    let mut names: Vec<&str> = symbols.iter().map(|symbol| symbol.name).collect();
    names.sort_unstable();
    if names.is_empty() {
        names.push(section.name);
    }
    let names: Vec<String> = names.into_iter().map(normalised).collect();
    Some(names.join("\n"))
}
