//! The linked binary: its digest, and what it exports.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use foldhash::HashSet;
use object::LittleEndian;
use object::elf;
use object::read::ReadCache;
use object::read::elf::{Dyn, FileHeader, SectionHeader, Sym};
use thresh_core::digest::Digest;

/// A linked executable.
#[derive(Debug)]
pub(crate) struct Image {
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
}

type Header = elf::FileHeader64<LittleEndian>;
type Cache<'f> = ReadCache<&'f mut File>;

impl Image {
    /// Reads a binary; none if it is not there, or no ELF executable. It is long, for its debug information, and only its
    /// digest needs all of it: so it is never in memory as a whole.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let cache = Cache::new(&mut file);
        let header = Header::parse(&cache).ok()?;
        let endian = header.endian().ok()?;
        if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian)) {
            return None;
        }
        let names = Names::read(header, endian, &cache);
        Some(Self {
            names,
            digest: digest(&mut file).ok()?,
        })
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
                let name = text(strings, symbol.st_name(endian))?;
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
            let needed = tagged(&[elf::DT_NEEDED]).map(|entry| text(strings, entry.val32(endian)?));
            names.needed = needed.collect::<Option<_>>()?;
        }
        Some(names)
    }
}

/// The text that begins at a place in a table of strings and ends with a zero.
fn text(strings: &[u8], at: u32) -> Option<String> {
    let rest = strings.get(at as usize..)?;
    let end = memchr::memchr(0, rest)?;
    std::str::from_utf8(&rest[..end]).ok().map(str::to_owned)
}

/// The digest of a whole file.
fn digest(file: &mut File) -> io::Result<Digest> {
    const PIECE: usize = 1 << 20;
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
            Ok(read) => drop(hasher.update_rayon(&piece[..read])),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}
