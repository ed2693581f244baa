//! An object file without its debug information, which is most of it and is not looked at.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, SectionHeader};
use object::read::{ReadCache, ReadRef};

use crate::image::text;

type Header = elf::FileHeader64<LittleEndian>;
type Section = elf::SectionHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// Shorter files are read at once.
const SHORT: u64 = 64 << 10;

/// What lies between two places of a file is read along if it is no longer than this: a call of the system costs as much.
const GAP: u64 = 4 << 10;

/// What was read of a file. Its memory is used again for the next one. What was not read is an error to who asks for it.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    /// The length of the file.
    length: u64,
    /// In the order of the file.
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Piece {
    start: u64,
    /// Where it is in the memory.
    bytes: Range<usize>,
}

impl Excerpt {
    /// Reads a file: of an object what is looked at, of any other all.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(&mut self, file: &mut File) -> io::Result<()> {
        self.pieces.clear();
        self.bytes.clear();
        self.length = file.metadata()?.len();
        let wanted = (self.length > SHORT).then(|| wanted(file)).flatten();
        if let Some(wanted) = wanted {
            return wanted.into_iter().try_for_each(|range| self.add(file, range));
        }
        file.rewind()?;
        self.length = file.read_to_end(&mut self.bytes)? as u64;
        self.pieces.push(Piece {
            start: 0,
            bytes: 0..self.bytes.len(),
        });
        Ok(())
    }

    /// The whole file, if all of it was read.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (self.bytes.len() as u64 == self.length).then_some(&self.bytes)
    }

    fn add(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        // A file that is shorter than its sections say is damaged, which is found out when they are asked for.
        let range = range.start..range.end.min(self.length);
        let length = range.end.saturating_sub(range.start);
        let start = self.bytes.len();
        let end = start + usize::try_from(length).map_err(io::Error::other)?;
        self.bytes.resize(end, 0);
        file.read_exact_at(&mut self.bytes[start..], range.start)?;
        self.pieces.push(Piece {
            start: range.start,
            bytes: start..end,
        });
        Ok(())
    }

    /// What was read from a place on, up to the next that was not.
    fn from(&self, offset: u64) -> Option<&[u8]> {
        let after = self.pieces.partition_point(|piece| piece.start <= offset);
        let piece = &self.pieces[after.checked_sub(1)?];
        self.bytes[piece.bytes.clone()].get(usize::try_from(offset - piece.start).ok()?..)
    }
}

impl<'e> ReadRef<'e> for &'e Excerpt {
    fn len(self) -> Result<u64, ()> {
        Ok(self.length)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'e [u8], ()> {
        if size == 0 && offset <= self.length {
            return Ok(&[]);
        }
        let size = usize::try_from(size).map_err(drop)?;
        self.from(offset).and_then(|bytes| bytes.get(..size)).ok_or(())
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'e [u8], ()> {
        let bytes = self.from(range.start).ok_or(())?;
        let longest = usize::try_from(range.end.saturating_sub(range.start)).map_err(drop)?;
        let bytes = &bytes[..bytes.len().min(longest)];
        memchr::memchr(delimiter, bytes)
            .map(|end| &bytes[..end])
            .ok_or(())
    }
}

/// The places of an object that are looked at, in its order; none if the file is no object, or damaged.
fn wanted(file: &File) -> Option<Vec<Range<u64>>> {
    let cache = ReadCache::new(file);
    let header = Header::parse(&cache).ok()?;
    header.endian().ok()?;
    if header.e_type(LE) != elf::ET_REL {
        return None;
    }
    let sections = header.section_headers(LE, &cache).ok()?;
    let names = sections.get(header.shstrndx(LE, &cache).ok()? as usize)?;
    let names = names.data(LE, &cache).ok()?;
    let is_debug = |section: &Section| {
        let name = text(names, section.sh_name(LE));
        section.sh_flags(LE) & u64::from(elf::SHF_ALLOC) == 0
            && name.is_some_and(|name| name.starts_with(".debug_") || name.starts_with(".rela.debug_"))
    };
    let table = header.e_shoff(LE)..;
    let table = table.start..table.start.checked_add(size_of_val(sections) as u64)?;
    let mut wanted = vec![0..size_of::<Header>() as u64, table];
    for section in sections {
        if !is_debug(section)
            && let Some((start, size)) = section.file_range(LE)
        {
            wanted.push(start..start.checked_add(size)?);
        }
    }
    wanted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in wanted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    Some(joined)
}
