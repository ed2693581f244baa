//! One change in a crate, and the cases whose keys it must change: no fewer, and here no more.

mod build;
mod keys;

use std::fs;
use std::process::Command;

use build::Workshop;
use keys::changed;
use thresh_reach::{Analysis, Locations, explain};

/// Checks that no key changed, and else says what did.
fn check_same(old: &Analysis, new: &Analysis, locations: Locations) {
    if let Some(case) = changed(old, new, locations).first() {
        panic!("{case}: {:#?}", explain(old, new, case, locations));
    }
}

/// What most changes are made to.
const SOURCE: &str = r#"
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
fn two() -> u32 { std::hint::black_box(2) }
fn plain(x: u32) -> u32 { x ^ 1 }
const NUMBER: u32 = 77;
static TEXT: &str = "text of a static";
static FIRST: AtomicU32 = AtomicU32::new(0);
static SECOND: AtomicU32 = AtomicU32::new(0);
thread_local! { static OWN: Cell<u32> = const { Cell::new(5) }; }
trait Speak { fn speak(&self) -> u32; }
struct Cat; impl Speak for Cat { fn speak(&self) -> u32 { 11 } }
struct Dog; impl Speak for Dog { fn speak(&self) -> u32 { 22 } }
fn generic<T: Into<u64>>(x: T) -> u64 { x.into() ^ 3 }
#[inline(always)] fn inlined(x: u32) -> u32 { x ^ 4 }
const fn constant(x: u32) -> u32 { x ^ 5 }
macro_rules! made { ($x:expr) => { $x ^ 6 } }
#[test] fn calls() { assert_ne!(plain(two()), 0); }
#[test] fn counts() { assert_ne!(NUMBER, std::hint::black_box(1)); }
#[test] fn reads() { assert_ne!(std::hint::black_box(TEXT), "x"); }
#[test] fn adds() { FIRST.fetch_add(1, SeqCst); assert_eq!(SECOND.load(SeqCst), 0); }
#[test] fn keeps() { OWN.with(|own| assert_ne!(own.get(), two())); }
#[test] fn speaks() { let all: [&dyn Speak; 1] = [&Cat]; assert_ne!(std::hint::black_box(all)[0].speak(), 0); }
#[test] fn barks() { let all: [&dyn Speak; 1] = [&Dog]; assert_ne!(std::hint::black_box(all)[0].speak(), 0); }
#[test] fn generalises() { assert_ne!(generic(two()), 0); }
#[test] fn inlines() { assert_ne!(inlined(two()), 0); }
#[test] fn evaluates() { const AT: u32 = constant(2); assert_ne!(AT, std::hint::black_box(0)); }
#[test] fn expands() { assert_ne!(made!(two()), 0); }
#[test] #[should_panic(expected = "so it does")] fn panics() { panic!("so it does"); }
#[test] #[ignore = "for now"] fn waits() {}
"#;

/// How cargo builds tests.
const CARGO: &[&str] = &["-Cincremental=kept"];

/// Code calls into its own object and into others by different instructions, so what moves functions between objects
/// changes their callers: no reuse is lost by that here.
const ONE_OBJECT: &[&str] = &["-Ccodegen-units=1"];

/// A change, and the cases that it is for.
const CHANGES: &[(&str, &str, &[&str])] = &[
    ("x ^ 1", "x ^ 9", &["calls"]),
    ("NUMBER: u32 = 77", "NUMBER: u32 = 78", &["counts"]),
    ("text of a static", "text of a sultan", &["reads"]),
    ("FIRST.fetch_add", "SECOND.fetch_add", &["adds"]),
    ("Cell::new(5)", "Cell::new(6)", &["keeps"]),
    ("{ 11 }", "{ 12 }", &["speaks"]),
    ("{ 22 }", "{ 23 }", &["barks"]),
    ("x.into() ^ 3", "x.into() ^ 9", &["generalises"]),
    ("x ^ 4", "x ^ 9", &["inlines"]),
    ("x ^ 5", "x ^ 9", &["evaluates"]),
    ("$x ^ 6", "$x ^ 9", &["expands"]),
    (
        "expected = \"so it does\"",
        "expected = \"so it dies\"",
        &["panics"],
    ),
    (
        "#[should_panic(expected = \"so it does\")]",
        "#[should_panic]",
        &["panics"],
    ),
    ("#[ignore = \"for now\"]", "", &["waits"]),
];

