//! Which constants that look like locations of panics are nothing else.
//!
//! # Method
//!
//! A constant that looks like one ([`location::is_location`]) may still be another structure of a text and two numbers, which its
//! program reads. So all references of the object to it are looked at, and only if each does what a caller does with the location
//! that a function with `#[track_caller]` gets, it is one: its address is put into the register of an argument, and the next
//! thing that is called is a function of the standard library that is known to take a location as its last argument. Of two
//! that are put in place for one call only the last is one. Functions that carry other values away, like `push` or `into`, are not
//! among the known, and no function of another crate is.
//!
//! # What is assumed
//!
//! Code that was compiled without optimisation sets the registers of a call within one block, and does not pass
//! constants on by other ways (those are found, and count exactly). A function that itself has `#[track_caller]`, hands on
//! where it was called and passes a look-alike as another argument of a known function, is not noticed.
//!
//! # Deliberately absent
//!
//! Machines other than x86-64: nothing is taken for a location there.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use object::elf;

use crate::location;
use crate::name::shown;
use crate::raw::{Place, Raw, RawSection, Relocation};

/// So many instructions after an address is put in place its call follows.
const WINDOW: usize = 24;
/// So many bytes before it the address of what is called may be loaded.
const BEFORE_BYTES: u64 = 128;

/// The registers of arguments, in order.
const ARGUMENTS: [Register; 6] = [
    Register::RDI,
    Register::RSI,
    Register::RDX,
    Register::RCX,
    Register::R8,
    Register::R9,
];

/// Beginnings of the paths of functions that take a location: they end with a panic, and most have no other argument but text and
/// numbers.
const PANICKING: &[&str] = &[
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::cell::panic_",
    "core::slice::index::",
    "core::str::slice_error_fail",
    "core::num::from_ascii_radix_panic",
    "core::num::int_log10::panic_for_nonpositive_argument",
    "std::panicking::begin_panic",
    "std::rt::begin_panic",
    "std::rt::panic_fmt",
    "std::thread::local::panic_access_error",
];

/// What else of the standard library takes one: beginnings of paths, with the functions' names.
const TAKING: &[(&str, &[&str])] = &[
    ("core::option::Option<", &["unwrap", "expect"]),
    (
        "core::result::Result<",
        &["unwrap", "expect", "unwrap_err", "expect_err"],
    ),
    ("core::result::Result<", &["from_residual"]),
    ("core::option::Option<", &["from_residual"]),
    ("core::ops::range::", &["index", "index_mut"]),
    ("usize as core::slice::index::SliceIndex", &["index", "index_mut"]),
    ("alloc::vec::Vec<", &["index", "index_mut"]),
    (
        "alloc::string::String as core::ops::index::",
        &["index", "index_mut"],
    ),
    ("core::array::<impl core::ops::index::", &["index", "index_mut"]),
    (
        "core::str::traits::<impl core::ops::index::",
        &["index", "index_mut"],
    ),
    ("core::cell::RefCell<", &["borrow", "borrow_mut"]),
    (
        "core::slice::<impl",
        &[
            "split_at",
            "split_at_mut",
            "swap",
            "copy_from_slice",
            "clone_from_slice",
            "copy_within",
            "chunks",
            "chunks_mut",
            "chunks_exact",
            "chunks_exact_mut",
            "windows",
            "get_unchecked",
            "get_unchecked_mut",
            "split_at_unchecked",
            "split_at_mut_unchecked",
        ],
    ),
    ("core::slice::raw::", &["from_raw_parts", "from_raw_parts_mut"]),
    (
        "core::num::<impl",
        &[
            "rem_euclid",
            "div_euclid",
            "pow",
            "abs",
            "ilog2",
            "ilog10",
            "ilog",
            "div_ceil",
            "next_multiple_of",
            "isqrt",
            "midpoint",
        ],
    ),
    (
        "core::ptr::const_ptr::<impl",
        &["read", "read_unaligned", "offset", "add", "sub"],
    ),
    (
        "core::ptr::mut_ptr::<impl",
        &["read", "read_unaligned", "offset", "add", "sub"],
    ),
    ("core::hint::unreachable_unchecked", &["unreachable_unchecked"]),
    ("core::panic::location::Location", &["caller"]),
];

