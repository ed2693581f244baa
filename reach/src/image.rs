//! The linked binary: its digest, and what it exports.

use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, Sym};
use thresh_core::digest::Digest;

/// A linked executable.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) digest: Digest,
    /// Names that dynamic libraries may find in it.
    pub(crate) exports: Vec<String>,
}

impl Image {
    /// Reads a binary; none if it is no ELF executable.
    pub(crate) fn read(content: &[u8]) -> Option<Self> {
        let header = elf::FileHeader64::<LittleEndian>::parse(content).ok()?;
        let endian = header.endian().ok()?;
        if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian)) {
            return None;
        }
        let sections = header.sections(endian, content).ok()?;
        let symbols = sections.symbols(endian, content, elf::SHT_DYNSYM).ok()?;
        let defined = symbols.iter().filter(|symbol| symbol.st_shndx(endian) != elf::SHN_UNDEF);
        let names = defined.filter_map(|symbol| symbol.name(endian, symbols.strings()).ok());
        let names = names.filter_map(|name| std::str::from_utf8(name).ok());
        let digest = blake3::Hasher::new().update_rayon(content).finalize();
        Some(Self {
            digest: Digest::from_bytes(*digest.as_bytes()),
            exports: names.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        })
    }
}
