//! What is decided by the link as a whole counts for every case, and for programs.

mod build;
mod keys;

use std::fs;

use build::Workshop;
use keys::changed;
use thresh_core::digest::Digest;
use thresh_reach::{Analysis, Locations};

fn compile(workshop: &Workshop, name: &str, source: &str, flags: &[&str]) {
    fs::write(workshop.path().join(format!("{name}.c")), source).expect("written");
    workshop.run("cc", &[flags, &[&format!("{name}.c")]].concat());
}

fn linked_with(workshop: &mut Workshop, file: &str) {
    let path = workshop.path().join(file);
    workshop.flags.push(format!("-Clink-arg={}", path.display()));
}

const ONE: &str = "#[test] fn one() { assert_ne!(std::hint::black_box(1), 2) }";

#[test]
fn the_name_of_what_is_exported_counts() {
    let workshop = Workshop::new(&["-Clink-arg=-rdynamic"]);
    let hook = |name: &str| {
        workshop.build(&format!(
            "#[unsafe(no_mangle)] pub extern \"C\" fn {name}() {{}} {ONE}"
        ))
    };
    let (old, new) = (hook("hook_a"), hook("hook_b"));
    assert_eq!(changed(&old, &new, Locations::Exact), ["one"]);
    assert_eq!(changed(&old, &new, Locations::IgnoreUnlessObserved), ["one"]);
    let difference = thresh_reach::explain(&old, &new, "one", Locations::Exact).expect("they differ");
    assert!(
        difference.changed[0].contains("names that it exports"),
        "{difference:?}"
    );
    assert_eq!(changed(&old, &hook("hook_a"), Locations::Exact), [] as [&str; 0]);
}

#[test]
fn which_place_in_a_section_is_exported_counts() {
    let mut workshop = Workshop::new(&["-Clink-arg=-rdynamic"]);
    linked_with(&mut workshop, "pair.o");
    let pair = |[first, second]: [&str; 2]| {
        let source = format!("int {first}(void) {{ return 1; }} int {second}(void) {{ return 2; }}");
        compile(
            &workshop,
            "pair",
            &source,
            &["-c", "-fno-function-sections", "-o", "pair.o"],
        );
        workshop.build(ONE)
    };
    let (old, new) = (pair(["a", "b"]), pair(["b", "a"]));
    assert_eq!(changed(&old, &new, Locations::Exact), ["one"]);
}

#[test]
fn a_library_that_is_loaded_for_another_case_counts() {
    let mut workshop = Workshop::new(&["-L."]);
    compile(
        &workshop,
        "f",
        "int f(void) { return 1; }",
        &["-shared", "-fPIC", "-o", "libf.so"],
    );
    linked_with(&mut workshop, "libf.so");
    let old = workshop.build(ONE);
    let other = "unsafe extern \"C\" { fn f() -> i32; } #[test] fn other() { assert_eq!(unsafe { f() }, 1) }";
    let new = workshop.build(&format!("{ONE} {other}"));
    assert_eq!(changed(&old, &new, Locations::Exact), ["one"]);
}

#[test]
fn what_thread_locals_take_from_every_stack_counts_by_pages() {
    let workshop = Workshop::new(&[]);
    let local = |bytes: u32| {
        workshop.build(&format!(
            "thread_local! {{ static OWN: std::cell::Cell<[u8; {bytes}]> = const {{ std::cell::Cell::new([0; {bytes}]) }} }}
            #[test] fn other() {{ OWN.with(|own| assert_eq!(std::hint::black_box(own).get()[0], 0)) }} {ONE}"
        ))
    };
    let old = local(16);
    assert_eq!(changed(&old, &local(24), Locations::Exact), ["other"]);
    assert_eq!(changed(&old, &local(1 << 20), Locations::Exact), ["one", "other"]);
}

#[test]
fn a_static_c_library_makes_the_binary_whole() {
    let workshop = Workshop::new(&["-Ctarget-feature=+crt-static"]);
    let analysis = workshop.build(ONE);
    workshop.run("./demo", &[]);
    let why = analysis.summary().whole().expect("it counts whole");
    assert!(why.contains("no library is loaded with it"), "{why}");
}

#[test]
fn a_program_has_the_key_of_what_its_main_reaches() {
    let workshop = Workshop::new(&[]);
    let program = |reached: u32, other: u32| {
        let source = format!(
            "#[inline(never)] fn reached() -> u32 {{ std::hint::black_box({reached}) }}
            #[unsafe(no_mangle)] #[inline(never)] pub fn other() -> u32 {{ std::hint::black_box({other}) }}
            fn main() {{ assert_ne!(reached(), 9) }}"
        );
        key(&workshop.analyse(&workshop.link_as("--crate-type=bin", &source)))
    };
    let old = program(1, 1);
    assert_eq!(program(1, 2), old);
    assert_ne!(program(2, 1), old);
}

#[test]
fn a_suite_with_its_own_main_has_one_key_for_all_that_its_cases_reach() {
    let workshop = Workshop::new(&["--cfg=test"]);
    let suite = "
        fn plain() -> u32 { std::hint::black_box(11) }
        #[test] fn a_case_of_libtest_is_left_out() { std::hint::black_box(10); }
        mod deep { pub(crate) fn below() -> u32 { std::hint::black_box(22) } pub(crate) fn case() -> u32 { below() } }
        trait Case { fn run(&self) -> u32; }
        struct Own; impl Case for Own { fn run(&self) -> u32 { std::hint::black_box(33) } }
        static CASES: &[(&str, fn() -> u32)] = &[(\"plain\", plain), (\"deep\", deep::case)];
        fn main() {
            let own: Box<dyn Case> = Box::new(Own);
            for name in std::env::args().skip(1) {
                let found = CASES.iter().find(|(case, _)| *case == name);
                assert_ne!(found.map_or_else(|| own.run(), |(_, run)| run()), 9);
            }
        }";
    let build = |source: &str| key(&workshop.analyse(&workshop.link_as("--crate-type=bin", source)));
    let old = build(suite);
    for number in ["11", "22", "33"] {
        let other = suite.replace(&format!("({number})"), "(44)");
        assert_ne!(build(&other), old, "{number}");
    }
    assert_eq!(build(&suite.replace("black_box(10)", "black_box(44)")), old);
}

fn key(analysis: &Analysis) -> Digest {
    assert_eq!(analysis.summary().whole(), None);
    assert_eq!(analysis.summary().keys(Locations::Exact).count(), 0);
    let key = analysis.summary().program(Locations::Exact);
    key.expect("a program has one")
}
