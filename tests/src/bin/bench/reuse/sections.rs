//! What the analysis of a very large binary takes: one of 200,000 sections, in many objects.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use thresh_tests::running::peak_memory_kib;

use crate::Options;
use crate::figure::Figure;
use crate::measure::{cost, median};

const OBJECTS: usize = 100;
/// Of functions; each has a constant as well, in a section of its own.
const FUNCTIONS: usize = 1_000;
/// How many others a function calls.
const CALLS: usize = 6;
/// The most memory that it may take, in MiB.
const MEMORY_MAX: f64 = 1_024.0;

pub(crate) fn measure(options: &Options) -> Vec<Figure> {
    let temp = tempfile::tempdir().expect("a temp folder can be made");
    let arguments = link(temp.path());
    let sections = 2 * OBJECTS * FUNCTIONS;
    let (mut seconds, mut memory) = (Vec::new(), 0);
    for repeat in 0..options.repeats {
        let folder = temp.path().join(repeat.to_string());
        // The peak is counted from here on.
        fs::write("/proc/self/clear_refs", "5").expect("Linux counts memory");
        let began = Instant::now();
        let kept = thresh_reach::analyse(&arguments, &folder).expect("it can be written");
        seconds.push(began.elapsed().as_secs_f64());
        memory = memory.max(peak_memory_kib(std::process::id()).expect("this process lives"));
        let summary = thresh_reach::Summary::load(&kept.expect("it is an executable"));
        assert_eq!(summary.expect("it was kept").whole(), None);
    }
    vec![
        Figure::new(
            format!("reuse: memory of an analysis of {sections} sections"),
            memory as f64 / 1_024.0,
            "MiB",
        )
        .at_most(MEMORY_MAX),
        Figure::new(
            format!("reuse: analysis of {sections} sections"),
            median(seconds),
            "s",
        ),
    ]
}

/// Links a program and returns the linker's arguments.
fn link(folder: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    for object in 0..OBJECTS {
        let [source, target] = ["s", "o"].map(|ending| folder.join(format!("{object}.{ending}")));
        fs::write(&source, assembly(object)).expect("a temp folder can be written");
        let mut assemble = Command::new("cc");
        assemble.arg("-c").arg(&source).arg("-o").arg(&target);
        cost(assemble);
        arguments.push(target.into());
    }
    arguments.extend(["-o".into(), folder.join("program").into()]);
    let mut link = Command::new("cc");
    link.args(&arguments);
    cost(link);
    arguments
}

/// A name as long as those of rustc are.
fn name(number: usize) -> String {
    format!("_ZN9generated10submodule_{number}70_$LT$impl$u20$core..iter..Iterator$GT$4next17h{number:016x}E")
}

/// An object whose functions call some of its own and some of others'.
fn assembly(object: usize) -> String {
    let mut text = String::new();
    let all = OBJECTS * FUNCTIONS;
    let mut line = |written: std::fmt::Arguments<'_>| writeln!(text, "{written}").expect("memory is there");
    line(format_args!(".section .note.GNU-stack,\"\",@progbits"));
    if object == 0 {
        line(format_args!(
            ".section .text.main,\"ax\",@progbits\n.globl main\nmain: jmp {}",
            name(0)
        ));
    }
    for number in object * FUNCTIONS..(object + 1) * FUNCTIONS {
        let own = name(number);
        line(format_args!(
            ".section .text.{own},\"ax\",@progbits\n.globl {own}\n{own}:"
        ));
        for call in 0..CALLS {
            let called = (number * 7 + call * 1_009 + 1) % all;
            line(format_args!("call {}", name(called)));
        }
        line(format_args!("leaq .Lconstant{number}(%rip), %rax\nret"));
        line(format_args!(
            ".section .rodata..L{number},\"a\",@progbits\n.Lconstant{number}: .quad {number}"
        ));
    }
    text
}
