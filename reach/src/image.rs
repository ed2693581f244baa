//! The linked binary: what of it is loaded, and what it exports.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use foldhash::HashSet;
use object::LittleEndian;
use object::elf;
use object::read::ReadCache;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, Sym};
use thresh_core::digest::Digest;

use crate::compare::compare;
use crate::made::Made;
use crate::memory::Memory;

/// A linked executable.
#[derive(Debug)]
pub(crate) struct Image {
    path: PathBuf,
    /// The beginning of the file, up to the end of what the loader puts into memory.
    loaded: Vec<u8>,
    /// Of that.
    pub(crate) digest: Digest,
    /// None if they cannot be read.
    pub(crate) names: Option<Names>,
}

/// What a binary says of itself by names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Names that dynamic libraries may find in it.
    pub(crate) exports: Vec<String>,
    /// Names that are looked for in dynamic libraries.
    pub(crate) imports: HashSet<String>,
    /// File names of the dynamic libraries that it is loaded with.
    pub(crate) needed: Vec<String>,
    /// It says itself where these are looked for first.
    pub(crate) has_own_folders: bool,
    /// How many pages every thread gives to thread-locals: they are taken from its stack.
    pub(crate) thread_pages: u64,
}

/// The least page that machines of 64 bits have.
const PAGE_BYTES: u64 = 4_096;

type Header = elf::FileHeader64<LittleEndian>;
type Cache<'f> = ReadCache<&'f mut File>;

impl Image {
    /// Reads what a process has of a binary; none if it is not there, or no ELF executable. The rest is most of it, for its debug information.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let cache = Cache::new(&mut file);
        let header = Header::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        let names = Names::read(header, endian, &cache);
        let end = loaded_end(header, endian, &cache)?;
        let loaded = loaded(&mut file, end)?;
        Some(Self {
            path: path.to_owned(),
            names,
            digest: Digest::of(&loaded),
            loaded,
        })
    }

    /// The digest of a binary that is open.
    pub(crate) fn digest_of(file: &mut File) -> Option<Digest> {
        let cache = Cache::new(&mut *file);
        let header = Header::parse(&cache).ok()?;
        let end = loaded_end(header, header.endian().ok()?, &cache)?;
        Some(Digest::of(&loaded(file, end)?))
    }

    /// Compares it with what it should be. Says why it is something else.
    pub(crate) fn compare(&self, made: Made<'_>) -> Result<(), String> {
        let unread = || format!("{} cannot be read", self.path.display());
        let mut file = File::open(&self.path).map_err(|_| unread())?;
        let cache = Cache::new(&mut file);
        let memory = Memory::read(&cache, &self.loaded).ok_or_else(unread)?;
        compare(made, &memory).map_err(|unlike| unlike.to_string())
    }
}

impl Names {
    /// Reads the names; none where one of them cannot be read: no name may be passed over.
    fn read(header: &Header, endian: LittleEndian, content: &Cache<'_>) -> Option<Self> {
        let sections = header.sections(endian, content).ok()?;
        let strings = |section| sections.section(section).ok()?.data(endian, content).ok();
        let mut names = Self::default();
        let symbols = sections.symbols(endian, content, elf::SHT_DYNSYM).ok()?;
        if !symbols.is_empty() {
            let strings = strings(symbols.string_section())?;
            for symbol in symbols.iter() {
                let name = text(strings, symbol.st_name(endian))?.to_owned();
                match symbol.st_shndx(endian) {
                    _ if name.is_empty() => {}
                    elf::SHN_UNDEF => drop(names.imports.insert(name)),
                    _ => names.exports.push(name),
                }
            }
        }
        if let Some((entries, section)) = sections.dynamic(endian, content).ok()? {
            let strings = strings(section)?;
            let tagged = |tags: &'static [u32]| {
                let is = move |entry: &&elf::Dyn64<LittleEndian>| {
                    entry.tag32(endian).is_some_and(|tag| tags.contains(&tag))
                };
                entries.iter().filter(is)
            };
            names.has_own_folders = tagged(&[elf::DT_RPATH, elf::DT_RUNPATH]).next().is_some();
            let needed =
                tagged(&[elf::DT_NEEDED]).map(|entry| text(strings, entry.val32(endian)?).map(str::to_owned));
            names.needed = needed.collect::<Option<_>>()?;
        }
        // The order of a table that is made for searching means nothing.
        names.exports.sort_unstable();
        let segments = header.program_headers(endian, content).ok()?.iter();
        let of_threads = segments.filter(|segment| segment.p_type(endian) == elf::PT_TLS);
        let sizes = of_threads.map(|segment| segment.p_memsz(endian));
        names.thread_pages = sizes.fold(0, u64::saturating_add).div_ceil(PAGE_BYTES);
        Some(names)
    }
}

/// The text that begins at a place in a table of strings and ends with a zero.
pub(crate) fn text(strings: &[u8], at: u32) -> Option<&str> {
    let rest = strings.get(at as usize..)?;
    let end = memchr::memchr(0, rest)?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// Where in an executable what is loaded ends; none if it is no executable.
fn loaded_end(header: &Header, endian: LittleEndian, content: &Cache<'_>) -> Option<u64> {
    if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian)) {
        return None;
    }
    let segments = header.program_headers(endian, content).ok()?.iter();
    let ends = segments
        .filter(|segment| segment.p_type(endian) == elf::PT_LOAD)
        .map(|segment| segment.p_offset(endian).saturating_add(segment.p_filesz(endian)));
    Some(ends.max().unwrap_or_default())
}

/// The beginning of a file.
fn loaded(file: &mut File, end: u64) -> Option<Vec<u8>> {
    file.rewind().ok()?;
    let size = file.metadata().ok()?.len().min(end);
    let mut loaded = Vec::with_capacity(usize::try_from(size).ok()?);
    file.take(size).read_to_end(&mut loaded).ok()?;
    Some(loaded)
}
