//! An ELF object file as it is: sections with their relocations, symbols, groups. Nothing is interpreted yet.
//!
//! Whatever is not a relocatable 64-bit little-endian object for a machine that is known here is refused with a
//! [`Shape`]; the caller then treats the whole binary as one piece.

use object::LittleEndian;
use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader, Rela, SectionHeader, SectionTable, Sym};

/// Why a file or a binary cannot be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Shape {
    #[error("it holds LLVM bitcode, no machine code")]
    Bitcode,
    #[error("it is truncated or damaged: {0}")]
    Damaged(String),
    #[error("it is no ELF object for x86-64 or AArch64")]
    Foreign,
    #[error("it has {0}, which is not known here")]
    Unknown(String),
}

impl From<object::read::Error> for Shape {
    fn from(error: object::read::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

type Header = elf::FileHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// LLVM's compact relocations.
const SHT_CREL: u32 = 0x4000_0014;

/// More sections than this in one object are refused: nothing that a compiler made has them.
const SECTIONS_MAX: usize = 1_000_000;

/// The sections of one object file, in its order, and what they say.
#[derive(Debug)]
pub(crate) struct Raw<'d> {
    pub(crate) machine: u16,
    pub(crate) sections: Vec<RawSection<'d>>,
    pub(crate) symbols: Vec<RawSymbol<'d>>,
    pub(crate) groups: Vec<RawGroup<'d>>,
}

#[derive(Debug)]
pub(crate) struct RawSection<'d> {
    pub(crate) name: &'d str,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) align: u64,
    pub(crate) size: u64,
    pub(crate) entry_size: u64,
    /// Empty if the section has no bytes in the file.
    pub(crate) data: &'d [u8],
    /// By offset.
    pub(crate) relocations: Vec<Relocation>,
}

impl RawSection<'_> {
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & u64::from(flag) != 0
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    pub(crate) offset: u64,
    pub(crate) kind: u32,
    pub(crate) symbol: u32,
    pub(crate) addend: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Undefined,
    Absolute,
    Tentative,
    Section(u32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RawSymbol<'d> {
    pub(crate) name: &'d str,
    pub(crate) place: Place,
    pub(crate) value: u64,
    pub(crate) size: u64,
    pub(crate) kind: u8,
    pub(crate) bind: u8,
}

/// A COMDAT group: of several with one signature, the linker keeps the first.
#[derive(Debug)]
pub(crate) struct RawGroup<'d> {
    pub(crate) signature: &'d str,
    pub(crate) members: Vec<u32>,
}

/// The relocation that stores a whole address.
pub(crate) fn whole_address(machine: u16) -> u32 {
    if machine == elf::EM_AARCH64 {
        elf::R_AARCH64_ABS64
    } else {
        elf::R_X86_64_64
    }
}

impl<'d> Raw<'d> {
    /// Reads an object file.
    pub(crate) fn parse<R: ReadRef<'d>>(data: R) -> Result<Self, Shape> {
        if let Ok(b"BC\xc0\xde" | [0xde, 0xc0, 0x17, 0x0b]) = data.read_bytes_at(0, 4) {
            return Err(Shape::Bitcode);
        }
        let foreign = |_| Shape::Foreign;
        let header = Header::parse(data).map_err(foreign)?;
        header.endian().map_err(foreign)?;
        let machine = header.e_machine(LE);
        let known = [elf::EM_X86_64, elf::EM_AARCH64].contains(&machine);
        if !known || header.e_type(LE) != elf::ET_REL || !header.is_little_endian() {
            return Err(Shape::Foreign);
        }
        let table = header.sections(LE, data)?;
        if table.len() > SECTIONS_MAX {
            return Err(Shape::Unknown(format!("{} sections", table.len())));
        }
        let mut raw = Self {
            machine,
            sections: sections(&table, data)?,
            symbols: symbols(&table, data)?,
            groups: Vec::new(),
        };
        raw.relocations(&table, data)?;
        raw.groups(&table, data)?;
        Ok(raw)
    }

    fn relocations<R: ReadRef<'d>>(
        &mut self,
        table: &SectionTable<'d, Header, R>,
        data: R,
    ) -> Result<(), Shape> {
        for section in table.iter() {
            let kind = section.sh_type(LE);
            if ![elf::SHT_REL, elf::SHT_RELA, SHT_CREL].contains(&kind) {
                continue;
            }
            let owner = self.sections.get_mut(section.sh_info(LE) as usize);
            let owner = owner.ok_or_else(|| Shape::Damaged("relocations of no section".to_owned()))?;
            if !owner.has(elf::SHF_ALLOC) {
                continue;
            }
            let Some((entries, _)) = section.rela(LE, data)? else {
                return Err(Shape::Unknown("relocations of an unusual form".to_owned()));
            };
            owner.relocations.extend(entries.iter().map(|entry| Relocation {
                offset: entry.r_offset(LE),
                kind: entry.r_type(LE, false),
                symbol: entry.r_sym(LE, false),
                addend: entry.r_addend(LE),
            }));
            owner.relocations.sort_by_key(|relocation| relocation.offset);
        }
        let count = self.symbols.len() as u32;
        let mut all = self.sections.iter().flat_map(|section| &section.relocations);
        if all.any(|relocation| relocation.symbol != 0 && relocation.symbol >= count) {
            return Err(Shape::Damaged("a relocation names no symbol".to_owned()));
        }
        Ok(())
    }

    fn groups<R: ReadRef<'d>>(&mut self, table: &SectionTable<'d, Header, R>, data: R) -> Result<(), Shape> {
        for section in table.iter() {
            let Some((kind, members)) = section.group(LE, data)? else {
                continue;
            };
            if kind & elf::GRP_COMDAT == 0 {
                continue;
            }
            let signature = self.symbols.get(section.sh_info(LE) as usize);
            let signature = signature.ok_or_else(|| Shape::Damaged("a group without a name".to_owned()))?;
            let name = match signature.place {
                Place::Section(index) if signature.kind == elf::STT_SECTION => self
                    .sections
                    .get(index as usize)
                    .map_or("", |section| section.name),
                _ => signature.name,
            };
            self.groups.push(RawGroup {
                signature: name,
                members: members.iter().map(|member| member.get(LE)).collect(),
            });
        }
        Ok(())
    }
}