/// The minor version of the compiler from which on `Into::into` takes one as well, which may carry anything.
const INTO_SINCE: u32 = 95;

/// The end of the names of checks that debug builds of the standard library make.
const PRECONDITION: &str = "::precondition_check";

/// The sections that are locations of panics, and nothing else.
pub(crate) fn locations(raw: &Raw<'_>) -> HashSet<u32> {
    let mut found = HashSet::new();
    if raw.machine != elf::EM_X86_64 {
        return found;
    }
    let sections = (0..).zip(&raw.sections);
    found.extend(
        sections
            .filter(|(_, section)| section.has(elf::SHF_ALLOC) && location::is_location(raw, section))
            .map(|(index, _)| index),
    );
    let mut callees = Callees {
        known: HashMap::new(),
        has_into: rustc_minor(raw).is_some_and(|minor| minor >= INTO_SINCE),
    };
    for section in &raw.sections {
        reject(raw, section, &mut found, &mut callees);
    }
    found
}

/// Takes those away that a section does something else with.
fn reject(raw: &Raw<'_>, section: &RawSection<'_>, found: &mut HashSet<u32>, callees: &mut Callees) {
    // By call, the location that is its last argument so far.
    let mut last: HashMap<u64, (usize, u32)> = HashMap::new();
    for (at, relocation) in section.relocations.iter().enumerate() {
        let Some(to) = leads_to(raw, relocation).filter(|to| found.contains(to)) else {
            continue;
        };
        let passed = passed(section, at);
        let passed = passed.filter(|passed| callees.take(raw, passed.callee));
        let Some(passed) = passed else {
            found.remove(&to);
            continue;
        };
        let (place, rival) = *last.entry(passed.call).or_insert((passed.place, to));
        match place.cmp(&passed.place) {
            std::cmp::Ordering::Less => {
                last.insert(passed.call, (passed.place, to));
                found.remove(&rival);
            }
            std::cmp::Ordering::Greater => drop(found.remove(&to)),
            std::cmp::Ordering::Equal => {}
        }
    }
}

fn leads_to(raw: &Raw<'_>, relocation: &Relocation) -> Option<u32> {
    match raw.symbols.get(relocation.symbol as usize)?.place {
        Place::Section(section) => Some(section),
        _ => None,
    }
}

/// How a constant is an argument.
struct Passed {
    /// Which argument it is.
    place: usize,
    /// Where the call is.
    call: u64,
    /// The symbol of what is called.
    callee: u32,
}

/// What the code does whose relocation is the one at `at`; none if it is anything but to pass an address on.
fn passed(section: &RawSection<'_>, at: usize) -> Option<Passed> {
    let relocation = &section.relocations[at];
    let is_code = section.has(elf::SHF_EXECINSTR);
    let is_start = relocation.kind == elf::R_X86_64_PC32 && relocation.addend == -4;
    // `lea register, [rip + distance]` has three bytes before the distance.
    let start = relocation.offset.checked_sub(3).filter(|_| is_code && is_start)?;
    let mut decoder = decoder(section, start)?;
    let lea = decoder.decode();
    if lea.code() != Code::Lea_r64_m || !lea.is_ip_rel_memory_operand() || lea.len() != 7 {
        return None;
    }
    let register = lea.op0_register();
    let place = ARGUMENTS.iter().position(|argument| *argument == register)?;
    let higher = &ARGUMENTS[place + 1..];
    let mut instruction = Instruction::default();
    let mut loaded = HashMap::new();
    for _ in 0..WINDOW {
        if !decoder.can_decode() {
            return None;
        }
        decoder.decode_out(&mut instruction);
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                let own = symbol_in(section, &instruction);
                let callee = own.or_else(|| through_register(section, &instruction, &loaded, start))?;
                return Some(Passed {
                    place,
                    call: instruction.ip(),
                    callee,
                });
            }
            FlowControl::Next if !instruction.is_invalid() => {}
            _ => return None,
        }
        if mentions(&instruction, register) || writes_one_of(&instruction, higher) {
            return None;
        }
        note_load(section, &instruction, &mut loaded);
    }
    None
}

