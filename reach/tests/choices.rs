//! What a linker chooses: which definition, which members of archives, in which order, what it keeps of a list. Where that is not
//! known for certain, the binary counts whole.

mod build;
mod keys;

use std::fs;

use build::Workshop;
use keys::changed;
use thresh_reach::{Analysis, Locations};

/// A workshop with C files, compiled to `NAME.o` each.
fn with_c(files: &[(&str, &str)]) -> Workshop {
    let mut workshop = Workshop::new(&[]);
    for (name, source) in files {
        compile(&workshop, name, source);
        let object = workshop.path().join(format!("{name}.o"));
        workshop.flags.push(format!("-Clink-arg={}", object.display()));
    }
    workshop
}

fn compile(workshop: &Workshop, name: &str, source: &str) {
    fs::write(workshop.path().join(format!("{name}.c")), source).expect("written");
    let (from, to) = (format!("{name}.c"), format!("{name}.o"));
    let flags = ["-c", "-fPIC", "-fcommon", "-ffunction-sections", &from, "-o", &to];
    workshop.run("cc", &flags);
}

/// Makes an archive of objects, and has it linked.
fn archive(workshop: &mut Workshop, name: &str, members: &[&str]) {
    let members: Vec<String> = members.iter().map(|member| format!("{member}.o")).collect();
    let mut arguments = vec!["crs", name];
    arguments.extend(members.iter().map(String::as_str));
    let _ = fs::remove_file(workshop.path().join(name));
    workshop.run("ar", &arguments);
    let flag = format!("-Clink-arg={}", workshop.path().join(name).display());
    if !workshop.flags.contains(&flag) {
        workshop.flags.push(flag);
    }
}

fn whole(analysis: &Analysis) -> &str {
    analysis.summary().whole().unwrap_or("it does not count whole")
}

#[test]
fn a_list_that_may_lose_members_is_as_much_as_the_binary() {
    let workshop = with_c(&[
        ("one", "__attribute__((section(\"numbers\"))) int one = 1;"),
        (
            "two",
            "__attribute__((section(\"numbers\"), used)) int two = 2; int get_two(void) { return two; }",
        ),
    ]);
    let source = "unsafe extern \"C\" { static one: i32; fn get_two() -> i32; static __start_numbers: i32; static __stop_numbers: i32; }
        #[test] fn counts() { unsafe { assert_ne!(&raw const __start_numbers, &raw const __stop_numbers) } }
        #[test] fn reads() { assert_eq!(unsafe { one }, 1) } #[test] fn other() { assert_eq!(unsafe { get_two() }, 2) }";
    let old = workshop.build(source);
    let new = workshop.build(&source.replace("unsafe { one }, 1", "unsafe { get_two() }, 2"));
    assert!(changed(&old, &new, Locations::Exact).contains(&"counts".to_owned()));
}

#[test]
fn the_order_of_constructors_is_for_all() {
    let workshop = Workshop::new(&[]);
    let source = "use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
        static X: AtomicU32 = AtomicU32::new(0);
        extern \"C\" fn one() { X.store(1, SeqCst) } extern \"C\" fn two() { X.store(2, SeqCst) }
        #[used] #[unsafe(link_section = \".init_array.00300\")] static A: extern \"C\" fn() = one;
        #[used] #[unsafe(link_section = \".init_array.00400\")] static B: extern \"C\" fn() = two;
        #[test] fn last() { assert_eq!(X.load(SeqCst), 2) }";
    let (old, new) = (
        workshop.build(source),
        workshop.build(&source.replace("00300", "00500")),
    );
    assert_eq!(changed(&old, &new, Locations::Exact), ["last"]);
}

#[test]
fn who_counts_constructors_depends_on_all() {
    let workshop = Workshop::new(&[]);
    let source = "unsafe extern \"C\" { static __init_array_start: u8; static __init_array_end: u8; }
        #[test] fn counts() { unsafe { assert_ne!(&raw const __init_array_start, &raw const __init_array_end) } }
        #[test] fn other() { assert_ne!(std::hint::black_box(1), 2) }";
    let (old, new) = (
        workshop.build(source),
        workshop.build(&source.replace("(1), 2", "(1), 3")),
    );
    assert_eq!(changed(&old, &new, Locations::Exact), ["counts", "other"]);
}

/// `root` needs `m1`, which needs `m3` and `m4`; each of these has a constructor, and one of them needs `m5`.
const MEMBERS: [(&str, &str); 4] = [
    (
        "m1",
        "int g(void); int h(void); int f(void) { return g() + h(); }",
    ),
    (
        "m3",
        "extern int order; __attribute__((constructor)) static void c(void) { order = order * 10 + 3; }
        int k(void); int g(void) { return 0; } int unused3(void) { return k(); }",
    ),
    (
        "m4",
        "extern int order; __attribute__((constructor)) static void c(void) { order = order * 10 + 4; }
        int k(void); int h(void) { return 0; } int unused4(void) { return 0; }",
    ),
    (
        "m5",
        "extern int order; __attribute__((constructor)) static void c(void) { order = order * 10 + 5; }
        int k(void) { return 0; }",
    ),
];

