//! What instructions do by themselves, without calling anything: enter the kernel, or change the processor's state.
//!
//! # Method
//!
//! Bytes that may be such an instruction are looked for anywhere in a section. They may as well be a part of a number or of a
//! distance, so what rustc has compiled is decoded where they are found, from the section's begin to its end. Where anything but
//! rustc has a name in the section, there may be data between instructions, and the bytes count as they are.
//!
//! `asm!` can put data into a function of Rust as well. So decoding counts only if all bytes are instructions, and if each
//! direct branch and each address that is taken relative to the instruction leads to one of those that were decoded. Then whatever is executed is
//! one of them.
//!
//! # What is assumed
//!
//! * No computed jump (`jmp rax`, `ret`) leads into the middle of an instruction of Rust. Only `asm!` could make one.
//! * What a function must leave as it found it (the direction flag, an empty x87 stack), it does leave so. How numbers are
//!   rounded belongs to that too, but programs do change it, and threads inherit it: so that is looked for.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic};
use object::elf;

use crate::marks::Marks;

/// `svc` with any number.
const AARCH64_CALL: u32 = 0xd400_0001;
const AARCH64_CALL_MASK: u32 = 0xffe0_001f;

/// `msr` of a register and of a number.
const AARCH64_STATE: [(u32, u32); 2] = [(0xfff0_0000, 0xd510_0000), (0xfff8_f01f, 0xd500_401f)];

/// `popf`.
const POP_FLAGS: u8 = 0x9d;

/// [`Marks::KERNEL`] and [`Marks::STATE`] of the bytes of code.
pub(crate) fn marks_of_code(machine: u16, code: &[u8], is_rust: bool) -> Marks {
    if machine == elf::EM_AARCH64 {
        return of_words(code);
    }
    let found = of_bytes(code);
    if is_rust && found != Marks::default() {
        return of_decoded(code).unwrap_or(found);
    }
    found
}

/// All instructions of AArch64 are words.
fn of_words(code: &[u8]) -> Marks {
    let mut marks = Marks::default();
    for word in code.as_chunks().0 {
        let word = u32::from_le_bytes(*word);
        if word & AARCH64_CALL_MASK == AARCH64_CALL {
            marks.insert(Marks::KERNEL);
        }
        if AARCH64_STATE.iter().any(|(mask, form)| word & mask == *form) {
            marks.insert(Marks::STATE);
        }
    }
    marks
}

/// What x86-64 code may do if an instruction begins at any of its bytes.
fn of_bytes(code: &[u8]) -> Marks {
    let mut marks = Marks::default();
    for pair in code.windows(2) {
        // For most instructions here the second byte has another digit of their code, and tells memory from registers.
        let (digit, is_memory) = (pair[1] >> 3 & 7, pair[1] < 0xc0);
        match (pair[0], pair[1]) {
            // `syscall`, `sysenter`, `int 0x80`.
            (0x0f, 0x05 | 0x34) | (0xcd, 0x80) => marks.insert(Marks::KERNEL),
            // The end of a longer code, in one of several forms: `fxrstor`, `ldmxcsr`, `xrstor`; `wrfsbase`, `wrgsbase`.
            (0xae, _) if is_memory && matches!(digit, 1 | 2 | 5) => marks.insert(Marks::STATE),
            (0xae, _) if !is_memory && matches!(digit, 2 | 3) => marks.insert(Marks::STATE),
            // `fldenv`, `fldcw`, `fnstenv` (which masks exceptions); `frstor`, `fnsave` (which resets); `fninit`.
            (0xd9, _) if is_memory && matches!(digit, 4..=6) => marks.insert(Marks::STATE),
            (0xdd, _) if is_memory && matches!(digit, 4 | 6) => marks.insert(Marks::STATE),
            (0xdb, 0xe3) => marks.insert(Marks::STATE),
            _ => {}
        }
    }
    if code.contains(&POP_FLAGS) {
        marks.insert(Marks::STATE);
    }
    marks
}

