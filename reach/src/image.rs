//! The linked binary: its digest, and what it exports.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use object::LittleEndian;
use object::elf;
use object::read::ReadCache;
use object::read::elf::{Dyn, FileHeader, Sym};
use thresh_core::digest::Digest;

/// A linked executable.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) digest: Digest,
    /// Names that dynamic libraries may find in it.
    pub(crate) exports: Vec<String>,
    /// File names of the dynamic libraries that it is loaded with.
    pub(crate) needed: Vec<String>,
    /// It says itself where these are looked for first.
    pub(crate) has_own_folders: bool,
}

impl Image {
    /// Reads a binary; none if it is not there, or no ELF executable. It is long, for its debug information, and only its
    /// digest needs all of it: so it is never in memory as a whole.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let cache = ReadCache::new(&mut file);
        let content = &cache;
        let header = elf::FileHeader64::<LittleEndian>::parse(content).ok()?;
        let endian = header.endian().ok()?;
        if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian)) {
            return None;
        }
        let sections = header.sections(endian, content).ok()?;
        let symbols = sections.symbols(endian, content, elf::SHT_DYNSYM).ok()?;
        let defined = symbols
            .iter()
            .filter(|symbol| symbol.st_shndx(endian) != elf::SHN_UNDEF);
        let names = defined.filter_map(|symbol| symbol.name(endian, symbols.strings()).ok());
        let names = names.filter_map(|name| std::str::from_utf8(name).ok());
        let text = |name: &[u8]| std::str::from_utf8(name).ok().map(str::to_owned);
        let mut needed = Vec::new();
        let mut has_own_folders = false;
        if let Some((entries, strings)) = sections.dynamic(endian, content).ok()? {
            let strings = sections.strings(endian, content, strings).ok()?;
            let is = |tags: &'static [u32]| {
                move |entry: &&elf::Dyn64<LittleEndian>| {
                    entry.tag32(endian).is_some_and(|tag| tags.contains(&tag))
                }
            };
            has_own_folders = entries
                .iter()
                .any(|entry| is(&[elf::DT_RPATH, elf::DT_RUNPATH])(&entry));
            let entries = entries.iter().filter(is(&[elf::DT_NEEDED]));
            let names = entries.filter_map(|entry| strings.get(entry.val32(endian)?).ok());
            needed.extend(names.filter_map(text));
        }
        let exports = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Self {
            needed,
            has_own_folders,
            exports,
            digest: digest(&mut file).ok()?,
        })
    }
}

/// The digest of a whole file.
fn digest(file: &mut File) -> io::Result<Digest> {
    const PIECE: usize = 1 << 20;
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Digest::from_bytes(*hasher.finalize().as_bytes())),
            read => hasher.update_rayon(&piece[..read]),
        };
    }
}
