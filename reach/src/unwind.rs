//! The unwind table of a linked binary: by function, who decides what unwinding does there, and the table that it reads.
//!
//! The form is that of `.eh_frame` in the Linux Standard Base, "Exception Frames", with the encodings of its "DWARF Extensions".

use std::ops::Range;

use foldhash::{HashMap, HashMapExt};

use crate::memory::Memory;

/// What an entry refers to, by address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Of the routine, or of where its address is.
    pub(crate) personality: Option<u64>,
    pub(crate) table: Option<u64>,
}

/// What many entries have in common.
#[derive(Clone, Copy, Debug, Default)]
struct Common {
    personality: Option<u64>,
    /// How addresses of functions are written.
    functions: u8,
    /// How addresses of tables are written, if there are any.
    tables: Option<u8>,
    has_length: bool,
}

/// An encoding: no pointer at all.
const OMITTED: u8 = 0xff;

/// Reads the table at a place in memory. Returns its entries by the address of their function; none if it has a form that is not known.
pub(crate) fn entries(memory: &Memory<'_>, table: Range<u64>) -> Option<HashMap<u64, Entry>> {
    let mut commons: HashMap<u64, Common> = HashMap::new();
    let mut entries = HashMap::new();
    if table.is_empty() {
        return Some(entries);
    }
    let mut at = table.start;
    let bytes = memory.bytes(table.start, table.end - table.start)?;
    while at < table.end {
        let mut reader = Reader::new(bytes, table.start, at)?;
        let length = u64::from(reader.word()?);
        if length == 0 {
            // The end, though more may follow where the table was put together from several.
            at += 4;
            continue;
        }
        let start = reader.at;
        at = start.checked_add(length).filter(|end| *end <= table.end)?;
        match reader.word()? {
            0 => drop(commons.insert(start - 4, common(&mut reader)?)),
            distance => {
                let common = commons.get(&start.checked_sub(u64::from(distance))?)?;
                let function = reader.pointer(common.functions)?;
                // How long the function is.
                reader.pointer(common.functions & 0x0f)?;
                let mut entry = Entry {
                    personality: common.personality,
                    table: None,
                };
                if common.has_length {
                    reader.number()?;
                }
                if let Some(encoding) = common.tables {
                    entry.table = reader.pointer(encoding)?;
                }
                // None for one that was left out of the binary.
                if let Some(function) = function {
                    entries.insert(function, entry);
                }
            }
        }
    }
    Some(entries)
}

fn common(reader: &mut Reader<'_>) -> Option<Common> {
    let version = reader.byte()?;
    let mut letters = Vec::new();
    loop {
        match reader.byte()? {
            0 => break,
            letter => letters.push(letter),
        }
    }
    // How addresses and registers are counted, and where the return address is.
    reader.number()?;
    reader.number()?;
    match version {
        1 => drop(reader.byte()?),
        3 => drop(reader.number()?),
        _ => return None,
    }
    let mut common = Common::default();
    for letter in letters {
        match letter {
            b'z' => {
                reader.number()?;
                common.has_length = true;
            }
            b'P' => {
                let encoding = reader.byte()?;
                common.personality = reader.pointer(encoding)?;
            }
            b'L' => common.tables = Some(reader.byte()?).filter(|encoding| *encoding != OMITTED),
            b'R' => common.functions = reader.byte()?,
            b'S' => {}
            _ => return None,
        }
    }
    Some(common)
}

struct Reader<'b> {
    rest: &'b [u8],
    /// The address of what comes next.
    at: u64,
}

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8], start: u64, at: u64) -> Option<Self> {
        let rest = bytes.get(usize::try_from(at - start).ok()?..)?;
        Some(Self { rest, at })
    }

    fn take<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        self.at += COUNT as u64;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn word(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// Passes over a LEB128 number.
    fn number(&mut self) -> Option<()> {
        while self.byte()? & 0x80 != 0 {}
        Some(())
    }

    /// A pointer, or none inside if it is null.
    fn pointer(&mut self, encoding: u8) -> Option<Option<u64>> {
        const RELATIVE: u8 = 0x10;
        let at = self.at;
        let value = match encoding & 0x0f {
            0x00 | 0x04 | 0x0c => self.take().map(u64::from_le_bytes)?,
            0x03 => u64::from(self.word()?),
            0x0b => i64::from(self.word()? as i32) as u64,
            _ => return None,
        };
        let base = match encoding & 0x70 {
            0 => 0,
            RELATIVE => at,
            _ => return None,
        };
        Some((value != 0).then(|| value.wrapping_add(base)))
    }
}
