//! What the bytes of a section say of what its code may do, by themselves.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use object::elf;

use crate::instructions::marks_of_code;
use crate::raw::RawSection;

/// Pieces of the names of the variables that hold a package's version, and of the file that holds all variables. Whoever
/// looks one of them up has a piece of its name somewhere.
const TEXTS: [&[u8]; 4] = [b"CARGO", b"PKG_V", b"_VERSION", b"environ"];

/// A set of properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u8);

impl Marks {
    /// Has bytes in it that are an instruction which enters the kernel, or code that can be written to.
    pub(crate) const KERNEL: Self = Self(1);
    /// Has a piece of the name of a variable that holds the package's version.
    pub(crate) const VERSION: Self = Self(2);
    /// Can be written to by the program.
    pub(crate) const WRITTEN: Self = Self(4);
    /// Has bytes in it that are an instruction which changes what the processor keeps besides its general registers: how
    /// numbers are rounded, flags, where a thread's own memory is. Threads inherit some of it.
    pub(crate) const STATE: Self = Self(8);

    /// The marks of a section. `names` are those of what stands in it.
    pub(crate) fn of_section<'n>(
        machine: u16,
        section: &RawSection<'_>,
        names: impl Iterator<Item = &'n str>,
    ) -> Self {
        let mut marks = Self::of_text(section.data);
        let written = is_written(section);
        if written {
            marks.insert(Self::WRITTEN);
        }
        if section.has(elf::SHF_EXECINSTR) {
            marks.insert(match written {
                true => Self::KERNEL,
                false => marks_of_code(machine, section.data, is_rust(names)),
            });
        }
        marks
    }

    /// The marks of constant bytes.
    pub(crate) fn of_text(bytes: &[u8]) -> Self {
        static FINDERS: LazyLock<[Finder<'_>; 4]> = LazyLock::new(|| TEXTS.map(Finder::new));
        if FINDERS.iter().any(|text| text.find(bytes).is_some()) {
            Self::VERSION
        } else {
            Self::default()
        }
    }

    pub(crate) fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As a number to keep.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// From a number that was kept.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

/// Whether a program can write to a section. What is only written to while the program is loaded is constant.
pub(crate) fn is_written(section: &RawSection<'_>) -> bool {
    let constant = section.name == ".data.rel.ro" || section.name.starts_with(".data.rel.ro.");
    section.has(elf::SHF_WRITE) && !constant
}

/// Whether all of these are names that rustc makes. It puts nothing but instructions into the sections of functions by itself.
fn is_rust<'n>(names: impl Iterator<Item = &'n str>) -> bool {
    let mut names = names.peekable();
    names.peek().is_some() && names.all(|name| name.starts_with("_R") || has_legacy_hash(name))
}

/// Whether a name ends as rustc's older names do and no other compiler's: `17h`, sixteen hexadecimal digits, `E`.
fn has_legacy_hash(name: &str) -> bool {
    let hash = name.strip_suffix('E').and_then(|name| name.rsplit_once("17h"));
    name.starts_with("_ZN")
        && hash.is_some_and(|(_, hash)| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section<'d>(name: &'d str, flags: u32, data: &'d [u8]) -> RawSection<'d> {
        RawSection {
            name,
            kind: elf::SHT_PROGBITS,
            flags: u64::from(flags),
            align: 1,
            size: data.len() as u64,
            entry_size: 0,
            data,
            relocations: Vec::new(),
        }
    }

    fn of(machine: u16, section: &RawSection<'_>, name: &str) -> Marks {
        let names = Some(name).filter(|name| !name.is_empty());
        Marks::of_section(machine, section, names.into_iter())
    }

    #[test]
    fn instructions_that_enter_the_kernel_are_found_in_code_only() {
        let marks = |flags, data| of(elf::EM_X86_64, &section(".text.f", flags, data), "f");
        for call in [b"\x90\x0f\x05\xc3", b"\x90\x0f\x34\xc3", b"\x90\xcd\x80\xc3"] {
            assert!(marks(elf::SHF_EXECINSTR, call).contains(Marks::KERNEL));
            assert!(!marks(0, call).contains(Marks::KERNEL));
        }
        assert!(!marks(elf::SHF_EXECINSTR, b"\x0f\xc3\x05\xcd").contains(Marks::KERNEL));
        assert!(marks(elf::SHF_EXECINSTR | elf::SHF_WRITE, b"\xc3").contains(Marks::KERNEL));
        let arm = |word: u32| {
            let bytes = word.to_le_bytes();
            let section = section(".text.f", elf::SHF_EXECINSTR, &bytes);
            of(elf::EM_AARCH64, &section, "_Rf")
        };
        assert!(arm(0xd400_0001).contains(Marks::KERNEL) && arm(0xd400_1001).contains(Marks::KERNEL));
        assert!(!arm(0xd65f_03c0).contains(Marks::KERNEL));
    }

    #[test]
    fn bytes_within_an_instruction_of_rust_code_enter_nothing() {
        let enters = |code: &[u8], name| {
            let section = section(".text.f", elf::SHF_EXECINSTR, code);
            of(elf::EM_X86_64, &section, name).contains(Marks::KERNEL)
        };
        // mov %al,0x50f(%rsp)
        let store = b"\x88\x84\x24\x0f\x05\x00\x00\xc3";
        assert!(!enters(store, "_RNvC4demo1f") && !enters(store, "_ZN4demo1f17h0123456789abcdefE"));
        for other in ["f", "", "_ZN4demo1fEv", "_ZN4demo1f17hE"] {
            assert!(enters(store, other), "there may be data in {other:?}");
        }
        let after = [&store[..7], b"\x0f\x05\xc3"].concat();
        assert!(enters(&after, "_RNvC4demo1f"));
        let broken = [&store[..], b"\x06"].concat();
        assert!(enters(&broken, "_RNvC4demo1f"), "it is no instruction");
        let cut = [b"\x90\x0f\x05", &store[..5]].concat();
        assert!(enters(&cut, "_RNvC4demo1f"));
    }

    #[test]
    fn pieces_of_names_are_found() {
        for text in ["CARGO_PKG_VERSION", "CARGO_", "x_VERSION_y", "/proc/self/environ"] {
            assert!(Marks::of_text(text.as_bytes()).contains(Marks::VERSION), "{text}");
        }
        for text in ["", "cargo", "Version", "/rustc/x/library/core/src/env.rs"] {
            assert_eq!(Marks::of_text(text.as_bytes()), Marks::default(), "{text}");
        }
    }

    #[test]
    fn what_is_constant_after_the_start_is_not_written() {
        assert!(is_written(&section(".data.x", elf::SHF_WRITE, b"")));
        assert!(is_written(&section(
            ".tbss.x",
            elf::SHF_WRITE | elf::SHF_TLS,
            b""
        )));
        assert!(!is_written(&section(".data.rel.ro.x", elf::SHF_WRITE, b"")));
        assert!(!is_written(&section(".rodata.x", 0, b"")));
    }
}