/// What x86-64 code does; `None` where it is not known to be nothing but the instructions that follow from its begin.
fn of_decoded(code: &[u8]) -> Option<Marks> {
    let mut marks = Marks::default();
    let mut begins = vec![false; code.len() + 1];
    let mut led_to = Vec::new();
    for instruction in &mut Decoder::new(64, code, DecoderOptions::NONE) {
        if instruction.is_invalid() {
            return None;
        }
        begins[usize::try_from(instruction.ip()).ok()?] = true;
        // Nothing is there yet where the linker puts a distance, so this leads to the next instruction.
        if instruction.is_ip_rel_memory_operand() {
            led_to.push(instruction.ip_rel_memory_address());
        }
        // It is 0, the begin, for what is no branch.
        led_to.push(instruction.near_branch_target());
        marks.insert(of_instruction(&instruction));
    }
    begins[code.len()] = true;
    let begins_at = |at: u64| usize::try_from(at).is_ok_and(|at| begins.get(at) == Some(&true));
    led_to.into_iter().all(begins_at).then_some(marks)
}

fn of_instruction(instruction: &Instruction) -> Marks {
    use Mnemonic as M;
    match instruction.mnemonic() {
        M::Syscall | M::Sysenter | M::Int => Marks::KERNEL,
        M::Ldmxcsr | M::Vldmxcsr | M::Fxrstor | M::Fxrstor64 | M::Xrstor | M::Xrstor64 => Marks::STATE,
        M::Fldcw | M::Fldenv | M::Fnstenv | M::Frstor | M::Fnsave | M::Fninit => Marks::STATE,
        M::Popf | M::Popfd | M::Popfq | M::Wrfsbase | M::Wrgsbase => Marks::STATE,
        _ => Marks::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_rust(code: &[u8]) -> Marks {
        marks_of_code(elf::EM_X86_64, code, true)
    }

    fn of_other(code: &[u8]) -> Marks {
        marks_of_code(elf::EM_X86_64, code, false)
    }

    fn of_word(word: u32) -> Marks {
        marks_of_code(elf::EM_AARCH64, &word.to_le_bytes(), true)
    }

    #[test]
    fn instructions_that_change_the_processors_state_are_found() {
        let all: [(&str, &[u8]); 21] = [
            ("ldmxcsr [rsp+4]", b"\x0f\xae\x54\x24\x04"),
            ("ldmxcsr [rip]", b"\x0f\xae\x15\x00\x00\x00\x00"),
            ("ldmxcsr [r9]", b"\x41\x0f\xae\x11"),
            ("vldmxcsr [rax]", b"\xc5\xf8\xae\x10"),
            ("vldmxcsr [r9]", b"\xc4\xc1\x78\xae\x11"),
            ("fxrstor [rax]", b"\x0f\xae\x08"),
            ("fxrstor64 [rax]", b"\x48\x0f\xae\x08"),
            ("xrstor [rax]", b"\x0f\xae\x28"),
            ("xrstor64 [rax+8]", b"\x48\x0f\xae\x68\x08"),
            ("wrfsbase rax", b"\xf3\x48\x0f\xae\xd0"),
            ("wrfsbase eax", b"\xf3\x0f\xae\xd0"),
            ("wrgsbase r9", b"\xf3\x49\x0f\xae\xd9"),
            ("fldcw [rsp]", b"\xd9\x2c\x24"),
            ("fldenv [rax]", b"\xd9\x20"),
            ("fnstenv [rax]", b"\xd9\x30"),
            ("frstor [rax]", b"\xdd\x20"),
            ("fnsave [rax]", b"\xdd\x30"),
            ("fninit", b"\xdb\xe3"),
            ("popfq", b"\x9d"),
            ("popf", b"\x66\x9d"),
            ("popfq behind a load", b"\x8b\x04\x24\x9d"),
        ];
        for (text, code) in all {
            let code = [b"\x90", code, b"\xc3"].concat();
            assert_eq!(of_rust(&code), Marks::STATE, "{text}");
            assert_eq!(of_other(&code), Marks::STATE, "{text}");
        }
        assert_eq!(of_other(b"\x9d"), Marks::STATE);
    }

    #[test]
    fn instructions_that_only_read_the_state_are_not() {
        let all: [(&str, &[u8]); 11] = [
            ("stmxcsr [rsp+4]", b"\x0f\xae\x5c\x24\x04"),
            ("vstmxcsr [rax]", b"\xc5\xf8\xae\x18"),
            ("fxsave [rax]", b"\x0f\xae\x00"),
            ("xsave [rax]", b"\x0f\xae\x20"),
            ("lfence", b"\x0f\xae\xe8"),
            ("mfence", b"\x0f\xae\xf0"),
            ("clflush [rax]", b"\x0f\xae\x38"),
            ("rdfsbase rax", b"\xf3\x48\x0f\xae\xc0"),
            ("fnstcw [rsp]", b"\xd9\x3c\x24"),
            ("fld dword [rsp]", b"\xd9\x04\x24"),
            ("pushfq", b"\x9c"),
        ];
        for (text, code) in all {
            let code = [code, b"\xc3"].concat();
            assert_eq!(of_rust(&code), Marks::default(), "{text}");
            assert_eq!(of_other(&code), Marks::default(), "{text}");
        }
    }

    #[test]
    fn state_is_not_changed_within_an_instruction_of_rust_code() {
        // mov %al,0x10ae(%rsp); mov %al,0x9d(%rsp)
        for store in [
            b"\x88\x84\x24\xae\x10\x00\x00\xc3",
            b"\x88\x84\x24\x9d\x00\x00\x00\xc3",
        ] {
            assert_eq!(of_rust(store), Marks::default());
            assert_eq!(of_other(store), Marks::STATE);
        }
    }

    #[test]
    fn data_that_is_jumped_over_hides_nothing() {
        // jmp 2f; .byte 0x05; 2: nop; syscall; ret. Decoded from its begin, it adds 0xc3050f90.
        let hidden = b"\xeb\x01\x05\x90\x0f\x05\xc3";
        assert_eq!(of_rust(hidden), Marks::KERNEL);
        // The same by a long jump, and state.
        assert_eq!(
            of_rust(b"\xe9\x01\x00\x00\x00\x05\x90\x90\xdb\xe3\xc3"),
            Marks::STATE
        );
        // lea rax, [rip + 3]; jmp rax; .byte 0x05; nop; syscall; ret
        assert_eq!(
            of_rust(b"\x48\x8d\x05\x03\x00\x00\x00\xff\xe0\x05\x90\x0f\x05\xc3"),
            Marks::KERNEL
        );
        // A jump out of the section.
        assert_eq!(of_rust(b"\xeb\x70\x05\x90\x0f\x05\xc3"), Marks::KERNEL);
        // Ones that lead to instructions: over a whole one, to what the linker puts in, and from the last on.
        for honest in [
            &b"\xeb\x05\x05\x90\x0f\x05\xc3\xc3"[..],
            b"\xe8\x00\x00\x00\x00\x05\x90\x0f\x05\xc3\xe9\x00\x00\x00\x00",
            b"\x83\x3d\x00\x00\x00\x00\x07\x05\x90\x0f\x05\xc3\xc3",
        ] {
            assert_eq!(of_rust(honest), Marks::default(), "{honest:x?}");
        }
    }

    #[test]
    fn words_are_told_on_aarch64() {
        assert_eq!(of_word(0xd400_0001), Marks::KERNEL);
        assert_eq!(of_word(0xd400_1001), Marks::KERNEL);
        // msr fpcr, x0; msr tpidr_el0, x1; msr nzcv, x2; msr dit, #1; msr ssbs, #0
        for word in [0xd51b_4400, 0xd51b_d041, 0xd51b_4202, 0xd503_415f, 0xd503_403f] {
            assert_eq!(of_word(word), Marks::STATE, "{word:x}");
        }
        // ret; mrs x0, fpcr; mrs x0, tpidr_el0; dmb ish; hint #0; bti c
        for word in [
            0xd65f_03c0,
            0xd53b_4400,
            0xd53b_d040,
            0xd503_3bbf,
            0xd503_201f,
            0xd503_245f,
        ] {
            assert_eq!(of_word(word), Marks::default(), "{word:x}");
        }
    }
}