fn check(flags: &[&str], locations: Locations) {
    let workshop = Workshop::new(flags);
    let old = workshop.build(SOURCE);
    for (before, after, cases) in CHANGES {
        assert!(SOURCE.contains(before), "{before}");
        let new = workshop.build(&SOURCE.replacen(before, after, 1));
        assert_eq!(changed(&old, &new, locations), *cases, "{before} became {after}");
        for case in *cases {
            assert!(explain(&old, &new, case, locations).is_some(), "{case}");
        }
    }
}

#[test]
fn a_change_is_for_who_reaches_it() {
    check(CARGO, Locations::IgnoreUnlessObserved);
}

#[test]
fn a_change_is_for_who_reaches_it_v0_names() {
    check(
        &["-Cincremental=kept", "-Csymbol-mangling-version=v0"],
        Locations::IgnoreUnlessObserved,
    );
}

/// What linkers leave in a binary.
const LLD: &str = "Linker: LLD ";
const MOLD: &str = "(compatible with GNU ld)";

/// With this rustc chooses no linker.
const LEFT_TO_CC: &[&str] = match cfg!(target_arch = "x86_64") {
    true => &["-Clinker-features=-lld"],
    false => &[],
};

/// Which of the linkers that leave their name has made a crate's tests.
fn linked_by(flags: &[&str]) -> Option<&'static str> {
    let workshop = Workshop::new(flags);
    workshop.link(SOURCE);
    let binary = fs::read(workshop.path().join("demo")).expect("the tests");
    let has = |name: &&str| {
        let name = name.as_bytes();
        binary.windows(name.len()).any(|window| window == name)
    };
    [LLD, MOLD].into_iter().find(has)
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_is_not_said_otherwise_is_linked_by_lld() {
    assert_eq!(linked_by(CARGO), Some(LLD), "there is no test of it");
}

#[test]
fn a_change_is_for_who_reaches_it_linked_by_gnu_ld() {
    let flags = [CARGO, LEFT_TO_CC, &["-Clink-arg=-fuse-ld=bfd"]].concat();
    assert_eq!(linked_by(&flags), None);
    check(&flags, Locations::IgnoreUnlessObserved);
}

#[test]
fn a_change_is_for_who_reaches_it_linked_by_mold() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/mold");
    let said = Command::new(script).output().expect("the script can be started");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let folder = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let found = format!("-Clink-arg=-B{folder}");
    let flags = [CARGO, LEFT_TO_CC, &[&found, "-Clink-arg=-fuse-ld=mold"]].concat();
    assert_eq!(linked_by(&flags), Some(MOLD));
    check(&flags, Locations::IgnoreUnlessObserved);
}

#[test]
fn a_change_is_for_who_reaches_it_optimised() {
    // Of two statics that only start alike, optimised code may know which is meant.
    check(&["-Copt-level=2"], Locations::Exact);
}

#[test]
fn cases_do_not_count_for_one_another() {
    let workshop = Workshop::new(ONE_OBJECT);
    let old = workshop.build(SOURCE);
    let more = format!("{SOURCE}\n#[test] fn another() {{ assert!(plain(two()) > 1); }}\n");
    check_same(&old, &workshop.build(&more), Locations::Exact);
    let fewer = SOURCE.replace("#[test] fn calls() { assert_ne!(plain(two()), 0); }", "");
    check_same(&old, &workshop.build(&fewer), Locations::IgnoreUnlessObserved);
}

#[test]
fn names_of_functions_do_not_count() {
    let workshop = Workshop::new(ONE_OBJECT);
    let old = workshop.build(SOURCE);
    let new = workshop.build(&SOURCE.replace("plain", "paint").replace("generic", "general"));
    check_same(&old, &new, Locations::Exact);
}