fn sections<'d, R: ReadRef<'d>>(
    table: &SectionTable<'d, Header, R>,
    data: R,
) -> Result<Vec<RawSection<'d>>, Shape> {
    let read = |section: &'d elf::SectionHeader64<LittleEndian>| {
        let name = table.section_name(LE, section)?;
        let flags = section.sh_flags(LE);
        // Debug sections are long and not looked at. A comment says which compiler this is from.
        let looked_at = flags & u64::from(elf::SHF_ALLOC) != 0 || name == b".comment";
        Ok(RawSection {
            name: std::str::from_utf8(name)
                .map_err(|_| Shape::Unknown("a name that is no text".to_owned()))?,
            kind: section.sh_type(LE),
            flags,
            align: section.sh_addralign(LE),
            size: section.sh_size(LE),
            entry_size: section.sh_entsize(LE),
            data: if looked_at { section.data(LE, data)? } else { &[] },
            relocations: Vec::new(),
        })
    };
    table.iter().map(read).collect()
}

fn symbols<'d, R: ReadRef<'d>>(
    table: &SectionTable<'d, Header, R>,
    data: R,
) -> Result<Vec<RawSymbol<'d>>, Shape> {
    let symbols = table.symbols(LE, data, elf::SHT_SYMTAB)?;
    let read = |(index, symbol): (object::SymbolIndex, &'d elf::Sym64<LittleEndian>)| {
        let name = symbol.name(LE, symbols.strings())?;
        let place = match symbol.st_shndx(LE) {
            elf::SHN_UNDEF => Place::Undefined,
            elf::SHN_ABS => Place::Absolute,
            elf::SHN_COMMON => Place::Tentative,
            elf::SHN_XINDEX => match symbols.symbol_section(LE, symbol, index)? {
                Some(section) => Place::Section(section.0 as u32),
                None => Place::Undefined,
            },
            reserved if reserved >= elf::SHN_LORESERVE => {
                return Err(Shape::Unknown(format!("a symbol of section {reserved:#x}")));
            }
            section if usize::from(section) < table.len() => Place::Section(u32::from(section)),
            _ => return Err(Shape::Damaged("a symbol of no section".to_owned())),
        };
        Ok(RawSymbol {
            name: std::str::from_utf8(name)
                .map_err(|_| Shape::Unknown("a name that is no text".to_owned()))?,
            place,
            value: symbol.st_value(LE),
            size: symbol.st_size(LE),
            kind: symbol.st_type(),
            bind: symbol.st_bind(),
        })
    };
    symbols.enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_sections_are_not_taken_apart() {
        const HEADER: usize = size_of::<Header>();
        const SECTION: usize = size_of::<elf::SectionHeader64<LittleEndian>>();
        let mut data = vec![0; HEADER + (SECTIONS_MAX + 1) * SECTION];
        let header = &mut data[..HEADER];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header[16] = elf::ET_REL.to_le_bytes()[0];
        header[18] = elf::EM_X86_64.to_le_bytes()[0];
        header[20] = 1;
        header[40] = HEADER as u8;
        header[58] = SECTION as u8;
        header[62] = 1;
        // So many that their number is in the first of them.
        let number = HEADER + 32;
        data[HEADER + SECTION + 4] = elf::SHT_STRTAB as u8;
        data[number..number + 8].copy_from_slice(&(SECTIONS_MAX as u64 + 1).to_le_bytes());
        let shape = Raw::parse(&data[..]).map(|raw| raw.sections.len());
        assert!(
            matches!(&shape, Err(Shape::Unknown(what)) if what.contains("sections")),
            "{shape:?}"
        );
    }
}
