//! Sections whose equal pieces a linker may merge: strings that end with zero, and constants of one size.
//!
//! A reference into such a section is a reference to one piece, and to nothing else of the section: a linker may move
//! pieces about freely, so code that compilers make does not rely on what lies beside one. Some linkers do not, and for what was written by hand the section
//! counts as a whole where a reference leads out of its piece, or nothing says how long that is.

use object::elf;
use thresh_core::digest::{Digest, ShortHasher};

use crate::raw::{Place, Raw, RawSection, RawSymbol, Relocation};

/// A piece of a section, by content, and where in it a reference points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'d> {
    pub(crate) bytes: &'d [u8],
    /// Whether `bytes` ended with a zero that was cut off.
    pub(crate) terminated: bool,
    /// Where the reference points, in bytes from the start of `bytes`.
    pub(crate) offset: u64,
    /// What remains of the relocation's addend.
    pub(crate) addend: i64,
}

/// How long a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    /// Without a zero that ends it.
    pub(crate) bytes: u32,
    pub(crate) is_terminated: bool,
}

/// What a leaf is that stands for something of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// A piece of a merged section.
    Piece(Length),
    /// An address, the same wherever the binary is.
    Absolute(u64),
    /// So many bytes that are zero at first.
    Zeros(u64),
}

/// The hasher for [`Piece::digest`].
pub(crate) fn hasher() -> ShortHasher {
    ShortHasher::new("thresh reach piece v2")
}

impl Piece<'_> {
    /// In bytes, with a zero that ends it.
    fn size(&self) -> u64 {
        self.bytes.len() as u64 + u64::from(self.terminated)
    }

    pub(crate) fn length(&self) -> Length {
        Length {
            bytes: self.bytes.len() as u32,
            is_terminated: self.terminated,
        }
    }

    /// `hasher` is that of pieces.
    pub(crate) fn digest(&self, hasher: &mut ShortHasher) -> Digest {
        hasher
            .field(self.bytes)
            .fixed(&[u8::from(self.terminated)])
            .finish()
    }

    /// The start of it, for humans.
    pub(crate) fn shown(&self) -> String {
        let start = &self.bytes[..self.bytes.len().min(60)];
        format!("{:?}", String::from_utf8_lossy(start))
    }
}

/// Returns the piece that a relocation refers to; none if its section is not merged, or if the piece cannot be told
/// for certain, and then the whole section counts.
pub(crate) fn piece<'d>(raw: &Raw<'d>, relocation: &Relocation) -> Option<Piece<'d>> {
    let symbol = raw.symbols.get(relocation.symbol as usize)?;
    let section = merged(raw, symbol)?;
    let (at, addend) = target(raw.machine, symbol, relocation)?;
    let piece = at_place(section, at, addend)?;
    let is_section = symbol.kind == elf::STT_SECTION;
    (is_section || (is_one_piece(symbol, &piece) && stays_within(raw.machine, symbol, relocation, &piece)))
        .then_some(piece)
}

/// Whether what a symbol stands for ends with its piece. Of what has no size only a compiler's own labels are known to.
fn is_one_piece(symbol: &RawSymbol<'_>, piece: &Piece<'_>) -> bool {
    let left = piece.size().saturating_sub(piece.offset);
    match symbol.size {
        0 => symbol.name.starts_with(".L") || symbol.name.is_empty(),
        size => size <= left,
    }
}

/// Whether a reference by a symbol leads into the piece at which that stands. An address that is relative to the next instruction has the distance
/// to that in its addend, which is at least that of the field.
fn stays_within(machine: u16, symbol: &RawSymbol<'_>, relocation: &Relocation, piece: &Piece<'_>) -> bool {
    const ABSOLUTE: [u32; 3] = [elf::R_X86_64_64, elf::R_X86_64_32, elf::R_X86_64_32S];
    // The least distance, and by how much it may be more: where an immediate follows the field. A place before the piece looks the
    // same; compilers refer to none by a label of their own.
    let (distance, more) = match machine == elf::EM_AARCH64 || ABSOLUTE.contains(&relocation.kind) {
        true => (0, 0),
        false if symbol.name.starts_with(".L") => (4, 4),
        false => (4, 0),
    };
    let (offset, size) = (piece.offset.cast_signed(), piece.size().cast_signed());
    let at = relocation.addend.checked_add(distance + offset);
    at.is_some_and(|at| (-more..size).contains(&at))
}

/// Returns the piece at which a symbol stands, as [`piece`] does.
pub(crate) fn of_symbol<'d>(raw: &Raw<'d>, symbol: &RawSymbol<'d>) -> Option<Piece<'d>> {
    let section = merged(raw, symbol)?;
    let piece = at_place(section, symbol.value, 0)?;
    (symbol.kind != elf::STT_SECTION && is_one_piece(symbol, &piece)).then_some(piece)
}

/// The section of a symbol, if it is merged.
fn merged<'r, 'd>(raw: &'r Raw<'d>, symbol: &RawSymbol<'d>) -> Option<&'r RawSection<'d>> {
    let Place::Section(index) = symbol.place else {
        return None;
    };
    let section = raw.sections.get(index as usize)?;
    let is_merged = section.has(elf::SHF_MERGE) && !section.has(elf::SHF_WRITE);
    (is_merged && section.relocations.is_empty()).then_some(section)
}

fn at_place<'d>(section: &RawSection<'d>, at: u64, addend: i64) -> Option<Piece<'d>> {
    let (start, bytes, terminated) = around(section, usize::try_from(at).ok()?)?;
    Some(Piece {
        bytes,
        terminated,
        offset: at - start as u64,
        addend,
    })
}

/// For a symbol of the section itself the addend says which piece is meant, as linkers see it; so assemblers use one only where the addend has no other
/// meaning (the distance from the field to the next instruction). Other symbols stand at their piece.
fn target(machine: u16, symbol: &RawSymbol<'_>, relocation: &Relocation) -> Option<(u64, i64)> {
    if symbol.kind != elf::STT_SECTION {
        return Some((symbol.value, relocation.addend));
    }
    const PLAIN: [u32; 4] = [
        elf::R_X86_64_64,
        elf::R_X86_64_32,
        elf::R_X86_64_32S,
        elf::R_X86_64_PC32,
    ];
    if machine != elf::EM_AARCH64 && !PLAIN.contains(&relocation.kind) {
        return None;
    }
    Some((symbol.value.checked_add_signed(relocation.addend)?, 0))
}

fn around<'d>(section: &RawSection<'d>, at: usize) -> Option<(usize, &'d [u8], bool)> {
    let size = usize::try_from(section.entry_size)
        .ok()
        .filter(|size| *size > 0)?;
    let data = section.data;
    if at >= data.len() {
        return None;
    }
    if !section.has(elf::SHF_STRINGS) {
        let start = at - at % size;
        return Some((start, data.get(start..start + size)?, false));
    }
    if size != 1 {
        return None;
    }
    let start = data[..at]
        .iter()
        .rposition(|byte| *byte == 0)
        .map_or(0, |zero| zero + 1);
    let length = data[start..].iter().position(|byte| *byte == 0)?;
    Some((start, &data[start..start + length], true))
}
