//! Unwind tables: which exception table and personality belong to which function.
//!
//! `.eh_frame` of an object holds an entry for each function. What unwinding does in a function is that entry, the
//! common entry it names, and the tables that both refer to; so all of these become part of the function's section.

use std::ops::Range;

use crate::raw::{self, Raw, RawSection, Relocation, Shape};

/// What the unwind tables of an object add to its functions.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// By section.
    all: Vec<Place>,
    bytes: Vec<u8>,
    relocations: Vec<Relocation>,
}

#[derive(Debug)]
struct Place {
    /// The section of the function.
    section: u32,
    /// Where in the memory of all.
    bytes: Range<usize>,
    relocations: Range<usize>,
}

/// What an unwind table adds to a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'f> {
    /// The bytes of the common entry and the function's, without their lengths and the distance between them.
    pub(crate) bytes: &'f [u8],
    /// Their relocations, with offsets in `bytes`.
    pub(crate) relocations: &'f [Relocation],
}

impl Frames {
    /// Those of one section, in the table's order.
    pub(crate) fn of(&self, section: u32) -> impl ExactSizeIterator<Item = Frame<'_>> {
        let start = self.all.partition_point(|place| place.section < section);
        let end = self.all.partition_point(|place| place.section <= section);
        self.all[start..end].iter().map(|place| Frame {
            bytes: &self.bytes[place.bytes.clone()],
            relocations: &self.relocations[place.relocations.clone()],
        })
    }
}

/// The bytes of an entry's length and of the distance to its common entry.
const HEAD: usize = 8;

/// Where the address of the function is in its entry.
const FUNCTION_AT: u64 = 8;

/// Takes the unwind tables of an object apart.
pub(crate) fn frames(raw: &Raw<'_>) -> Result<Frames, Shape> {
    let tables = raw.sections.iter().filter(|section| section.name == ".eh_frame");
    let mut found = Frames::default();
    for table in tables {
        read(raw, table, &mut found)?;
    }
    found.all.sort_by_key(|place| place.section);
    Ok(found)
}

fn damaged() -> Shape {
    Shape::Damaged("its unwind table".to_owned())
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn read(raw: &Raw<'_>, table: &RawSection<'_>, found: &mut Frames) -> Result<(), Shape> {
    let mut at = 0;
    while at < table.data.len() {
        let length = word(table.data, at).ok_or_else(damaged)?;
        if length == 0 {
            // The end of the table, though more may follow in a file that was put together from several.
            at += 4;
            continue;
        }
        let end = entry_end(table, at)?;
        let distance = word(table.data, at + 4).ok_or_else(damaged)? as usize;
        if distance != 0 {
            let common = (at + 4).checked_sub(distance).ok_or_else(damaged)?;
            function(raw, table, common, at..end, found)?;
        }
        at = end;
    }
    Ok(())
}

fn entry_end(table: &RawSection<'_>, at: usize) -> Result<usize, Shape> {
    let length = word(table.data, at).ok_or_else(damaged)?;
    if length == u32::MAX {
        return Err(Shape::Unknown("a 64-bit unwind table".to_owned()));
    }
    let end = at + 4 + length as usize;
    if end > table.data.len() || length < 4 {
        return Err(damaged());
    }
    Ok(end)
}

fn within<'t>(table: &'t RawSection<'_>, from: usize, to: usize) -> &'t [Relocation] {
    let start = table.relocations.partition_point(|r| r.offset < from as u64);
    let stop = table.relocations.partition_point(|r| r.offset < to as u64);
    &table.relocations[start..stop.max(start)]
}

/// Entries are padded with zeros, which do nothing, as their place in the table asks for. (A zero that ends the last
/// instruction is cut off as well: zeros behind what is left say the same, however many there are.)
fn unpadded(entry: &[u8]) -> &[u8] {
    let length = entry
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    &entry[..length]
}

fn function(
    raw: &Raw<'_>,
    table: &RawSection<'_>,
    common: usize,
    entry: Range<usize>,
    found: &mut Frames,
) -> Result<(), Shape> {
    let common_end = entry_end(table, common)?;
    let at = entry.start;
    let relocations = within(table, at, entry.end);
    let address = relocations
        .iter()
        .find(|relocation| relocation.offset == at as u64 + FUNCTION_AT);
    let Some(address) = address else {
        return Err(Shape::Unknown("an unwind entry of no function".to_owned()));
    };
    let symbol = raw.symbols.get(address.symbol as usize).ok_or_else(damaged)?;
    let raw::Place::Section(section) = symbol.place else {
        return Ok(());
    };
    let (start, first) = (found.bytes.len(), found.relocations.len());
    for Range { start: from, end: to } in [common..common_end, entry] {
        let entry = unpadded(&table.data[from + HEAD..to]);
        found.bytes.extend_from_slice(&(entry.len() as u64).to_le_bytes());
        let base = (found.bytes.len() - start) as u64;
        found.bytes.extend_from_slice(entry);
        let moved = within(table, from, to).iter().map(|relocation| Relocation {
            offset: (relocation.offset - from as u64)
                .wrapping_sub(HEAD as u64)
                .wrapping_add(base),
            ..*relocation
        });
        found.relocations.extend(moved);
    }
    found.all.push(Place {
        section,
        bytes: start..found.bytes.len(),
        relocations: first..found.relocations.len(),
    });
    Ok(())
}
