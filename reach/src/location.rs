//! Locations of panics, and who can see them.
//!
//! `core::panic::Location` is a constant of 24 bytes: where the file's name is, its length, line, column. In a debug
//! build nearly every function refers to one, so an added line changes all that follows in the file. They are told
//! from most other constants by their size, their one relocation at the start, and the name: it is text that ends with `.rs`,
//! **followed by a zero that its length does not count**, in a section of merged strings. (`core` keeps names so for
//! `Location::file_as_c_str`; constants from `file!()` have no zero and stand elsewhere.) A name in another form, as older
//! compilers make it, is not recognised and counts exactly. Whoever writes such a structure by hand, for C say, uses it
//! otherwise than locations are used: see [`crate::passed`].
//!
//! # Who can see a line
//!
//! The fields of `Location` are private. In code that is not optimised every accessor is a call, so whoever reads a line
//! or column refers to one of `Location`'s own functions (other than those that give the file, or the location itself)
//! or to the `Display` of a panic's information. The toolchain's own code, which prints panics to standard error,
//! does not count: a case cannot read that. A case that reaches such a reference from any other object is an
//! *observer*, and its locations count exactly.
//!
//! Not seen is who reads the private fields without these functions, by a transmute for instance.
//!
//! In optimised code accessors are inlined and leave no trace. So keys without locations hold for builds without
//! optimisation only; see [`crate::Locations`].

use object::elf;

use crate::pieces::piece;
use crate::raw::{Raw, RawSection, whole_address};

const BYTES: usize = 24;
const LENGTH_AT: usize = 8;
const LINE_AT: usize = 16;

/// Whether an anonymous section is the location of a panic.
pub(crate) fn is_location(raw: &Raw<'_>, section: &RawSection<'_>) -> bool {
    recognise(raw, section).is_some()
}

fn recognise(raw: &Raw<'_>, section: &RawSection<'_>) -> Option<()> {
    let constant = section.name.starts_with(".data.rel.ro") && !section.has(elf::SHF_EXECINSTR);
    let [relocation] = section.relocations[..] else {
        return None;
    };
    let whole = relocation.offset == 0 && relocation.kind == whole_address(raw.machine);
    if !constant || !whole || section.data.len() != BYTES {
        return None;
    }
    let name = piece(raw, &relocation)?;
    let length = u64::from_le_bytes(section.data[LENGTH_AT..LINE_AT].try_into().ok()?);
    let text = std::str::from_utf8(name.bytes).ok()?;
    let numbers = section.data[LINE_AT..]
        .chunks_exact(4)
        .all(|number| number != [0; 4]);
    let fits = name.terminated && name.offset == 0 && name.addend == 0 && length == text.len() as u64;
    (fits && numbers && text.ends_with(".rs")).then_some(())
}

/// A location's bytes without line and column.
pub(crate) const FILE_ONLY: fn(&[u8]) -> &[u8] = |data| &data[..LINE_AT];

/// Whether a symbol's function reads a location's line or column.
pub(crate) fn observes(symbol: &str) -> bool {
    // Most names are told apart without the work of demangling them.
    if !symbol.contains("Location") && !symbol.contains("PanicHookInfo") && !symbol.contains("PanicInfo") {
        return false;
    }
    let name = format!("{:#}", rustc_demangle::demangle(symbol));
    let silent = [
        "Location::caller",
        "Location::file",
        "Location::file_as_c_str",
        "Location::internal_constructor",
    ];
    if name.contains("panic::location::Location") || name.contains("panic..location..Location") {
        return !silent.iter().any(|end| name.ends_with(end));
    }
    let information = name.contains("PanicHookInfo") || name.contains("PanicInfo");
    information && (name.ends_with("::fmt") || name.contains(" as core::fmt::"))
}
