//! An object file without its debug information, which is most of it and is not looked at.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::LittleEndian;
use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader, SectionHeader};

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
    /// In the order of the file, and apart from one another.
    pieces: Vec<Piece>,
    /// Memory, of which the beginning is filled.
    bytes: Vec<u8>,
    filled: usize,
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
    /// The file cannot be read, or is cut short meanwhile.
    pub(crate) fn read(&mut self, file: &File) -> io::Result<()> {
        self.clear();
        self.length = file.metadata()?.len();
        if self.length > SHORT && self.object(file).is_some() {
            return Ok(());
        }
        self.clear();
        self.add(file, 0..self.length)
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.filled = 0;
    }

    /// The whole file, if all of it was read.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        (self.filled as u64 == self.length).then(|| &self.bytes[..self.filled])
    }

    /// Reads what is looked at of an object; none if the file is no object, or has an unusual form.
    fn object(&mut self, file: &File) -> Option<()> {
        self.add(file, 0..size_of::<Header>() as u64).ok()?;
        let header = Header::parse(&*self).ok()?;
        let (table, count) = (header.e_shoff(LE), u64::from(header.e_shnum(LE)));
        let names = usize::from(header.e_shstrndx(LE));
        header.endian().ok()?;
        if header.e_type(LE) != elf::ET_REL {
            return None;
        }
        let table = table..table.checked_add(count * size_of::<Section>() as u64)?;
        self.add(file, table.clone()).ok()?;
        let names = range(self.sections()?.get(names)?)?;
        self.add(file, names.clone()).ok()?;
        for range in self.wanted(&table, names)? {
            self.add(file, range).ok()?;
        }
        Some(())
    }

    fn sections(&self) -> Option<&[Section]> {
        let sections = Header::parse(self).ok()?.section_headers(LE, self);
        sections.ok().filter(|sections| !sections.is_empty())
    }

    /// The places of the sections that are looked at, in the file's order, but for what is read already.
    fn wanted(&self, table: &Range<u64>, names: Range<u64>) -> Option<Vec<Range<u64>>> {
        let strings = self.read_bytes_at(names.start, names.end - names.start).ok()?;
        let is_debug = |section: &&Section| {
            let name = text(strings, section.sh_name(LE));
            section.sh_flags(LE) & u64::from(elf::SHF_ALLOC) == 0
                && name.is_some_and(|name| name.starts_with(".debug_") || name.starts_with(".rela.debug_"))
        };
        let sections = self.sections()?.iter().filter(|section| !is_debug(section));
        let mut wanted: Vec<Range<u64>> = sections.filter_map(range).collect();
        let read = [0..size_of::<Header>() as u64, table.clone(), names];
        wanted.retain(|range| !read.contains(range));
        let mut joined: Vec<Range<u64>> = Vec::new();
        wanted.sort_unstable_by_key(|range| range.start);
        for range in wanted {
            let is_near = |last: &Range<u64>| {
                range.start <= last.end.saturating_add(GAP)
                    && !read
                        .iter()
                        .any(|read| last.start <= read.start && read.start < range.end)
            };
            match joined.last_mut() {
                Some(last) if is_near(last) => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Some(joined)
    }

    fn add(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() || range.end > self.length {
            return Ok(());
        }
        let start = self.filled;
        let end = start + usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        file.read_exact_at(&mut self.bytes[start..end], range.start)?;
        self.filled = end;
        let piece = Piece {
            start: range.start,
            bytes: start..end,
        };
        let place = self.pieces.partition_point(|piece| piece.start <= range.start);
        self.pieces.insert(place, piece);
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

/// Where a section is in the file; none if it has nothing there.
fn range(section: &Section) -> Option<Range<u64>> {
    let (start, size) = section.file_range(LE)?;
    Some(start..start.checked_add(size)?)
}