fn decoder<'s>(section: &RawSection<'s>, start: u64) -> Option<Decoder<'s>> {
    let code = section.data.get(usize::try_from(start).ok()?..)?;
    Some(Decoder::with_ip(64, code, start, DecoderOptions::NONE))
}

/// The symbol that an instruction refers to.
fn symbol_in(section: &RawSection<'_>, instruction: &Instruction) -> Option<u32> {
    let range = instruction.ip()..instruction.next_ip();
    let first = section
        .relocations
        .partition_point(|relocation| relocation.offset < range.start);
    let relocation = section.relocations.get(first)?;
    range.contains(&relocation.offset).then_some(relocation.symbol)
}

/// Remembers what a register was loaded with, if that is the address of a symbol, from the global offset table.
fn note_load(
    section: &RawSection<'_>,
    instruction: &Instruction,
    loaded: &mut HashMap<Register, Option<u32>>,
) {
    if instruction.op_count() == 0 || instruction.op0_kind() != OpKind::Register {
        return;
    }
    let register = instruction.op0_register().full_register();
    let is_load = instruction.code() == Code::Mov_r64_rm64 && instruction.is_ip_rel_memory_operand();
    loaded.insert(register, symbol_in(section, instruction).filter(|_| is_load));
}

/// The symbol that is called by `call register`: loaded after the location was put in place, or shortly before.
fn through_register(
    section: &RawSection<'_>,
    call: &Instruction,
    loaded: &HashMap<Register, Option<u32>>,
    lea: u64,
) -> Option<u32> {
    if call.op0_kind() != OpKind::Register {
        return None;
    }
    let register = call.op0_register();
    if let Some(symbol) = loaded.get(&register) {
        return *symbol;
    }
    let end = section
        .relocations
        .partition_point(|relocation| relocation.offset < lea);
    let before = section.relocations[..end].iter().rev();
    let mut near = before.take_while(|relocation| lea - relocation.offset < BEFORE_BYTES);
    near.find_map(|relocation| {
        let start = relocation.offset.checked_sub(3)?;
        let mut decoder = decoder(section, start)?;
        let load = decoder.decode();
        let is_load = load.code() == Code::Mov_r64_rm64 && load.is_ip_rel_memory_operand() && load.len() == 7;
        if !is_load || load.op0_register() != register {
            return None;
        }
        // Straight on from there to the address, without touching the register.
        while decoder.can_decode() && decoder.ip() < lea {
            let instruction = decoder.decode();
            let is_plain = instruction.flow_control() == FlowControl::Next && !instruction.is_invalid();
            if !is_plain || writes_one_of(&instruction, &[register]) {
                return None;
            }
        }
        (decoder.ip() == lea).then_some(relocation.symbol)
    })
}

fn writes_one_of(instruction: &Instruction, registers: &[Register]) -> bool {
    let first = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Register;
    first && registers.contains(&instruction.op0_register().full_register())
}

fn mentions(instruction: &Instruction, register: Register) -> bool {
    let is = |other: Register| other.full_register() == register;
    (0..instruction.op_count()).any(|operand| match instruction.op_kind(operand) {
        OpKind::Register => is(instruction.op_register(operand)),
        OpKind::Memory => is(instruction.memory_base()) || is(instruction.memory_index()),
        _ => false,
    })
}

/// What is known of symbols that are called.
struct Callees {
    /// Whether they take a location, by symbol.
    known: HashMap<u32, bool>,
    /// Whether `Into::into` does.
    has_into: bool,
}

impl Callees {
    fn take(&mut self, raw: &Raw<'_>, symbol: u32) -> bool {
        let has_into = self.has_into;
        *self.known.entry(symbol).or_insert_with(|| {
            let path = name_of(raw, symbol).map(shown);
            path.is_some_and(|path| takes_location(&path) || has_into && path.starts_with(INTO))
        })
    }
}

/// The beginning of the path of what every type can be made into that says so.
const INTO: &str = "<T as core::convert::Into<";

