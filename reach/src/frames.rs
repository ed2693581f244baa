//! Unwind tables: which exception table and personality belong to which function.
//!
//! `.eh_frame` of an object holds an entry for each function. What unwinding does in a function is that entry, the
//! common entry it names, and the tables that both refer to; so all of these become part of the function's section.

use crate::raw::{Raw, RawSection, Relocation, Shape};

/// What an unwind table adds to a function.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The section of the function.
    pub(crate) section: u32,
    /// The bytes of the common entry and the function's, without their lengths and the distance between them.
    pub(crate) bytes: Vec<u8>,
    /// Their relocations, with offsets in `bytes`.
    pub(crate) relocations: Vec<Relocation>,
}

/// The bytes of an entry's length and of the distance to its common entry.
const HEAD: usize = 8;

/// Where the address of the function is in its entry.
const FUNCTION_AT: u64 = 8;

/// Takes the unwind tables of an object apart.
pub(crate) fn frames(raw: &Raw<'_>) -> Result<Vec<Frame>, Shape> {
    let tables = raw.sections.iter().filter(|section| section.name == ".eh_frame");
    let mut found = Vec::new();
    for table in tables {
        read(raw, table, &mut found)?;
    }
    Ok(found)
}

fn damaged() -> Shape {
    Shape::Damaged("its unwind table".to_owned())
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn read(raw: &Raw<'_>, table: &RawSection<'_>, found: &mut Vec<Frame>) -> Result<(), Shape> {
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
            found.extend(function(raw, table, common, at, end)?);
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
    at: usize,
    end: usize,
) -> Result<Option<Frame>, Shape> {
    let common_end = entry_end(table, common)?;
    let mut frame = Frame {
        section: 0,
        bytes: Vec::new(),
        relocations: Vec::new(),
    };
    for (from, to) in [(common, common_end), (at, end)] {
        let entry = unpadded(&table.data[from + HEAD..to]);
        frame.bytes.extend_from_slice(&(entry.len() as u64).to_le_bytes());
        let base = frame.bytes.len() as u64;
        frame.bytes.extend_from_slice(entry);
        let moved = within(table, from, to).iter().map(|relocation| Relocation {
            offset: (relocation.offset - from as u64)
                .wrapping_sub(HEAD as u64)
                .wrapping_add(base),
            ..*relocation
        });
        frame.relocations.extend(moved);
    }
    let address = within(table, at, end)
        .iter()
        .find(|relocation| relocation.offset == at as u64 + FUNCTION_AT);
    let Some(address) = address else {
        return Err(Shape::Unknown("an unwind entry of no function".to_owned()));
    };
    let symbol = raw.symbols.get(address.symbol as usize).ok_or_else(damaged)?;
    Ok(match symbol.place {
        crate::raw::Place::Section(section) => {
            frame.section = section;
            Some(frame)
        }
        _ => None,
    })
}
