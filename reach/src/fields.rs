//! What a linker fills in of a section: the form of the section, a sum of what it leaves as it is, and each field with what is
//! to be written there. It is kept in few bytes, for most sections of an archive are never looked at again.

use std::hash::{BuildHasher, Hasher};

use object::elf;

use crate::encode::{Damaged, Reader, Writer};
use crate::raw::RawSection;

/// A field. The target, if it has one, is the next of the section's edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// In the section, in bytes.
    pub(crate) offset: u64,
    /// The ELF type of the relocation.
    pub(crate) kind: u32,
    pub(crate) has_target: bool,
    pub(crate) addend: i64,
}

/// A section but for its name, its fields and where its edges lead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) align: u64,
    /// It has no bytes in the file, and is zeros in memory.
    pub(crate) is_blank: bool,
    /// It is what each thread has for itself.
    pub(crate) is_thread_local: bool,
    /// It is a part of the unwind table, which the linker makes anew.
    pub(crate) is_unwinding: bool,
    /// The [`sum`] of its bytes; 0 if it is blank.
    pub(crate) sum: u64,
}

/// A sum of bytes in which fields are zeros. Only chance makes two sums equal: this compares a binary with the objects that it was made
/// of, and nobody's trust rests on it.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0x7468_7265_7368).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Writes the form of a section, but for its fields.
pub(crate) fn write_shape(writer: &mut Writer, section: &RawSection<'_>) {
    let is_blank = section.kind == elf::SHT_NOBITS;
    writer.number(section.size);
    writer.number(section.align);
    let is_unwinding = section.name == ".eh_frame";
    let properties = [is_blank, section.has(elf::SHF_TLS), is_unwinding];
    properties.into_iter().for_each(|has| writer.flag(has));
    if !is_blank {
        writer.number(sum(section.data));
    }
}

/// Writes fields, each by its distance from the last.
pub(crate) fn write(writer: &mut Writer, fields: &[Field]) {
    let mut last = 0;
    writer.list(fields, |writer, field| {
        writer.number(field.offset.wrapping_sub(last));
        writer.number(u64::from(field.kind) << 1 | u64::from(field.has_target));
        // Zigzag: small negative numbers are short, too.
        writer.number((field.addend << 1 ^ field.addend >> 63) as u64);
        last = field.offset;
    });
}

/// Reads a form at the start of `bytes`: what [`write_shape`] wrote, and then what [`write()`] wrote. After it comes how many unwind entries the section
/// has, and of each the fields.
pub(crate) fn read(reader: &mut Reader<'_>, fields: &mut Vec<Field>) -> Result<Form, Damaged> {
    let (size, align) = (reader.number()?, reader.number()?);
    let (is_blank, is_thread_local, is_unwinding) = (reader.flag()?, reader.flag()?, reader.flag()?);
    let sum = if is_blank { 0 } else { reader.number()? };
    read_fields(reader, fields)?;
    Ok(Form {
        size,
        align,
        is_blank,
        is_thread_local,
        is_unwinding,
        sum,
    })
}

/// Reads what [`write()`] wrote.
pub(crate) fn read_fields(reader: &mut Reader<'_>, fields: &mut Vec<Field>) -> Result<(), Damaged> {
    fields.clear();
    let mut offset = 0u64;
    for _ in 0..reader.number()? {
        offset = offset.wrapping_add(reader.number()?);
        let kind = reader.number()?;
        let addend = reader.number()?;
        fields.push(Field {
            offset,
            kind: u32::try_from(kind >> 1).map_err(|_| Damaged)?,
            has_target: kind & 1 == 1,
            addend: (addend >> 1) as i64 ^ -((addend & 1) as i64),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums are kept: where this fails, [`crate::memo`] needs another version.
    #[test]
    fn sums_are_the_same_with_each_version_of_their_library() {
        let sums = [&b""[..], b"unchanged", &[7; 300]].map(sum);
        let expected = [
            17_456_620_508_338_342_778,
            6_862_255_893_573_027_290,
            11_011_287_831_388_868_403,
        ];
        assert_eq!(sums, expected);
    }

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let section = RawSection {
            name: ".text.f",
            kind: elf::SHT_PROGBITS,
            flags: u64::from(elf::SHF_ALLOC | elf::SHF_TLS),
            align: 16,
            size: 9,
            entry_size: 0,
            data: b"unchanged",
            relocations: Vec::new(),
        };
        let fields = [(0, -4), (5, i64::MIN), (300, i64::MAX)].map(|(offset, addend)| Field {
            offset,
            kind: elf::R_X86_64_REX_GOTPCRELX,
            has_target: offset != 5,
            addend,
        });
        let mut writer = Writer::default();
        write_shape(&mut writer, &section);
        write(&mut writer, &fields);
        let bytes = writer.into_bytes();
        let mut read_fields = Vec::new();
        let form = read(&mut Reader::new(&bytes), &mut read_fields).expect("it was written");
        assert_eq!((form.size, form.align, form.sum), (9, 16, sum(b"unchanged")));
        assert_eq!(
            (form.is_blank, form.is_thread_local, form.is_unwinding),
            (false, true, false)
        );
        assert_eq!(read_fields, fields);
        assert_eq!(
            read(&mut Reader::new(&bytes[..bytes.len() - 1]), &mut read_fields),
            Err(Damaged)
        );
    }
}