/// The minor version of the compiler that made an object, which says so in a comment.
fn rustc_minor(raw: &Raw<'_>) -> Option<u32> {
    let comment = raw.sections.iter().find(|section| section.name == ".comment")?;
    let text = std::str::from_utf8(comment.data).ok()?;
    let (_, version) = text.split_once("rustc version 1.")?;
    version.split('.').next()?.parse().ok()
}

/// The mangled name of a function. One that is local to its object is called by its section, which has the function's name.
fn name_of<'d>(raw: &Raw<'d>, symbol: u32) -> Option<&'d str> {
    let symbol = raw.symbols.get(symbol as usize)?;
    match symbol.place {
        Place::Section(section) if symbol.kind == elf::STT_SECTION => {
            let name = raw.sections.get(section as usize)?.name;
            name.strip_prefix(".text.unlikely.")
                .or_else(|| name.strip_prefix(".text."))
        }
        _ => Some(symbol.name),
    }
}

fn is_of_the_library(path: &str) -> bool {
    let crates = ["core::", "alloc::", "std::"];
    crates.iter().any(|start| path.starts_with(start))
}

/// Of a path `<TYPE as TRAIT>::NAME`, what begins with the trait.
fn implements(path: &str) -> Option<&str> {
    let mut depth = 0_u32;
    let mut before = ' ';
    for (at, character) in path.char_indices() {
        match character {
            '<' => depth += 1,
            // Of `->` it is no end.
            '>' if before != '-' => depth = depth.checked_sub(1)?,
            ' ' if depth == 1 => {
                if let Some(rest) = path[at..].strip_prefix(" as ") {
                    return path.starts_with('<').then_some(rest);
                }
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
        before = character;
    }
    None
}

/// Whether the last argument of a function with this path is where it was called from.
fn takes_location(path: &str) -> bool {
    if implements(path).is_some_and(|implemented| !is_of_the_library(implemented)) {
        // Anybody may implement a trait of his own for a type of the library.
        return false;
    }
    let path = path.trim_start_matches(['<', '&']);
    if !is_of_the_library(path) && !path.starts_with("usize as core::") {
        return false;
    }
    // Generic arguments may follow.
    let plain = match path.strip_suffix('>') {
        Some(_) if !path.contains(" as ") => path.rsplit_once("::<").map_or(path, |(plain, _)| plain),
        _ => path,
    };
    let name = plain.rsplit("::").next().unwrap_or_default();
    PANICKING.iter().any(|start| path.starts_with(start))
        || plain.ends_with(PRECONDITION)
        || plain.ends_with("::assert_failed")
        || TAKING
            .iter()
            .any(|(start, names)| path.starts_with(start) && names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_a_location_does() {
        for path in [
            "core::panicking::panic_const::panic_const_add_overflow",
            "core::panicking::assert_failed::<core::option::Option<u8>, core::option::Option<u8>>",
            "<core::result::Result<T,F> as core::ops::try_trait::FromResidual<core::result::Result<core::convert::Infallible,E>>>::from_residual",
            "<alloc::vec::Vec<T,A> as core::ops::index::Index<I>>::index",
            "core::slice::<impl [T]>::split_at",
            "core::option::Option<T>::unwrap",
            "<core::option::Option<u32>>::unwrap",
            "core::ptr::non_null::NonNull<T>::new_unchecked::precondition_check",
            "<core::option::Option<fn(u8) -> <u8 as demo::Of>::It>>::unwrap",
        ] {
            assert!(takes_location(path), "{path}");
        }
        for path in [
            "demo::log",
            "log_at",
            "core::hint::black_box",
            "alloc::vec::Vec<T,A>::push",
            "<T as core::convert::Into<U>>::into",
            "<demo::Table as core::ops::index::Index<&demo::Place>>::index",
            "<std::collections::hash::map::HashMap<K,V,S> as core::ops::index::Index<&Q>>::index",
            "core::option::Option<T>::insert",
            "demo::core::panicking::panic",
            "<core::option::Option<u8> as demo::Ext>::expect",
            "<core::option::Option<fn(u8) -> u8> as demo::Ext<core::option::Option<u8>>>::expect",
            "<alloc::string::String as demo::Ext>::precondition_check",
        ] {
            assert!(!takes_location(path), "{path}");
        }
    }
}
