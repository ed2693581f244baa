//! What a linker has filled into a field, read back: where the field leads in the binary.
//!
//! The formulas are those of the x86-64 psABI (chapter "Relocation", in which S is the target, A the addend, P the field's place), and
//! the instructions that a linker may put in the place of others are those of its sections on linker optimisation and of "ELF Handling For
//! Thread-Local Storage" (the change to the *local exec* model, which is the one for programs). What was put there is taken back, so that the bytes are those of the
//! object again. A form that is not known here is no form at all.

use object::elf;

use crate::fields::Field;
use crate::memory::{Memory, Word};

/// Where a field leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Led<'c> {
    /// To an address, without the addend.
    To(u64),
    /// To what has this name in a dynamic library.
    Named(&'c str),
    /// To what a function of the binary chooses while it is loaded.
    Chosen,
    /// Nowhere that could be told, and nothing depends on where.
    Nowhere,
}

/// What is read of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filled<'c> {
    pub(crate) led: Led<'c>,
    /// The next field was a part of what was replaced.
    pub(crate) takes_next: bool,
}

/// The bytes of a section as it is in the binary.
pub(crate) struct Section<'b, 'c> {
    memory: &'b Memory<'c>,
    /// Its address.
    at: u64,
    bytes: &'b mut [u8],
    /// From where the *local dynamic* model counts in it.
    thread_base: u64,
}

/// The code that reads a thread's pointer, in the place of a call.
const READS_POINTER: [u8; 9] = [0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0];

/// The same, and then how far away the start of the thread's memory is: so mold replaces the call that asks for that.
const READS_START: [u8; 8] = [0x31, 0xc0, 0x64, 0x48, 0x8b, 0x00, 0x48, 0x2d];

impl<'b, 'c> Section<'b, 'c> {
    /// The bytes of a section with these fields, as they are at an address of the binary.
    pub(crate) fn new(memory: &'b Memory<'c>, at: u64, bytes: &'b mut [u8], fields: &[Field]) -> Self {
        let mut section = Self {
            memory,
            at,
            bytes,
            thread_base: memory.thread.end,
        };
        let mut asking = fields.iter().filter(|field| field.kind == elf::R_X86_64_TLSLD);
        if let Some(field) = asking.next()
            && section.is_at((field.offset as usize).saturating_sub(3), &READS_START)
        {
            section.thread_base = memory.thread.start;
        }
        section
    }

