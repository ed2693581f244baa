//! Programs and libraries without their debug sections, which travel apart.
//!
//! A lean file is the original up to the end of what is loaded, then the sections that are not loaded and no debug
//! sections, and one more, `.gnu_debuglink`, that names the original: whoever looks for lines (the standard
//! library's backtraces among them) finds it in the folder `.debug` beside the program. Sections keep their numbers,
//! since symbols name theirs. Layouts that are not what linkers make for Linux are left as they are.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use object::LittleEndian as LE;
use object::elf::{
    ELFCLASS64, ELFDATA2LSB, ELFMAG, ET_DYN, ET_EXEC, FileHeader64, PT_NULL, ProgramHeader64, SHF_ALLOC,
    SHT_NOBITS, SHT_NULL, SHT_PROGBITS, SHT_REL, SHT_RELA, SHT_RELR, SectionHeader64,
};
use object::pod::{self, Pod};

/// Debug sections that are shorter than this together stay where they are.
const APART_BYTES_MIN: u64 = 128 << 10;
const LINK_SECTION: &[u8] = b".gnu_debuglink";
/// Section names are not expected to take more.
const NAMES_BYTES_MAX: u64 = 1 << 20;
/// No section that is not loaded is aligned to more bytes.
const ALIGN_MAX: u64 = 4096;
/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

type Header = FileHeader64<LE>;
type Section = SectionHeader64<LE>;
type Segment = ProgramHeader64<LE>;

/// How a lean file is made of its original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lean {
    /// Sorted by where they begin; between them are zeros.
    pieces: Vec<Piece>,
    size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    at: u64,
    size: u64,
    content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// From there on in the original.
    Original(u64),
    Bytes(Vec<u8>),
}

impl Lean {
    /// Says how to make a lean file of `file`, whose debug sections will be in a file of the name `link`. `None` for
    /// what is no 64-bit ELF program or library with much of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn of(file: &File, link: &str) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        Ok(Original::read(file, length)?.and_then(|original| original.lean(link)))
    }

    /// Length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` with the content from `offset` on. `file` is the original.
    pub(super) fn read_exact_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        let first = self
            .pieces
            .partition_point(|piece| piece.at + piece.size <= offset);
        for piece in self.pieces[first..].iter().take_while(|piece| piece.at < end) {
            let (from, to) = (piece.at.max(offset), (piece.at + piece.size).min(end));
            let part = &mut buffer[(from - offset) as usize..(to - offset) as usize];
            let within = from - piece.at;
            match &piece.content {
                Content::Original(begin) => file.read_exact_at(part, begin + within)?,
                Content::Bytes(bytes) => part.copy_from_slice(&bytes[within as usize..][..part.len()]),
            }
        }
        Ok(())
    }

    /// Reads the content from its begin to its end.
    pub(super) fn reader(&self, file: File) -> impl Read + '_ {
        Reader {
            lean: self,
            file,
            buffer: Vec::new(),
            taken: 0,
            offset: 0,
        }
    }

    fn push(&mut self, content: Content, size: u64, align: u64) -> u64 {
        let at = self.size.next_multiple_of(align.max(1));
        self.pieces.push(Piece { at, size, content });
        self.size = at + size;
        at
    }

    fn push_bytes(&mut self, bytes: Vec<u8>, align: u64) -> u64 {
        let size = bytes.len() as u64;
        self.push(Content::Bytes(bytes), size, align)
    }
}

struct Reader<'a> {
    lean: &'a Lean,
    file: File,
    buffer: Vec<u8>,
    taken: usize,
    /// Where what comes behind the buffer begins.
    offset: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.buffer.len() {
            let rest = self.lean.size - self.offset;
            self.buffer.resize(rest.min(READ_BYTES as u64) as usize, 0);
            self.lean
                .read_exact_at(&self.file, &mut self.buffer, self.offset)?;
            self.offset += self.buffer.len() as u64;
            self.taken = 0;
        }
        let read = (&self.buffer[self.taken..]).read(out)?;
        self.taken += read;
        Ok(read)
    }
}

/// What an ELF file says of its layout.
struct Original {
    header: Header,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    /// The names of the sections.
    names: Vec<u8>,
    length: u64,
}

