//! Graphs of archives, kept by the archive's digest: what was taken apart once is only read again. Besides, the digest of what is loaded
//! of a binary, by the binary's.
//!
//! The digest itself is kept by the file's path, device, inode, size and times of change, so that a toolchain's archives
//! are not read at every link. A file that changed within the last seconds is read anyway: its times may not tell it
//! from a next version.

use std::fs::{self, Metadata};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use thresh_core::digest::{Digest, FieldHasher};

use crate::encode::{Damaged, Reader, Writer};
use crate::marks::Marks;
use crate::pieces::{Known, Length};
use crate::texts::Texts;
use crate::trim::mark_used;
use crate::unit::{Definition, Edge, Group, Leaf, Node, Reference, Role, Target, Unit};

/// Changes with the form of what is kept, and with everything that [`Unit`] says of an object.
const VERSION: &str = "13";

/// A folder of graphs of archives. What cannot be read or written there is made anew.
#[derive(Debug)]
pub(crate) struct Memo(PathBuf);

impl Memo {
    pub(crate) fn new(folder: &Path) -> Self {
        Self(folder.join("archives").join(VERSION))
    }

    /// A digest that is kept under a name.
    pub(crate) fn digest(&self, name: &str) -> Option<Digest> {
        let text = fs::read_to_string(self.0.join(name)).ok()?;
        text.parse().ok()
    }

    /// Keeps a digest: of a file, by the stamp that was taken before it was read, or of what is loaded of a binary.
    pub(crate) fn keep_digest(&self, name: &str, digest: &Digest) {
        let _ = write_whole(&self.0.join(name), &[digest.to_string().as_bytes()]);
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.to_string())
    }

    pub(crate) fn archive(&self, digest: &Digest) -> Option<Vec<(String, Unit)>> {
        let bytes = fs::read(self.path(digest)).ok()?;
        // A file that was cut short, or lost its content in a crash, must not pass for a graph.
        let (sum, bytes) = bytes.split_at_checked(32)?;
        if *Digest::of(bytes).as_bytes() != sum {
            return None;
        }
        let mut reader = Reader::new(bytes);
        let units = reader.list(|reader| Ok((reader.text()?, unit(reader)?))).ok()?;
        reader.end().ok()?;
        mark_used(&self.path(digest));
        Some(units)
    }

    pub(crate) fn keep_archive(&self, digest: &Digest, units: &[(String, Unit)]) {
        let mut writer = Writer::default();
        writer.list(units, |writer, (name, unit)| {
            writer.text(name);
            write_unit(writer, unit);
        });
        let bytes = writer.into_bytes();
        // Without it the next link takes the archive apart again, nothing worse.
        let _ = write_whole(&self.path(digest), &[Digest::of(&bytes).as_bytes(), &bytes]);
    }
}

/// How long a file must be left alone until its times tell its versions apart.
const SETTLED: Duration = Duration::from_secs(3);

/// Whether a file's times tell it from a next version.
pub(crate) fn is_settled(data: &Metadata) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let settled = now.ok().and_then(|now| now.checked_sub(SETTLED));
    settled.is_some_and(|settled| {
        let before = |seconds: i64| u64::try_from(seconds).is_ok_and(|seconds| seconds < settled.as_secs());
        before(data.mtime()) && before(data.ctime())
    })
}

/// The name under which a file's digest is kept; none if the file has just changed.
pub(crate) fn stamp(file: &Path) -> Option<String> {
    let data = fs::metadata(file).ok().filter(is_settled)?;
    let changed = [
        (data.mtime(), data.mtime_nsec()),
        (data.ctime(), data.ctime_nsec()),
    ];
    let mut hasher = FieldHasher::new("thresh reach stamp v1");
    hasher.field(file.as_os_str().as_bytes());
    for number in [data.dev(), data.ino(), data.size()] {
        hasher.field(&number.to_le_bytes());
    }
    for (seconds, nanoseconds) in changed {
        hasher
            .field(&seconds.to_le_bytes())
            .field(&nanoseconds.to_le_bytes());
    }
    Some(format!("stamp-{}", hasher.finish()))
}

