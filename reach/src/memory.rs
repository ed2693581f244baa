//! A linked binary as it is in memory once it is loaded at the addresses that it was linked for: bytes, and what the loader writes
//! over them.

use std::ops::Range;

use foldhash::{HashMap, HashMapExt};
use iced_x86::{Decoder, DecoderOptions, Mnemonic, Register};
use object::LittleEndian;
use object::elf;
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader, Rela, SectionHeader, Sym};

use crate::image;

type Header = elf::FileHeader64<LittleEndian>;

/// Beyond this are the system's addresses: a binary that names one is damaged.
const ADDRESS_MAX: u64 = i64::MAX as u64;

/// What is in memory.
#[derive(Debug)]
pub(crate) struct Memory<'c> {
    segments: Vec<Segment<'c>>,
    /// By address, what the loader writes there.
    words: HashMap<u64, Word<'c>>,
    /// Where the program starts.
    pub(crate) entry: u64,
    /// Where the first content of a thread's own memory is. If the memory itself were there, its pointer would point to the end.
    pub(crate) thread: Range<u64>,
    /// Which of that are zeros. It is no part of memory, and other things have the same addresses.
    pub(crate) thread_zeros: Range<u64>,
    /// Names that dynamic libraries may find, and where these stand.
    pub(crate) exports: Vec<(&'c str, u64)>,
    /// The table by which a panic finds its way.
    pub(crate) unwinding: Range<u64>,
    /// Addresses of functions that are called before `main`.
    pub(crate) constructors: Range<u64>,
    /// Addresses of functions that are called when the process ends.
    pub(crate) destructors: Range<u64>,
    /// It has functions that are called before those of libraries.
    pub(crate) is_prepared: bool,
}

#[derive(Debug)]
struct Segment<'c> {
    start: u64,
    bytes: &'c [u8],
    /// Zeros follow up to here.
    end: u64,
}