impl Original {
    fn read(file: &File, length: u64) -> io::Result<Option<Self>> {
        let read = |offset: u64, size: u64| -> io::Result<Option<Vec<u8>>> {
            if offset.checked_add(size).is_none_or(|end| end > length) {
                return Ok(None);
            }
            let mut bytes = vec![0; size as usize];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(Some(bytes))
        };
        let Some(bytes) = read(0, size_of::<Header>() as u64)? else {
            return Ok(None);
        };
        let Some(header) = one::<Header>(&bytes).filter(is_usual) else {
            return Ok(None);
        };
        let segments = u64::from(header.e_phnum.get(LE)) * size_of::<Segment>() as u64;
        let sections = u64::from(header.e_shnum.get(LE)) * size_of::<Section>() as u64;
        let (Some(segments), Some(sections)) = (
            read(header.e_phoff.get(LE), segments)?,
            read(header.e_shoff.get(LE), sections)?,
        ) else {
            return Ok(None);
        };
        let (segments, sections) = (many::<Segment>(&segments), many::<Section>(&sections));
        let names = sections.get(usize::from(header.e_shstrndx.get(LE)));
        let Some(names) = names.filter(|names| names.sh_size.get(LE) <= NAMES_BYTES_MAX) else {
            return Ok(None);
        };
        let Some(names) = read(names.sh_offset.get(LE), names.sh_size.get(LE))? else {
            return Ok(None);
        };
        Ok(Some(Self {
            header,
            segments,
            sections,
            names,
            length,
        }))
    }

    fn lean(mut self, link: &str) -> Option<Lean> {
        let debug: Vec<usize> = (0..self.sections.len())
            .filter(|index| self.is_debug(*index))
            .collect();
        let loaded = self.loaded_bytes()?;
        let others = self.not_loaded(loaded)?;
        if !self.may_lose(&debug, loaded) {
            return None;
        }
        let apart = debug.iter().map(|index| size(&self.sections[*index]));
        if apart.fold(0, u64::saturating_add) < APART_BYTES_MIN {
            return None;
        }
        let mut lean = Lean {
            pieces: Vec::new(),
            size: 0,
        };
        let header_size = size_of::<Header>() as u64;
        // Its content follows when it is known where the sections are.
        lean.push_bytes(Vec::new(), 1);
        lean.size = header_size;
        lean.push(Content::Original(header_size), loaded - header_size, 1);
        for index in others {
            let section = &mut self.sections[index];
            let content = Content::Original(section.sh_offset.get(LE));
            let at = lean.push(content, size(section), section.sh_addralign.get(LE));
            section.sh_offset.set(LE, at);
        }
        self.link(&mut lean, &debug, link)?;
        let table = pod::bytes_of_slice(&self.sections).to_vec();
        let at = lean.push_bytes(table, 8);
        self.header.e_shoff.set(LE, at);
        lean.pieces[0].content = Content::Bytes(pod::bytes_of(&self.header).to_vec());
        lean.pieces[0].size = header_size;
        Some(lean)
    }

    /// Puts the link in the place of the first debug section, and nothing in that of the others.
    fn link(&mut self, lean: &mut Lean, debug: &[usize], link: &str) -> Option<()> {
        let mut content = link.as_bytes().to_vec();
        content.push(0);
        content.resize(content.len().next_multiple_of(4), 0);
        // A checksum of the other file. Those who look for lines within a process do not compare it.
        content.extend_from_slice(&[0; 4]);
        let (first, rest) = debug.split_first()?;
        for index in rest {
            self.sections[*index] = one::<Section>(&[0; size_of::<Section>()])?;
        }
        let mut names = self.names.clone();
        let name = u32::try_from(names.len()).ok()?;
        names.extend_from_slice(LINK_SECTION);
        names.push(0);
        let section = &mut self.sections[*first];
        section.sh_name.set(LE, name);
        section.sh_type.set(LE, SHT_PROGBITS);
        section.sh_flags.set(LE, 0);
        section.sh_size.set(LE, content.len() as u64);
        section.sh_link.set(LE, 0);
        section.sh_info.set(LE, 0);
        section.sh_addralign.set(LE, 4);
        section.sh_entsize.set(LE, 0);
        section.sh_offset.set(LE, lean.push_bytes(content, 4));
        let section = &mut self.sections[usize::from(self.header.e_shstrndx.get(LE))];
        section.sh_size.set(LE, names.len() as u64);
        section.sh_offset.set(LE, lean.push_bytes(names, 1));
        Some(())
    }