#[test]
fn another_line_counts_only_exactly() {
    let workshop = Workshop::new(&[]);
    let observed =
        "#[test] fn observes() { let at = std::panic::Location::caller(); assert!(at.line() > 0); }";
    let source = format!("{SOURCE}\n{observed}\n");
    let (old, new) = (
        workshop.build(&source),
        workshop.build(&format!("// a comment\n{source}")),
    );
    assert_eq!(changed(&old, &new, Locations::IgnoreUnlessObserved), ["observes"]);
    let exact = changed(&old, &new, Locations::Exact);
    assert!(
        exact.len() > 5 && exact.contains(&"calls".to_owned()),
        "{exact:?}"
    );
}

#[test]
fn what_only_looks_like_a_location_counts() {
    // As it is written by hand for C, and by tables of files.
    let source = "
        #[repr(C)] pub struct Place { file: *const u8, length: usize, line: u32, column: u32 }
        unsafe impl Sync for Place {}
        macro_rules! here { () => { const { &Place { file: concat!(file!(), \"\\0\").as_ptr(), length: file!().len(), line: line!(), column: column!() } } } }
        #[inline(never)] fn line_of(place: &Place) -> u32 { place.line }
        #[test] fn by_hand() { assert_ne!(line_of(here!()), 0) }
        #[test] fn through_an_option() { assert_ne!(std::hint::black_box(Some(here!()).unwrap()).column, 0) }
        #[test] fn through_a_list() { let mut all = Vec::new(); all.push(here!()); assert_ne!(all[0].line, 0) }
        trait Ext { fn expect(self, at: &Place) -> u32; }
        impl Ext for Option<u8> { #[inline(never)] fn expect(self, at: &Place) -> u32 { at.line } }
        #[test] fn through_a_trait() { assert_ne!(Ext::expect(Some(1), here!()), 0) }
        #[test] fn other() { assert_ne!(std::hint::black_box(1), 2) }";
    let workshop = Workshop::new(CARGO);
    let old = workshop.build(source);
    let new = workshop.build(&format!("\n{source}"));
    assert_eq!(
        changed(&old, &new, Locations::IgnoreUnlessObserved),
        [
            "by_hand",
            "through_a_list",
            "through_a_trait",
            "through_an_option"
        ]
    );
}

#[test]
fn who_sees_lines_is_known() {
    let seers = [
        "fn f() { let hook = |info: &std::panic::PanicHookInfo<'_>| { if info.location().unwrap().line() == 1 { std::process::exit(0) } }; std::panic::set_hook(Box::new(hook)); panic!(); }",
        "fn f() { std::panic::set_hook(Box::new(|info| { if info.to_string().len() == 1 { std::process::exit(0) } })); panic!(); }",
        "fn f() { let at = std::panic::Location::caller(); assert!(format!(\"{at:?}\").len() > 1); }",
        "#[track_caller] fn at() -> u32 { let [at] = [std::panic::Location::caller()].map(|at| at.column()); at } fn f() { at(); }",
        "fn f() { let at = std::panic::Location::caller(); assert!(at == at); }",
    ];
    let workshop = Workshop::new(&[]);
    for seer in seers {
        let source = |lines: &str| {
            format!("{lines}{seer}\n#[test] fn sees() {{ f() }}\n#[test] fn blind() {{ panic!() }}")
        };
        let (old, new) = (workshop.build(&source("")), workshop.build(&source("\n")));
        assert_eq!(
            changed(&old, &new, Locations::IgnoreUnlessObserved),
            ["sees"],
            "{seer}"
        );
    }
}

#[test]
fn what_runs_at_the_start_is_for_all() {
    let workshop = Workshop::new(&[]);
    let source = "
        static mut SEEN: u32 = 0;
        extern \"C\" fn start() { unsafe { SEEN = 1; DO } }
        #[used] #[unsafe(link_section = \"WHERE\")] static START: extern \"C\" fn() = start;
        #[test] fn one() {} #[test] fn two() { assert!(true) }";
    let changed_at = |section: &str, more: &str| {
        let source = source.replace("WHERE", section).replace("DO", more);
        let new = source.replace("SEEN = 1", "SEEN = 2");
        changed(&workshop.build(&source), &workshop.build(&new), Locations::Exact)
    };
    assert_eq!(changed_at(".init_array", "println!()"), ["one", "two"]);
    assert_eq!(changed_at(".fini_array", ""), ["one", "two"]);
    // No case reads what it writes, and it does nothing else.
    assert_eq!(changed_at(".init_array", ""), [""; 0]);
}

#[test]
fn a_list_of_a_section_is_for_who_reads_it() {
    let workshop = Workshop::new(&[]);
    let source = "
        unsafe extern \"C\" { #[link_name = \"__start_registry\"] static START: [u32; 2]; }
        #[used] #[unsafe(link_section = \"registry\")] static A: u32 = 1;
        #[used] #[unsafe(link_section = \"registry\")] static B: u32 = 2;
        #[test] fn lists() { assert_ne!(unsafe { START[0] }, 9) } #[test] fn other() { assert!(true) }";
    let (old, new) = (
        workshop.build(source),
        workshop.build(&source.replace("B: u32 = 2", "B: u32 = 3")),
    );
    assert_eq!(changed(&old, &new, Locations::Exact), ["lists"]);
}

#[test]
fn constants_in_a_circle_have_a_hash() {
    let workshop = Workshop::new(&[]);
    let source = "
        struct Ring { next: &'static Ring, number: u32 }
        static ONE: Ring = Ring { next: &TWO, number: 1 };
        static TWO: Ring = Ring { next: &ONE, number: 2 };
        #[test] fn walks() { assert_ne!(ONE.next.next.next.number, 0) } #[test] fn other() { assert!(true) }";
    let old = workshop.build(source);
    let new = workshop.build(&source.replace("number: 2", "number: 3"));
    assert_eq!(changed(&old, &new, Locations::Exact), ["walks"]);
    let difference = explain(&old, &new, "walks", Locations::Exact).expect("it differs");
    assert_eq!(difference.changed, ["demo::TWO"]);
    assert!(
        difference.path.contains(&"demo::walks".to_owned()),
        "{:?}",
        difference.path
    );
}

#[test]
fn two_symbols_of_one_name_are_two() {
    let workshop = Workshop::new(&[]);
    let source = "
        mod a { pub fn of() -> u32 { fn same() -> u32 { 1 } same() } }
        mod b { pub fn of() -> u32 { fn same() -> u32 { 2 } same() } }
        #[test] fn left() { assert_ne!(a::of(), 0) } #[test] fn right() { assert_ne!(b::of(), 0) }";
    let (old, new) = (
        workshop.build(source),
        workshop.build(&source.replace("{ 2 }", "{ 3 }")),
    );
    assert_eq!(changed(&old, &new, Locations::Exact), ["right"]);
}

#[test]
fn c_code_counts_by_its_sections() {
    for (flags, other) in [
        (&["-ffunction-sections", "-fdata-sections"][..], false),
        (&[], true),
    ] {
        let mut workshop = Workshop::new(&[]);
        let link = workshop.path().display().to_string();
        workshop.flags = ["-L", &link, "-lstatic=code"].map(str::to_owned).to_vec();
        let source = "unsafe extern \"C\" { fn f() -> i32; fn g() -> i32; }
            #[test] fn calls() { assert_ne!(unsafe { f() }, 9) } #[test] fn other() { assert_ne!(unsafe { g() }, 9) }
            #[test] fn neither() { assert!(true) }";
        let build = |code: &str| {
            fs::write(workshop.path().join("code.c"), code).expect("written");
            workshop.run("cc", &[&["-c", "code.c", "-o", "code.o"], flags].concat());
            workshop.run("ar", &["rcs", "libcode.a", "code.o"]);
            workshop.build(source)
        };
        let code = "static int n, m; int f(void) { return n++ + 1; } int g(void) { return m + 2; }";
        let old = build(code);
        let expected: &[&str] = if other { &["calls", "other"] } else { &["calls"] };
        assert_eq!(
            changed(&old, &build(&code.replace("+ 1", "+ 3")), Locations::Exact),
            expected
        );
        // The same bytes, but another variable.
        assert_eq!(
            changed(&old, &build(&code.replace("n++", "m++")), Locations::Exact),
            expected
        );
    }
}

#[test]
fn c_code_within_an_rlib_counts_for_who_reaches_it() {
    let workshop = Workshop::new(&["--extern=bundle=libbundle.rlib"]);
    let library = "unsafe extern \"C\" { pub fn f() -> i32; pub fn g() -> i32; }";
    fs::write(workshop.path().join("bundle.rs"), library).expect("written");
    let build = |code: &str| {
        fs::write(workshop.path().join("code.c"), code).expect("written");
        workshop.run(
            "cc",
            &["-c", "-fPIC", "-ffunction-sections", "code.c", "-o", "code.o"],
        );
        workshop.run("ar", &["rcs", "libcode.a", "code.o"]);
        let kind = "--crate-type=rlib";
        workshop.run(
            "rustc",
            &[kind, "--edition=2024", "-L.", "-lstatic=code", "bundle.rs"],
        );
        // Whatever is found of it is in the rlib.
        fs::remove_file(workshop.path().join("libcode.a")).expect("removed");
        fs::remove_file(workshop.path().join("code.o")).expect("removed");
        workshop.build(
            "#[test] fn calls_f() { assert_ne!(unsafe { bundle::f() }, 9) }
            #[test] fn calls_g() { assert_ne!(unsafe { bundle::g() }, 9) } #[test] fn neither() { assert!(true) }",
        )
    };
    let code = "static int n = 3; int f(void) { return n++; } int g(void) { return 2; }";
    let old = build(code);
    for (before, after, case) in [("n = 3", "n = 4", "calls_f"), ("return 2", "return 5", "calls_g")] {
        let new = build(&code.replace(before, after));
        assert_eq!(
            changed(&old, &new, Locations::Exact),
            [case],
            "{before} became {after}"
        );
    }
}

#[test]
fn another_version_of_a_crate_changes_no_key() {
    let library = "
        pub static NUMBER: u32 = 7;
        pub static mut WRITTEN: u32 = 0;
        thread_local! { pub static OWN: std::cell::Cell<u32> = const { std::cell::Cell::new(5) }; }
        pub trait Speak { fn speak(&self) -> u32; }
        pub struct Cat; impl Speak for Cat { fn speak(&self) -> u32 { 11 } }
        #[inline(never)] pub fn generic<T: Into<u64>>(x: T) -> u64 { x.into() ^ 3 }
        #[inline(never)] pub fn add() -> u32 { unsafe { WRITTEN += 1; WRITTEN } }
        pub fn number() -> &'static u32 { std::hint::black_box(&NUMBER) }";
    let tests = "mod of_dep {
        #[test] fn calls() { assert_ne!(dep::add() + unsafe { dep::WRITTEN }, 9) }
        #[test] fn reads() { assert!(std::ptr::eq(dep::number(), &dep::NUMBER)) }
        #[test] fn keeps() { dep::OWN.with(|own| assert_eq!(own.get(), 5)) }
        #[test] fn speaks() { let it: &dyn dep::Speak = &dep::Cat; assert_eq!(std::hint::black_box(it).speak(), 11) }
        #[test] fn generalises() { assert_ne!(dep::generic(std::hint::black_box(2u32)), 0) }
    }";
    for mangling in [&[][..], &["-Csymbol-mangling-version=v0"]] {
        let build = |version: &str| {
            let version = format!("-Cmetadata={version}");
            let flags = [ONE_OBJECT, &[&version], mangling].concat();
            let workshop = Workshop::new(&[&flags[..], &["--extern=dep=libdep.rlib"]].concat());
            fs::write(workshop.path().join("dep.rs"), library).expect("written");
            let fixed = ["--crate-type=rlib", "--edition=2024", "-Awarnings", "dep.rs"];
            workshop.run("rustc", &[&flags[..], &fixed].concat());
            workshop.build(&format!("{SOURCE}{tests}"))
        };
        let (old, new) = (build("1.0.0"), build("1.0.1"));
        assert_eq!(keys::keys(&old, Locations::Exact).len(), 18, "{mangling:?}");
        check_same(&old, &new, Locations::Exact);
    }
}