    /// Reads a field, and makes the bytes at it those that they were before it was filled in; none if this is not understood.
    /// `next` is the field that follows.
    pub(crate) fn empty(&mut self, field: &Field, next: Option<&Field>) -> Option<Filled<'c>> {
        let offset = usize::try_from(field.offset).ok()?;
        if offset >= self.bytes.len() {
            return None;
        }
        let place = self.at.checked_add(field.offset)?;
        let to = |led| {
            Some(Filled {
                led,
                takes_next: false,
            })
        };
        let from_here = |distance: i64| {
            place
                .wrapping_add_signed(distance)
                .wrapping_sub(field.addend as u64)
        };
        match field.kind {
            elf::R_X86_64_NONE => to(Led::Nowhere),
            elf::R_X86_64_64 => {
                let word = self.memory.word(place)?;
                self.take::<8>(offset)?;
                to(match word {
                    Word::Own(address) => Led::To(address.wrapping_sub(field.addend as u64)),
                    Word::Named(name, addend) if addend == field.addend => Led::Named(name),
                    _ => return None,
                })
            }
            elf::R_X86_64_PC64 => {
                let distance = self.take::<8>(offset).map(i64::from_le_bytes)?;
                to(Led::To(from_here(distance)))
            }
            elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => to(Led::To(from_here(self.distance(offset)?))),
            elf::R_X86_64_32 => {
                let address = self.take::<4>(offset).map(u32::from_le_bytes)?;
                to(Led::To(u64::from(address).wrapping_sub(field.addend as u64)))
            }
            elf::R_X86_64_32S => {
                let address = self.distance(offset)? as u64;
                to(Led::To(address.wrapping_sub(field.addend as u64)))
            }
            elf::R_X86_64_GOTPCREL | elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX => {
                to(match field.addend {
                    -4 => self.by_table_or_not(offset, place)?,
                    // A number follows the field in the instruction, and that is left as it is.
                    addend => self.by_table(place.wrapping_sub(addend as u64), offset)?,
                })
            }
            elf::R_X86_64_TLSGD if field.addend == -4 => self.general(offset, field, next?),
            elf::R_X86_64_TLSLD => self.local(offset, field, next?),
            elf::R_X86_64_GOTTPOFF if field.addend == -4 => to(self.initial(offset)?),
            elf::R_X86_64_TPOFF32 => to(Led::To(self.of_thread(self.memory.thread.end, offset, field)?)),
            elf::R_X86_64_DTPOFF32 => to(Led::To(self.of_thread(self.thread_base, offset, field)?)),
            _ => None,
        }
    }

    /// The address of something of a thread's that is a distance away from `base`.
    fn of_thread(&mut self, base: u64, offset: usize, field: &Field) -> Option<u64> {
        let distance = self.distance(offset)?;
        Some(
            base.wrapping_add_signed(distance)
                .wrapping_sub(field.addend as u64),
        )
    }

    /// Takes bytes out and leaves zeros.
    fn take<const COUNT: usize>(&mut self, offset: usize) -> Option<[u8; COUNT]> {
        let bytes = self.bytes.get_mut(offset..)?.first_chunk_mut()?;
        Some(std::mem::replace(bytes, [0; COUNT]))
    }

    fn distance(&mut self, offset: usize) -> Option<i64> {
        self.take::<4>(offset)
            .map(|bytes| i64::from(i32::from_le_bytes(bytes)))
    }

    fn is_at(&self, offset: usize, bytes: &[u8]) -> bool {
        self.bytes
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(bytes))
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) -> Option<()> {
        self.bytes
            .get_mut(offset..offset + bytes.len())?
            .copy_from_slice(bytes);
        Some(())
    }

    /// An instruction that read an address out of the global offset table, or still does.
    fn by_table_or_not(&mut self, offset: usize, place: u64) -> Option<Led<'c>> {
        let start = offset.checked_sub(2)?;
        let [code, operand] = *self.bytes.get(start..offset)?.first_chunk()?;
        match (code, operand) {
            // A jump is a byte shorter, and so filled up.
            (0xe9, _) if self.is_at(offset + 3, &[0x90]) => {
                let distance = self.distance(offset - 1)?;
                self.put(start, &[0xff, 0x25, 0, 0, 0, 0])?;
                Some(Led::To((place + 3).wrapping_add_signed(distance)))
            }
            // A call has a prefix that says nothing; mold puts one that does nothing before both.
            (0x67 | 0x90, 0xe8) => {
                self.put(start, &[0xff, 0x15])?;
                Some(Led::To((place + 4).wrapping_add_signed(self.distance(offset)?)))
            }
            (0x90, 0xe9) => {
                self.put(start, &[0xff, 0x25])?;
                Some(Led::To((place + 4).wrapping_add_signed(self.distance(offset)?)))
            }
            (0x8d, _) if operand & 0xc7 == 0x05 => {
                self.put(start, &[0x8b])?;
                Some(Led::To((place + 4).wrapping_add_signed(self.distance(offset)?)))
            }
            (0xc7, 0xc0..=0xc7) => {
                self.moved(offset, operand)?;
                Some(Led::To(self.distance(offset)? as u64))
            }
            _ => self.by_table(place + 4, offset),
        }
    }

    /// Reads the address that an instruction which ends at `end` finds in the global offset table.
    fn by_table(&mut self, end: u64, offset: usize) -> Option<Led<'c>> {
        let slot = end.wrapping_add_signed(self.distance(offset)?);
        match self.memory.word(slot)? {
            Word::Own(address) => Some(Led::To(address)),
            Word::Named(name, 0) => Some(Led::Named(name)),
            Word::Chosen => Some(Led::Chosen),
            _ => None,
        }
    }

    /// Takes back that a register is filled with a number and no longer from memory.
    fn moved(&mut self, offset: usize, operand: u8) -> Option<()> {
        self.put(offset.checked_sub(2)?, &[0x8b, 0x05 | (operand & 7) << 3])?;
        // The bit that makes it one of the upper registers stands elsewhere.
        let prefix = self.bytes.get_mut(offset.checked_sub(3)?)?;
        if *prefix & 0xf1 == 0x41 {
            *prefix = *prefix & !1 | 4;
        }
        Some(())
    }

    /// The *general dynamic* model: the address was that of a call.
    fn general(&mut self, offset: usize, field: &Field, next: &Field) -> Option<Filled<'c>> {
        let start = offset.checked_sub(4)?;
        if next.offset != field.offset + 8 || !self.is_at(start, &READS_POINTER) {
            return None;
        }
        let led = match self.bytes.get(start + 9..)?.first_chunk()? {
            // As lld and GNU ld add, and as mold does.
            [0x48, 0x8d, 0x80] | [0x48, 0x81, 0xc0] => {
                let distance = self.distance(offset + 8)?;
                Led::To(self.memory.thread.end.wrapping_add_signed(distance))
            }
            // What a dynamic library has is added from a table.
            [0x48, 0x03, 0x05] => {
                let end = self.at.checked_add(field.offset)?.checked_add(12)?;
                self.by_table(end, offset + 8)?
            }
            _ => return None,
        };
        let call: &[u8] = match next.kind {
            elf::R_X86_64_PLT32 | elf::R_X86_64_PC32 => &[0x66, 0x66, 0x48, 0xe8],
            _ => &[0x66, 0x48, 0xff, 0x15],
        };
        self.put(start, &[0x66, 0x48, 0x8d, 0x3d, 0, 0, 0, 0])?;
        self.put(offset + 4, call)?;
        Some(Filled {
            led,
            takes_next: true,
        })
    }

    /// The *local dynamic* model: the start of a thread's memory was that of a call.
    fn local(&mut self, offset: usize, field: &Field, next: &Field) -> Option<Filled<'c>> {
        let start = offset.checked_sub(3)?;
        let is_direct = next.offset == field.offset + 5;
        let prefixes = if is_direct { 3 } else { 4 };
        let as_lld =
            self.is_at(start, &[0x66; 4][..prefixes]) && self.is_at(start + prefixes, &READS_POINTER);
        let size = self.memory.thread.end - self.memory.thread.start;
        let as_mold = self.is_at(start, &READS_START)
            && self.is_at(
                start + READS_START.len(),
                &u32::try_from(size).ok()?.to_le_bytes(),
            );
        if !as_lld && !as_mold {
            return None;
        }
        self.put(start, &[0x48, 0x8d, 0x3d, 0, 0, 0, 0])?;
        let call: &[u8] = if is_direct {
            &[0xe8, 0, 0, 0, 0]
        } else {
            &[0xff, 0x15, 0, 0, 0, 0]
        };
        self.put(offset + 4, call)?;
        Some(Filled {
            led: Led::Nowhere,
            takes_next: true,
        })
    }

    /// The *initial exec* model: the distance was read from a table.
    fn initial(&mut self, offset: usize) -> Option<Led<'c>> {
        let start = offset.checked_sub(2)?;
        let [code, operand] = *self.bytes.get(start..offset)?.first_chunk()?;
        match (code, operand) {
            (0xc7, 0xc0..=0xc7) => self.moved(offset, operand)?,
            (0x8d, 0x80..=0xbf) if operand & 7 == operand >> 3 & 7 => {
                self.put(start, &[0x03, 0x05 | (operand & 7) << 3])?;
                let prefix = self.bytes.get_mut(offset.checked_sub(3)?)?;
                *prefix &= !1;
            }
            (0x81, 0xc0..=0xc7) => {
                self.moved(offset, operand)?;
                self.put(start, &[0x03])?;
            }
            // It is a dynamic library's, and read from the table still.
            (0x8b | 0x03, _) => {
                let end = self.at.checked_add(offset as u64)?.checked_add(4)?;
                return self.by_table(end, offset);
            }
            _ => return None,
        }
        let distance = self.distance(offset)?;
        Some(Led::To(self.memory.thread.end.wrapping_add_signed(distance)))
    }
}