/// Writes a file so that it is there with all its content or not at all.
pub(crate) fn write_whole(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn write_unit(writer: &mut Writer, unit: &Unit) {
    writer.number(u64::from(unit.machine));
    writer.list(&unit.nodes, write_node);
    writer.list(&unit.edges, write_edge);
    unit.names.write(writer);
    unit.texts.write(writer);
    writer.list(&unit.references, |writer, reference| {
        writer.number(u64::from(reference.name));
        writer.flag(reference.weak);
    });
    writer.list(&unit.definitions, |writer, definition| {
        writer.number(u64::from(definition.name));
        writer.number(target_number(definition.target));
        writer.number(definition.value);
        writer.number(u64::from(definition.kind));
        writer.flag(definition.weak);
        writer.flag(definition.tentative);
    });
    writer.list(&unit.groups, |writer, group| {
        writer.number(u64::from(group.signature));
        writer.list(&group.nodes, |writer, node| writer.number(u64::from(*node)));
    });
    writer.list(&unit.leaves, |writer, leaf| {
        writer.digest(&leaf.digest);
        writer.number(u64::from(leaf.marks.bits()));
        writer.number(u64::from(leaf.shown));
        let (kind, number) = match leaf.known {
            Known::Piece(length) => (0, u64::from(length.bytes) << 1 | u64::from(length.is_terminated)),
            Known::Absolute(value) => (1, value),
            Known::Zeros(size) => (2, size),
        };
        writer.number(kind);
        writer.number(number);
    });
    writer.piece(&unit.forms);
}

fn write_node(writer: &mut Writer, node: &Node) {
    writer.number(u64::from(node.name));
    writer.digest(&node.content);
    writer.number(u64::from(node.marks.bits()));
    writer.optional(node.masked.as_ref(), Writer::digest);
    writer.number(u64::from(node.edges.end));
    writer.number(match node.role {
        Role::Plain => 0,
        Role::Start => 1,
        Role::Kept => 2,
        Role::Constructor(priority) => 3 + 2 * u64::from(priority),
        Role::Destructor(priority) => 4 + 2 * u64::from(priority),
    });
    for text in [node.label, node.listed] {
        writer.optional(text.as_ref(), |writer, text| writer.number(u64::from(*text)));
    }
    writer.flag(node.retained);
    writer.number(u64::from(node.form));
}

/// Most edges lead to the start of what is of no special kind: the first number says what follows.
fn write_edge(writer: &mut Writer, edge: &Edge) {
    let (is_within, is_special) = (edge.value != 0, edge.kind != 0);
    let follows = u64::from(is_within) | u64::from(is_special) << 1;
    writer.number(target_number(edge.target) << 2 | follows);
    if is_within {
        writer.number(edge.value);
    }
    if is_special {
        writer.number(u64::from(edge.kind));
    }
}

fn target_number(target: Target) -> u64 {
    let (kind, index) = match target {
        Target::Node(index) => (0, index),
        Target::Name(index) => (1, index),
        Target::Leaf(index) => (2, index),
    };
    u64::from(index) * 3 + kind
}

fn unit(reader: &mut Reader<'_>) -> Result<Unit, Damaged> {
    let mut edges = 0;
    let unit = Unit {
        machine: u16::try_from(reader.number()?).map_err(|_| Damaged)?,
        nodes: reader.list(|reader| {
            let node = node(reader, edges)?;
            edges = node.edges.end;
            Ok(node)
        })?,
        edges: reader.list(edge)?,
        names: Texts::read(reader)?,
        texts: Texts::read(reader)?,
        references: reader.list(|reader| {
            Ok(Reference {
                name: reader.index()?,
                weak: reader.flag()?,
            })
        })?,
        definitions: reader.list(|reader| {
            Ok(Definition {
                name: reader.index()?,
                target: target(reader.number()?)?,
                value: reader.number()?,
                kind: kind(reader)?,
                weak: reader.flag()?,
                tentative: reader.flag()?,
            })
        })?,
        groups: reader.list(|reader| {
            Ok(Group {
                signature: reader.index()?,
                nodes: reader.list(Reader::index)?,
            })
        })?,
        leaves: reader.list(|reader| {
            Ok(Leaf {
                digest: reader.digest()?,
                marks: Marks::from_bits(kind(reader)?),
                shown: reader.index()?,
                known: known(reader)?,
            })
        })?,
        forms: reader.piece()?.to_vec(),
    };
    (edges as usize == unit.edges.len())
        .then_some(unit)
        .ok_or(Damaged)
}

/// Reads a node whose first edge has the number `edges`.
fn node(reader: &mut Reader<'_>, edges: u32) -> Result<Node, Damaged> {
    Ok(Node {
        name: reader.index()?,
        content: reader.digest()?,
        marks: Marks::from_bits(kind(reader)?),
        masked: reader.optional(Reader::digest)?,
        edges: edges..Some(reader.index()?).filter(|end| *end >= edges).ok_or(Damaged)?,
        role: match reader.number()? {
            0 => Role::Plain,
            1 => Role::Start,
            2 => Role::Kept,
            more => {
                let priority = u16::try_from((more - 3) / 2).map_err(|_| Damaged)?;
                match more % 2 {
                    1 => Role::Constructor(priority),
                    _ => Role::Destructor(priority),
                }
            }
        },
        label: reader.optional(Reader::index)?,
        listed: reader.optional(Reader::index)?,
        retained: reader.flag()?,
        form: reader.index()?,
    })
}

fn known(reader: &mut Reader<'_>) -> Result<Known, Damaged> {
    let (kind, number) = (reader.number()?, reader.number()?);
    match kind {
        0 => Ok(Known::Piece(Length {
            bytes: u32::try_from(number >> 1).map_err(|_| Damaged)?,
            is_terminated: number & 1 == 1,
        })),
        1 => Ok(Known::Absolute(number)),
        2 => Ok(Known::Zeros(number)),
        _ => Err(Damaged),
    }
}

fn kind(reader: &mut Reader<'_>) -> Result<u8, Damaged> {
    u8::try_from(reader.number()?).map_err(|_| Damaged)
}

fn edge(reader: &mut Reader<'_>) -> Result<Edge, Damaged> {
    let first = reader.number()?;
    Ok(Edge {
        target: target(first >> 2)?,
        value: if first & 1 == 0 { 0 } else { reader.number()? },
        kind: if first & 2 == 0 { 0 } else { kind(reader)? },
    })
}

fn target(number: u64) -> Result<Target, Damaged> {
    let index = u32::try_from(number / 3).map_err(|_| Damaged)?;
    Ok(match number % 3 {
        0 => Target::Node(index),
        1 => Target::Name(index),
        _ => Target::Leaf(index),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::inputs::members;

    fn said(program: &str, arguments: &[&str], folder: &Path) -> String {
        let output = Command::new(program).args(arguments).current_dir(folder).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Keeps the graphs of an archive, and returns them when they are read again as they were.
    fn kept(archive: &Path) -> Vec<(String, Unit)> {
        let content = fs::read(archive).unwrap();
        let fresh = members(archive, &content).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (memo, digest) = (Memo::new(folder.path()), Digest::of(&content));
        assert!(memo.archive(&digest).is_none());
        memo.keep_archive(&digest, &fresh);
        let read = memo.archive(&digest).unwrap();
        // Too long to be shown.
        assert!(read == fresh, "{}", archive.display());
        read
    }

    #[test]
    fn graphs_of_an_archive_of_the_toolchain_are_read_as_they_were_made() {
        let folder = said("rustc", &["--print=target-libdir"], Path::new("."));
        let all = fs::read_dir(folder.trim())
            .unwrap()
            .map(|file| file.unwrap().path());
        let is_core = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("libcore-") && name.ends_with(".rlib")
        };
        let units = kept(&all.into_iter().find(is_core).unwrap());
        let all = || units.iter().map(|(_, unit)| unit);
        assert!(all().any(|unit| unit.nodes.iter().any(|node| node.masked.is_some())));
        assert!(all().any(|unit| {
            unit.leaves
                .iter()
                .any(|leaf| matches!(leaf.known, Known::Piece(_)))
        }));
    }

    #[test]
    fn graphs_of_an_archive_of_c_are_read_as_they_were_made() {
        let folder = tempfile::tempdir().unwrap();
        let source = r#"
            int tentative; static int hidden; __thread int own = 1;
            extern int elsewhere; extern int perhaps __attribute__((weak));
            __attribute__((weak)) int weak(void) { return perhaps + elsewhere + own++ + hidden++; }
            __attribute__((constructor(200))) static void before(void) { tentative = weak(); }
            __attribute__((constructor)) static void later(void) { hidden = tentative; }
            __attribute__((destructor(300))) static void after(void) { hidden = 2; }
            __attribute__((section("listed"), used)) int member = 3;
            const char *text(void) { return "a text"; }
            __asm__(".globl fixed\n.set fixed, 77\n"
                ".section .text.shared,\"axG\",@progbits,shared,comdat\n.weak shared\nshared: .byte 1\n.text\n"
                ".section kept,\"aR\",@progbits\n.byte 2\n.text\n");"#;
        fs::write(folder.path().join("code.c"), source).unwrap();
        fs::write(folder.path().join("more.c"), "int elsewhere = 1, perhaps;").unwrap();
        said(
            "cc",
            &[
                "-c",
                "-fPIC",
                "-O1",
                "-fcommon",
                "-ffunction-sections",
                "code.c",
                "more.c",
            ],
            folder.path(),
        );
        said("ar", &["rcs", "libcode.a", "code.o", "more.o"], folder.path());
        let units = kept(&folder.path().join("libcode.a"));
        assert_eq!(units.len(), 2);
        let unit = &units[0].1;
        for role in [
            Role::Constructor(200),
            Role::Constructor(u16::MAX),
            Role::Destructor(300),
        ] {
            assert!(unit.nodes.iter().any(|node| node.role == role), "{role:?}");
        }
        assert!(unit.nodes.iter().any(|node| node.retained));
        assert!(unit.nodes.iter().any(|node| node.listed.is_some()));
        assert!(unit.nodes.iter().any(|node| node.label.is_some()));
        assert!(unit.definitions.iter().any(|one| one.kind != 0));
        assert!(unit.references.iter().any(|one| one.weak) && unit.references.iter().any(|one| !one.weak));
        assert!(unit.definitions.iter().any(|one| one.weak && !one.tentative));
        assert!(unit.definitions.iter().any(|one| one.tentative));
        assert!(unit.groups.iter().any(|group| !group.nodes.is_empty()));
        let known = |is: fn(&Known) -> bool| unit.leaves.iter().any(|leaf| is(&leaf.known));
        assert!(known(
            |known| matches!(known, Known::Piece(length) if length.is_terminated)
        ));
        assert!(known(|known| *known == Known::Absolute(77)));
        assert!(known(|known| *known == Known::Zeros(4)));
    }
}