/// Eight bytes that the loader writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word<'c> {
    /// The address of something in the binary.
    Own(u64),
    /// The address of what has this name in a dynamic library, and a distance from it.
    Named(&'c str, i64),
    /// What a function of the binary says when it is called (an *indirect function*).
    Chosen,
    /// Not eight bytes, but all of what has this name in a dynamic library.
    Copy(&'c str),
    /// Something else.
    Other,
}

impl<'c> Memory<'c> {
    /// Reads a binary for x86-64, of which `loaded` is the beginning, up to the end of all that is loaded; none if it is something else, or damaged.
    pub(crate) fn read<R: ReadRef<'c>>(content: R, loaded: &'c [u8]) -> Option<Self> {
        let header = Header::parse(content).ok()?;
        let endian = header.endian().ok()?;
        if header.e_machine(endian) != elf::EM_X86_64 {
            return None;
        }
        let mut memory = Self {
            segments: Vec::new(),
            words: HashMap::new(),
            entry: header.e_entry(endian),
            thread: 0..0,
            exports: Vec::new(),
            unwinding: 0..0,
            constructors: 0..0,
            destructors: 0..0,
            is_prepared: false,
            thread_zeros: 0..0,
        };
        for segment in header.program_headers(endian, content).ok()? {
            let (start, size) = (segment.p_vaddr(endian), segment.p_memsz(endian));
            let end = start.checked_add(size).filter(|end| *end <= ADDRESS_MAX)?;
            match segment.p_type(endian) {
                elf::PT_LOAD => memory.segments.push(Segment {
                    start,
                    bytes: segment.data(endian, loaded).ok()?,
                    end,
                }),
                // "Variant II" of the ABI's thread-local storage: it lies before the pointer.
                elf::PT_TLS => {
                    memory.thread_zeros = start.checked_add(segment.p_filesz(endian))?..end;
                    memory.thread = start..end.checked_next_multiple_of(segment.p_align(endian).max(1))?;
                }
                _ => {}
            }
        }
        memory.sections(header, endian, content)?;
        Some(memory)
    }

    fn sections<R: ReadRef<'c>>(
        &mut self,
        header: &'c Header,
        endian: LittleEndian,
        content: R,
    ) -> Option<()> {
        let sections = header.sections(endian, content).ok()?;
        let symbols = sections.symbols(endian, content, elf::SHT_DYNSYM).ok()?;
        let strings = match symbols.is_empty() {
            true => &[],
            false => sections
                .section(symbols.string_section())
                .ok()?
                .data(endian, content)
                .ok()?,
        };
        let name = |symbol: &elf::Sym64<LittleEndian>| image::text(strings, symbol.st_name(endian));
        for symbol in symbols.iter() {
            // A thread's own has no address, but a place in the thread's memory.
            let has_address = !symbol.is_undefined(endian) && symbol.st_type() != elf::STT_TLS;
            if has_address {
                self.exports.push((name(symbol)?, symbol.st_value(endian)));
            }
        }
        for section in sections.iter() {
            let start = section.sh_addr(endian);
            let end = start.checked_add(section.sh_size(endian));
            let range = start..end.filter(|end| *end <= ADDRESS_MAX)?;
            if section.sh_type(endian) == elf::SHT_INIT_ARRAY {
                self.constructors = range;
            } else if section.sh_type(endian) == elf::SHT_FINI_ARRAY {
                self.destructors = range;
            } else if section.sh_type(endian) == elf::SHT_PREINIT_ARRAY {
                self.is_prepared |= !range.is_empty();
            } else if sections.section_name(endian, section).ok()? == b".eh_frame" {
                self.unwinding = range;
            }
            let is_loaded = section.sh_flags(endian) & u64::from(elf::SHF_ALLOC) != 0;
            let Some((entries, _)) = section.rela(endian, content).ok()?.filter(|_| is_loaded) else {
                continue;
            };
            self.words.reserve(entries.len());
            for entry in entries {
                let addend = entry.r_addend.get(endian);
                let named = || name(symbols.symbol(entry.symbol(endian, false)?).ok()?);
                let word = match entry.r_type(endian, false) {
                    elf::R_X86_64_RELATIVE => Word::Own(addend as u64),
                    elf::R_X86_64_64
                    | elf::R_X86_64_GLOB_DAT
                    | elf::R_X86_64_JUMP_SLOT
                    | elf::R_X86_64_TPOFF64 => Word::Named(named()?, addend),
                    elf::R_X86_64_COPY => Word::Copy(named()?),
                    elf::R_X86_64_IRELATIVE => Word::Chosen,
                    _ => Word::Other,
                };
                self.words.insert(entry.r_offset.get(endian), word);
            }
        }
        Some(())
    }

    /// What is at an address, as far as it is in the file: `count` bytes, or fewer if zeros follow.
    pub(crate) fn bytes(&self, at: u64, count: u64) -> Option<&'c [u8]> {
        let end = at.checked_add(count)?;
        let mut segments = self.segments.iter();
        let segment = segments.find(|segment| segment.start <= at && end <= segment.end)?;
        let start = usize::try_from(at - segment.start).ok()?.min(segment.bytes.len());
        let end = start
            .saturating_add(usize::try_from(count).ok()?)
            .min(segment.bytes.len());
        segment.bytes.get(start..end)
    }

    /// The eight bytes at an address.
    pub(crate) fn word(&self, at: u64) -> Option<Word<'c>> {
        match self.words.get(&at) {
            Some(word) => Some(*word),
            None => Some(Word::Own(u64::from_le_bytes(*self.bytes(at, 8)?.first_chunk()?))),
        }
    }
}

/// The address of `main`, which the C library's start-up code has in the register of the first argument.
pub(crate) fn main_of(memory: &Memory<'_>) -> Option<u64> {
    const CODE: u64 = 64;
    let code = memory.bytes(memory.entry, CODE)?;
    let decoder = Decoder::with_ip(64, code, memory.entry, DecoderOptions::NONE);
    let mut sets = decoder.into_iter().filter(|instruction| {
        instruction.op_count() == 2 && matches!(instruction.op0_register(), Register::RDI | Register::EDI)
    });
    let instruction = sets.next()?;
    match instruction.mnemonic() {
        Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => Some(instruction.ip_rel_memory_address()),
        Mnemonic::Mov if instruction.is_ip_rel_memory_operand() => {
            match memory.word(instruction.ip_rel_memory_address())? {
                Word::Own(address) => Some(address),
                _ => None,
            }
        }
        Mnemonic::Mov => instruction.try_immediate(1).ok(),
        _ => None,
    }
}