fn ordered() -> (Workshop, &'static str) {
    let mut workshop = with_c(&[(
        "root",
        "int f(void); int order; int root(void) { return f(); } int get(void) { return order; }",
    )]);
    for (name, source) in MEMBERS {
        compile(&workshop, name, source);
    }
    archive(&mut workshop, "libm.a", &["m5", "m4", "m3", "m1"]);
    let source = "unsafe extern \"C\" { fn get() -> i32; fn root() -> i32; }
        #[test] fn order() { unsafe { root(); assert_eq!(get(), 354) } }";
    (workshop, source)
}

#[test]
fn members_of_archives_come_in_the_order_in_which_lld_takes_them() {
    let (mut workshop, source) = ordered();
    let old = workshop.build(source);
    workshop.run("./demo", &[]);
    compile(&workshop, "m3", &MEMBERS[1].1.replace("return k();", "return 0;"));
    compile(
        &workshop,
        "m4",
        &MEMBERS[2]
            .1
            .replace("unused4(void) { return 0; }", "unused4(void) { return k(); }"),
    );
    archive(&mut workshop, "libm.a", &["m5", "m4", "m3", "m1"]);
    let new = workshop.build(source);
    assert_eq!(changed(&old, &new, Locations::Exact), ["order"]);
}

#[test]
fn with_another_linker_constructors_of_archives_make_the_binary_whole() {
    let (mut workshop, source) = ordered();
    workshop.flags.push("-Clinker-features=-lld".to_owned());
    let analysis = workshop.build(source);
    assert!(whole(&analysis).contains("constructors"), "{}", whole(&analysis));
}

/// `x` needs `helper`, of which the archive before has another one.
fn two_archives() -> (Workshop, &'static str) {
    let mut workshop = with_c(&[]);
    compile(
        &workshop,
        "x",
        "int helper(void); int x(void) { return helper(); }",
    );
    compile(&workshop, "help", "int helper(void) { return 10; }");
    compile(&workshop, "y", "int y(void) { return 1; }");
    compile(&workshop, "other", "int helper(void) { return 20; }");
    archive(&mut workshop, "liby.a", &["y", "other"]);
    archive(&mut workshop, "libx.a", &["x", "help"]);
    let source = "unsafe extern \"C\" { fn x() -> i32; fn y() -> i32; }
        #[test] fn of_x() { assert_ne!(unsafe { x() }, 0) } #[test] fn of_y() { assert_eq!(unsafe { y() }, 1) }";
    (workshop, source)
}

#[test]
fn a_name_in_two_archives_is_certain_with_lld_only() {
    for (flag, expected) in [
        ("-Cdebuginfo=0", None),
        ("-Clinker-features=-lld", Some("several archives")),
    ] {
        let (mut workshop, source) = two_archives();
        workshop.flags.push(flag.to_owned());
        let analysis = workshop.build(source);
        match expected {
            None => assert_eq!(analysis.summary().whole(), None),
            Some(why) => assert!(whole(&analysis).contains(why), "{}", whole(&analysis)),
        }
    }
}

#[test]
fn what_another_linker_chose_is_found_in_the_binary_too() {
    for ((mut workshop, source), what) in [(two_archives(), "helper"), (ordered(), "constructors")] {
        workshop.flags.push("-Clinker-features=-lld".to_owned());
        let mut arguments = workshop.link(source);
        // As if lld had linked it: then nothing is refused before the binary is looked at.
        arguments.push("-fuse-ld=lld".into());
        let analysis = workshop.analyse(&arguments);
        let found = whole(&analysis);
        assert!(
            found.contains(what) && !found.contains("several archives"),
            "{found}"
        );
    }
}

#[test]
fn tentative_and_versioned_definitions_make_the_binary_whole() {
    let source =
        "unsafe extern \"C\" { fn get() -> i32; } #[test] fn gets() { assert_ne!(unsafe { get() }, 7) }";
    for (files, why) in [
        (
            &[
                (
                    "a",
                    "__attribute__((weak)) int v = 5; int get(void) { return v; }",
                ),
                ("b", "int v;"),
            ][..],
            "v is defined several times",
        ),
        (
            &[
                (
                    "a",
                    "__attribute__((weak)) int v = 5; int get(void) { return v; }",
                ),
                ("b", "__attribute__((weak)) int v = 6;"),
            ],
            "v is defined several times",
        ),
        (
            &[(
                "a",
                "int get_now(void) { return 3; } __asm__(\".symver get_now, get@@V1\");",
            )],
            "versioned symbol",
        ),
    ] {
        let workshop = with_c(files);
        let analysis = workshop.build(source);
        assert!(whole(&analysis).contains(why), "{}", whole(&analysis));
    }
}

#[test]
fn a_library_of_rust_may_look_at_lines() {
    let mut workshop = Workshop::new(&[]);
    let library = "use std::panic::Location; pub fn line_of(at: &Location) -> u32 { at.line() }";
    fs::write(workshop.path().join("lines.rs"), library).expect("written");
    let flags = [
        "--crate-type=dylib",
        "-Cprefer-dynamic",
        "--edition=2024",
        "lines.rs",
    ];
    workshop.run("rustc", &flags);
    workshop.flags = ["--extern=lines", "-L.", "-Cprefer-dynamic"]
        .map(str::to_owned)
        .to_vec();
    let source = "#[test] fn looks() { assert_ne!(lines::line_of(std::panic::Location::caller()), 9) }";
    let (old, new) = (workshop.build(source), workshop.build(&format!("\n{source}")));
    assert_eq!(changed(&old, &new, Locations::IgnoreUnlessObserved), ["looks"]);
}
