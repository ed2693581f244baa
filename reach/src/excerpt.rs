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
        match &self.pieces[..] {
            [] => (self.length == 0).then_some(&[]),
            [piece] => (piece.bytes.len() as u64 == self.length).then(|| &self.bytes[piece.bytes.clone()]),
            _ => None,
        }
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

    /// The places of the sections that are looked at, in the file's order, but for what is read already. None if any two lie over one another,
    /// which they never do where a compiler made them.
    fn wanted(&self, table: &Range<u64>, names: Range<u64>) -> Option<Vec<Range<u64>>> {
        let strings = self.read_bytes_at(names.start, names.end - names.start).ok()?;
        let sections = self.sections()?;
        let is_loaded = |section: &Section| section.sh_flags(LE) & u64::from(elf::SHF_ALLOC) != 0;
        let is_left_out = |section: &Section| match section.sh_type(LE) {
            elf::SHT_REL | elf::SHT_RELA => sections
                .get(section.sh_info(LE) as usize)
                .is_some_and(|target| !is_loaded(target)),
            _ => {
                let name = text(strings, section.sh_name(LE));
                !is_loaded(section) && name.is_some_and(|name| name.starts_with(".debug_"))
            }
        };
        let read = [0..size_of::<Header>() as u64, table.clone(), names];
        let places = sections.iter().filter(|section| !is_left_out(section));
        let mut wanted: Vec<Range<u64>> = places.filter_map(range).collect();
        wanted.retain(|range| !range.is_empty() && !read.contains(range));
        wanted.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in wanted {
            if read
                .iter()
                .any(|read| range.start < read.end && read.start < range.end)
            {
                return None;
            }
            let is_between =
                |last: &Range<u64>, read: &Range<u64>| (last.end..=range.start).contains(&read.start);
            match joined.last_mut() {
                Some(last) if range.start < last.end => return None,
                Some(last)
                    if range.start - last.end <= GAP && !read.iter().any(|read| is_between(last, read)) =>
                {
                    last.end = range.end;
                }
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
        if let Some(more) = end.checked_sub(self.bytes.len()) {
            self.bytes.try_reserve(more).map_err(io::Error::other)?;
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
        if range.end > self.length {
            return Err(());
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::raw::{Raw, Shape};

    /// A section: name, type, flags, the section that it is about, and its content.
    type Given<'g> = (&'g str, u32, u32, u32, &'g [u8]);

    const LONG: &[u8] = &[7; 100_000];
    /// One relocation, of no symbol.
    const RELOCATION: &[u8] = &[0; 24];

    /// An object with these sections behind one another, their names, and the table of all at `table_first` or at the end.
    fn object(given: &[Given<'_>], table_first: bool) -> Vec<u8> {
        let count = given.len() + 2;
        let table_bytes = count * size_of::<Section>();
        let mut object = vec![0; size_of::<Header>() + if table_first { table_bytes } else { 0 }];
        let mut names = vec![0];
        let mut table = vec![0; size_of::<Section>()];
        let mut add =
            |object: &mut Vec<u8>, names: &mut Vec<u8>, (name, kind, flags, info, content): Given<'_>| {
                let [name_at, start] = [names.len(), object.len()].map(|number| number as u64);
                names.extend(name.as_bytes());
                names.push(0);
                object.extend(content);
                table.extend((name_at as u32).to_le_bytes());
                table.extend(kind.to_le_bytes());
                for number in [
                    u64::from(flags),
                    0,
                    start,
                    content.len() as u64,
                    u64::from(info) << 32,
                    1,
                ] {
                    table.extend(number.to_le_bytes());
                }
                table.extend(24u64.to_le_bytes());
            };
        for section in given {
            add(&mut object, &mut names, *section);
        }
        let all = [&names[..], b".shstrtab\0"].concat();
        add(
            &mut object,
            &mut names,
            (".shstrtab", elf::SHT_STRTAB, 0, 0, &all),
        );
        let table_at = if table_first {
            size_of::<Header>()
        } else {
            object.len()
        };
        object.resize(object.len().max(table_at + table_bytes), 0);
        object[table_at..table_at + table_bytes].copy_from_slice(&table);
        object[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        object[16] = elf::ET_REL as u8;
        object[18] = elf::EM_X86_64 as u8;
        object[20] = 1;
        object[40..48].copy_from_slice(&(table_at as u64).to_le_bytes());
        object[58] = size_of::<Section>() as u8;
        object[60] = count as u8;
        object[62] = count as u8 - 1;
        object
    }

    fn read(content: &[u8]) -> Excerpt {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        let mut excerpt = Excerpt::default();
        Excerpt::read(&mut excerpt, &file).expect("read");
        excerpt
    }

    fn sections(parsed: Result<Raw<'_>, Shape>) -> Vec<(String, Vec<u8>, usize)> {
        let sections = parsed.expect("an object").sections.into_iter();
        let all = sections.map(|section| {
            (
                section.name.to_owned(),
                section.data.to_vec(),
                section.relocations.len(),
            )
        });
        all.collect()
    }

    #[test]
    fn all_is_read_but_debug_information() {
        let loaded = elf::SHF_ALLOC;
        let given: [Given<'_>; 7] = [
            (".text", elf::SHT_PROGBITS, loaded, 0, b"code"),
            (".debug_info", elf::SHT_PROGBITS, 0, 0, LONG),
            (".rela.debug_info", elf::SHT_RELA, 0, 2, RELOCATION),
            (".rela.text", elf::SHT_RELA, 0, 1, RELOCATION),
            (".debug_of_its_own", elf::SHT_PROGBITS, loaded, 0, b"data"),
            (".rela.debug_of_its_own", elf::SHT_RELA, 0, 5, RELOCATION),
            (".comment", elf::SHT_PROGBITS, 0, 0, b"a compiler"),
        ];
        for table_first in [true, false] {
            let object = object(&given, table_first);
            let excerpt = read(&object);
            assert!(excerpt.whole().is_none() && excerpt.filled < LONG.len());
            let found = sections(Raw::parse(&excerpt));
            assert_eq!(found, sections(Raw::parse(&object[..])));
            let text = found.iter().find(|(name, ..)| name == ".text");
            assert_eq!(
                text.map(|(_, data, relocations)| (&data[..], *relocations)),
                Some((&b"code"[..], 1))
            );
            let own = found.iter().find(|(name, ..)| name == ".debug_of_its_own");
            assert_eq!(
                own.map(|(_, data, relocations)| (&data[..], *relocations)),
                Some((&b"data"[..], 1))
            );
        }
    }

    #[test]
    fn what_lies_over_one_another_is_read_once() {
        let given: [Given<'_>; 2] = [
            (".debug_info", elf::SHT_PROGBITS, 0, 0, LONG),
            (".data", elf::SHT_PROGBITS, elf::SHF_ALLOC, 0, b"data"),
        ];
        let mut object = object(&given, true);
        // The section of data is all of the file.
        let place = size_of::<Header>() + 2 * size_of::<Section>() + 24;
        let length = object.len() as u64;
        object[place..place + 8].fill(0);
        object[place + 8..place + 16].copy_from_slice(&length.to_le_bytes());
        let excerpt = read(&object);
        assert_eq!(excerpt.whole(), Some(&object[..]));
        assert_eq!(sections(Raw::parse(&excerpt)), sections(Raw::parse(&object[..])));
    }

    #[test]
    fn what_is_no_object_or_cut_short_is_read_as_it_is() {
        let object = object(&[(".debug_info", elf::SHT_PROGBITS, 0, 0, LONG)], false);
        for content in [&b""[..], b"short", LONG, &object[..object.len() - 1]] {
            assert_eq!(read(content).whole(), Some(content));
        }
    }

    #[test]
    fn what_was_not_read_is_an_error() {
        let excerpt = read(&object(&[(".debug_info", elf::SHT_PROGBITS, 0, 0, LONG)], true));
        let length = excerpt.length;
        assert_eq!((&excerpt).read_bytes_at(50_000, 1), Err(()));
        assert_eq!((&excerpt).read_bytes_at(0, length), Err(()));
        assert_eq!((&excerpt).read_bytes_at_until(0..length + 1, 0), Err(()));
        assert_eq!((&excerpt).read_bytes_at(length, 0), Ok(&[][..]));
    }
}
