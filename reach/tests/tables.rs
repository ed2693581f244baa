//! Tables that an object brings for others to read: unwind tables, COMDAT groups, lists of what is called at the start.

mod build;
mod keys;

use std::fs;

use build::Workshop;
use keys::changed;
use thresh_reach::{Analysis, Locations};

/// A workshop whose tests are linked with these objects, in this order.
fn linked_with(objects: &[&str], flags: &[&str]) -> Workshop {
    let mut workshop = Workshop::new(flags);
    for object in objects {
        let path = workshop.path().join(format!("{object}.o"));
        workshop.flags.push(format!("-Clink-arg={}", path.display()));
    }
    workshop
}

fn assemble(workshop: &Workshop, name: &str, source: &str) {
    let (from, to) = (format!("{name}.s"), format!("{name}.o"));
    fs::write(workshop.path().join(&from), source).expect("written");
    workshop.run("cc", &["-c", &from, "-o", &to]);
}

/// Two functions, each with an exception table of its own. Of `f` the type table leads to `kind`, the personality is `routine`.
const UNWOUND: &str = r#"
    .section .text.routine,"ax",@progbits
    .globl routine
    .hidden routine
routine: ret
    .section .text.another,"ax",@progbits
    .globl another
    .hidden another
another: nop
    ret
    .section .text.f,"ax",@progbits
    .globl f
    .type f, %function
f:  .cfi_startproc
    .cfi_personality 0x1b, routine
    .cfi_lsda 0x1b, .Ltable_f
    nop
    .cfi_def_cfa_offset 16
    ret
    .cfi_endproc
    .section .text.g,"ax",@progbits
    .globl g
    .type g, %function
g:  .cfi_startproc
    .cfi_personality 0x1b, routine
    .cfi_lsda 0x1b, .Ltable_g
    nop
    .cfi_def_cfa_offset 16
    ret
    .cfi_endproc
    .section .gcc_except_table.f,"a",@progbits
    .balign 4
.Ltable_f:
    .byte 0xff, 0xff, 1, 4, 0, 1, 1, 0
    .long kind - .
    .section .gcc_except_table.g,"a",@progbits
    .balign 4
.Ltable_g:
    .byte 0xff, 0xff, 1, 4, 0, 1, 1, 0
    .long 0
    .section .rodata.kind,"a",@progbits
kind: .long 7
    .section .note.GNU-stack,"",@progbits
"#;

#[test]
fn what_unwinding_does_in_a_function_counts_for_who_reaches_it() {
    let workshop = linked_with(&["unwound"], &[]);
    let build = |source: &str| {
        assemble(&workshop, "unwound", source);
        workshop.build(
            "unsafe extern \"C\" { fn f(); fn g(); }
            #[test] fn calls_f() { unsafe { f() } } #[test] fn calls_g() { unsafe { g() } }
            #[test] fn neither() { assert_ne!(std::hint::black_box(1), 2) }",
        )
    };
    let old = build(UNWOUND);
    for (before, after, cases) in [
        // The call has another landing pad.
        (
            "0, 1, 1, 0\n    .long kind",
            "0, 1, 2, 0\n    .long kind",
            &["calls_f"][..],
        ),
        ("0, 1, 1, 0\n    .long 0", "0, 1, 2, 0\n    .long 0", &["calls_g"]),
        ("kind: .long 7", "kind: .long 8", &["calls_f"]),
        (
            "routine\n    .cfi_lsda 0x1b, .Ltable_f",
            "another\n    .cfi_lsda 0x1b, .Ltable_f",
            &["calls_f"],
        ),
        (
            ".cfi_lsda 0x1b, .Ltable_f",
            ".cfi_lsda 0x1b, .Ltable_g",
            &["calls_f"],
        ),
        ("cfa_offset 16", "cfa_offset 32", &["calls_f"]),
        ("routine: ret", "routine: nop\n ret", &["calls_f", "calls_g"]),
    ] {
        assert!(UNWOUND.contains(before), "{before}");
        let new = build(&UNWOUND.replacen(before, after, 1));
        assert_eq!(
            changed(&old, &new, Locations::Exact),
            cases,
            "{before} became {after}"
        );
    }
}

#[test]
fn what_is_dropped_only_while_unwinding_counts_for_who_may_unwind() {
    let workshop = Workshop::new(&["-Copt-level=1", "-Ccodegen-units=1"]);
    let source = "struct Guard;
        impl Drop for Guard { #[inline(never)] fn drop(&mut self) { std::hint::black_box(1); } }
        #[inline(never)] fn may_panic() { if std::hint::black_box(false) { panic!() } }
        #[test] fn guarded() { let guard = Guard; may_panic(); std::mem::forget(guard) }
        #[test] fn unguarded() { may_panic() }";
    let old = workshop.build(source);
    let new = workshop.build(&source.replace("black_box(1)", "black_box(2)"));
    assert_eq!(changed(&old, &new, Locations::Exact), ["guarded"]);
}

/// The linkers that are there beside the one that rustc chooses.
const LINKERS: &[&[&str]] = match cfg!(target_arch = "x86_64") {
    true => &[&[], &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"]],
    false => &[&[]],
};

#[test]
fn of_groups_with_one_signature_the_taken_one_counts() {
    let member = |function: &str, number: u32| {
        format!(
            ".section .text.f,\"axG\",@progbits,f,comdat
            .weak f
            .type f, %function
            f: ret
            .long {number}
            .section .text.{function},\"ax\",@progbits
            .globl {function}
            .type {function}, %function
            {function}: ret
            .section .note.GNU-stack,\"\",@progbits\n"
        )
    };
    for flags in LINKERS {
        let workshop = linked_with(&["first", "second"], flags);
        let build = |first: u32, second: u32| {
            assemble(&workshop, "first", &member("g", first));
            assemble(&workshop, "second", &member("h", second));
            workshop.build(
                "unsafe extern \"C\" { fn f(); fn g(); fn h(); }
                #[test] fn calls_f() { unsafe { f() } } #[test] fn calls_g() { unsafe { g() } }
                #[test] fn calls_h() { unsafe { h() } }",
            )
        };
        let old = build(1, 1);
        for ((first, second), cases) in [((2, 2), &["calls_f"][..]), ((1, 2), &[]), ((2, 1), &["calls_f"])] {
            let new = build(first, second);
            assert_eq!(
                changed(&old, &new, Locations::Exact),
                cases,
                "{first} {second} {flags:?}"
            );
        }
    }
}

/// Whether each case has another key, or none.
fn is_for_all(old: &Analysis, new: &Analysis) -> bool {
    let is_whole = |analysis: &Analysis| analysis.summary().whole().is_some();
    is_whole(old) || is_whole(new) || changed(old, new, Locations::Exact) == ["one", "two"]
}

#[test]
fn what_old_and_early_tables_name_counts_for_all() {
    let source = "
        static mut SEEN: u32 = 0;
        extern \"C\" fn start() { unsafe { SEEN = 1 }; println!() }
        #[used] #[unsafe(link_section = \"WHERE\")] static START: extern \"C\" fn() = start;
        #[test] fn one() {} #[test] fn two() { assert!(true) }";
    for flags in LINKERS {
        let workshop = Workshop::new(flags);
        for section in [".preinit_array", ".ctors", ".ctors.00100", ".dtors"] {
            let source = source.replace("WHERE", section);
            let old = workshop.build(&source);
            let new = workshop.build(&source.replace("SEEN = 1", "SEEN = 2"));
            assert!(is_for_all(&old, &new), "{section} {flags:?}");
        }
    }
}