    fn name(&self, section: &Section) -> &[u8] {
        let name = self.names.get(section.sh_name.get(LE) as usize..);
        let name = name.unwrap_or_default();
        name.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn is_debug(&self, index: usize) -> bool {
        let section = &self.sections[index];
        let name = self.name(section);
        section.sh_type.get(LE) == SHT_PROGBITS
            && !is_loaded(section)
            && (name.starts_with(b".debug_") || name.starts_with(b".zdebug_"))
    }

    /// Where what is loaded ends, the file's own header and that of its segments included.
    fn loaded_bytes(&self) -> Option<u64> {
        let segments = self.segments.iter().filter(|s| s.p_type.get(LE) != PT_NULL);
        let segments = segments.map(|s| s.p_offset.get(LE).checked_add(s.p_filesz.get(LE)));
        let sections = self.sections.iter().filter(|s| is_loaded(s) && in_file(s));
        let headers = self.header.e_phoff.get(LE) + pod::bytes_of_slice(&self.segments).len() as u64;
        let ends = segments.chain(sections.map(end));
        let loaded = ends.chain([Some(headers)]).try_fold(0, |a, b| Some(b?.max(a)))?;
        (loaded >= size_of::<Header>() as u64 && loaded <= self.length).then_some(loaded)
    }

    /// The sections that are to be placed anew, in the order of the file; `None` when one lies partly in what is
    /// loaded, or outside the file, or is aligned oddly.
    fn not_loaded(&self, loaded: u64) -> Option<Vec<usize>> {
        let names = usize::from(self.header.e_shstrndx.get(LE));
        let mut placed = Vec::new();
        for (index, section) in self.sections.iter().enumerate() {
            if is_loaded(section) || !in_file(section) || self.is_debug(index) || index == names {
                continue;
            }
            let begin = section.sh_offset.get(LE);
            let align = section.sh_addralign.get(LE);
            if begin < loaded || end(section)? > self.length || align > ALIGN_MAX {
                return None;
            }
            placed.push((begin, index));
        }
        placed.sort_unstable();
        Some(placed.into_iter().map(|(_, index)| index).collect())
    }

    /// Whether nothing else hangs on the debug sections.
    fn may_lose(&self, debug: &[usize], loaded: u64) -> bool {
        let apart = debug.iter().all(|index| {
            let section = &self.sections[*index];
            section.sh_offset.get(LE) >= loaded && end(section).is_some_and(|end| end <= self.length)
        });
        let names = self.sections.iter().map(|section| self.name(section));
        let relocations = |section: &&Section| {
            !is_loaded(section) && matches!(section.sh_type.get(LE), SHT_REL | SHT_RELA | SHT_RELR)
        };
        apart
            && !names.into_iter().any(|name| name == LINK_SECTION)
            && !self.sections.iter().any(|section| relocations(&section))
    }
}

/// What can be made lean without surprises.
fn is_usual(header: &Header) -> bool {
    let ident = &header.e_ident;
    ident.magic == ELFMAG
        && ident.class == ELFCLASS64
        && ident.data == ELFDATA2LSB
        && matches!(header.e_type.get(LE), ET_EXEC | ET_DYN)
        && usize::from(header.e_phentsize.get(LE)) == size_of::<Segment>()
        && usize::from(header.e_shentsize.get(LE)) == size_of::<Section>()
}

fn is_loaded(section: &Section) -> bool {
    section.sh_flags.get(LE) & u64::from(SHF_ALLOC) != 0
}

fn in_file(section: &Section) -> bool {
    !matches!(section.sh_type.get(LE), SHT_NULL | SHT_NOBITS)
}

fn size(section: &Section) -> u64 {
    section.sh_size.get(LE)
}

fn end(section: &Section) -> Option<u64> {
    section.sh_offset.get(LE).checked_add(size(section))
}

fn one<T: Pod>(bytes: &[u8]) -> Option<T> {
    pod::from_bytes::<T>(bytes).ok().map(|(value, _)| *value)
}

fn many<T: Pod>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).filter_map(one).collect()
}

#[cfg(test)]
mod tests;
