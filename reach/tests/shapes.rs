//! Links that cannot be taken apart: the binary counts whole, the build never fails, nothing panics.

mod build;
mod keys;

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use build::Workshop;
use keys::changed;
use object::write::{Object, Relocation, Symbol, SymbolId, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, elf};
use object::{SymbolFlags, SymbolKind, SymbolScope};
use thresh_core::digest::Digest;
use thresh_reach::{Analysis, LoadError, Locations, Summary};

const SOURCE: &str =
    "fn f(x: u32) -> u32 { x + 1 } #[test] fn one() { assert_eq!(f(1), 2); } #[test] fn two() {}";

/// The crate's objects.
fn objects(workshop: &Workshop) -> Vec<PathBuf> {
    let entries = fs::read_dir(workshop.path()).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut objects: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(".rcgu.o"))
        .collect();
    objects.sort();
    objects
}

/// The last of the crate's objects.
fn object(workshop: &Workshop) -> PathBuf {
    objects(workshop).pop().expect("there is an object")
}

fn reason(workshop: &Workshop, arguments: &[OsString]) -> String {
    let analysis = workshop.analyse(arguments);
    assert_eq!(analysis.summary().keys(Locations::Exact).count(), 0);
    assert_eq!(analysis.summary().program(Locations::Exact), None);
    analysis.summary().whole().expect("it counts whole").to_owned()
}

#[test]
fn a_truncated_object_makes_the_binary_whole() {
    let workshop = Workshop::new(&[]);
    let arguments = workshop.link(SOURCE);
    let object = object(&workshop);
    let content = fs::read(&object).expect("an object");
    for length in (0..content.len()).step_by(content.len() / 97) {
        fs::write(&object, &content[..length]).expect("written");
        reason(&workshop, &arguments);
    }
}

#[test]
fn no_damage_makes_the_analysis_panic() {
    let workshop = Workshop::new(&[]);
    let arguments = workshop.link(SOURCE);
    let object = object(&workshop);
    let content = fs::read(&object).expect("an object");
    for step in 0..120usize {
        let mut damaged = content.clone();
        let at = step * 7919 % damaged.len();
        damaged[at] = damaged[at].wrapping_add((step % 255) as u8 + 1);
        fs::write(&object, &damaged).expect("written");
        workshop.analyse(&arguments);
    }
}

#[test]
fn bitcode_makes_the_binary_whole() {
    let workshop = Workshop::new(&[]);
    let arguments = workshop.link(SOURCE);
    fs::write(object(&workshop), b"BC\xc0\xde and so on").expect("written");
    assert!(reason(&workshop, &arguments).contains("bitcode"));
}

#[test]
fn debug_information_apart_or_gone_changes_no_key() {
    let keys = |flags: &[&str]| {
        let analysis = Workshop::new(flags).build(SOURCE);
        assert_eq!(analysis.summary().whole(), None, "{flags:?}");
        let keys = analysis.summary().keys(Locations::Exact);
        keys.map(|case| case.key).collect::<Vec<_>>()
    };
    let plain = keys(&["-Cdebuginfo=2"]);
    assert_eq!(plain.len(), 2);
    assert_eq!(keys(&["-Cdebuginfo=2", "-Csplit-debuginfo=unpacked"]), plain);
    assert_eq!(keys(&["-Cdebuginfo=2", "-Csplit-debuginfo=packed"]), plain);
    for strip in ["-Cstrip=debuginfo", "-Cstrip=symbols"] {
        assert_eq!(keys(&["-Cdebuginfo=2", strip]).len(), 2, "{strip}");
    }
}

#[test]
fn debug_information_is_passed_over() {
    const SHORT: u64 = 64 << 10;
    let variables = (0..2000).map(|n| format!("let a_variable_with_the_number_{n} = x;\n"));
    let variables = variables.collect::<String>();
    let source = format!("#[test] fn one() {{ let x = std::hint::black_box(1u8); {variables} }}");
    let workshop = Workshop::new(&["-Ccodegen-units=1", "-Cdebuginfo=2"]);
    let arguments = workshop.link(&source);
    let keys = || {
        let analysis = workshop.analyse(&arguments);
        assert_eq!(analysis.summary().whole(), None);
        let lengths = objects(&workshop)
            .into_iter()
            .map(|path| fs::metadata(path).expect("an object").len());
        (first_key(&analysis), lengths.max().expect("an object"))
    };
    let (key, length) = keys();
    for object in objects(&workshop) {
        let stripped = Command::new("strip").arg("--strip-debug").arg(object).status();
        assert!(stripped.is_ok_and(|status| status.success()));
    }
    let (plain, shorter) = keys();
    assert!(length > SHORT && shorter < SHORT, "{length} {shorter}");
    assert_eq!(key, plain);
}

#[test]
fn another_machine_makes_the_binary_whole() {
    let workshop = Workshop::new(&[]);
    let arguments = workshop.link(SOURCE);
    let object = object(&workshop);
    let mut content = fs::read(&object).expect("an object");
    content[18] = 0xf3;
    fs::write(&object, content).expect("written");
    assert!(reason(&workshop, &arguments).contains("no ELF object"));
}

#[test]
fn a_linker_script_makes_the_binary_whole() {
    let workshop = Workshop::new(&[]);
    let mut arguments = workshop.link(SOURCE);
    arguments.push(OsString::from("-Tx.ld"));
    assert!(reason(&workshop, &arguments).contains("-Tx.ld"));
}

/// Checks that a change is in the key of a case that reaches it, or that no case has a key.
fn check_link_time(flag: &str) {
    let source = SOURCE.replace("f(1)", "f(std::hint::black_box(1))");
    let workshop = Workshop::new(&["-Copt-level=1", flag]);
    let (old, new) = (
        workshop.build(&source),
        workshop.build(&source.replace("x + 1", "x + 2")),
    );
    let counts = [&old, &new].map(|analysis| analysis.summary().keys(Locations::Exact).count());
    let differ = changed(&old, &new, Locations::Exact);
    match counts {
        [2, 2] => assert!(differ.contains(&"one".to_owned()), "{differ:?}"),
        // What starts the harness may have become a part of `main`: then there are no keys of cases, never wrong ones.
        [0, 0] => assert_ne!(program(&old), program(&new)),
        _ => assert!(counts.iter().all(|count| [0, 2].contains(count)), "{counts:?}"),
    }
}

#[test]
fn optimisation_at_link_time_hides_cases_or_tells_them_apart() {
    check_link_time("-Clto=fat");
}

#[test]
fn optimisation_at_link_time_by_parts_hides_cases_or_tells_them_apart() {
    check_link_time("-Clto=thin");
}

fn program(analysis: &Analysis) -> Option<Digest> {
    analysis.summary().program(Locations::Exact)
}

#[test]
fn a_program_without_harness_has_one_key() {
    let workshop = Workshop::new(&["--cfg", "own"]);
    let arguments = workshop.link("fn main() {}");
    // `--test` gives a harness without cases.
    let analysis = workshop.analyse(&arguments);
    assert_eq!(
        (
            analysis.summary().whole(),
            analysis.summary().keys(Locations::Exact).count()
        ),
        (None, 0)
    );
}

#[test]
fn an_analysis_is_that_of_what_is_loaded() {
    let workshop = Workshop::new(&[]);
    let arguments = workshop.link(SOURCE);
    let kept = thresh_reach::analyse(&arguments, &workshop.graphs()).expect("it can be written");
    let binary = workshop.path().join("demo");
    let path = |digest: &[u8], is_same| {
        Analysis::path(&workshop.graphs(), &binary, &Digest::of(digest), |_| is_same)
    };
    assert_eq!(path(b"one", true), kept);
    assert_eq!(path(b"one", false), None, "it is no longer what was hashed");
    let mut content = fs::read(&binary).expect("a binary");
    content.extend(b"more that is not loaded");
    fs::write(&binary, &content).expect("written");
    assert_eq!(path(b"other", true), kept);
    let loaded = content
        .windows(4)
        .position(|bytes| bytes == b"main")
        .expect("a name");
    content[loaded] ^= 1;
    fs::write(&binary, &content).expect("written");
    assert_ne!(path(b"third", true), kept);
}

#[test]
fn the_same_binary_is_analysed_once() {
    let workshop = Workshop::new(&[]);
    let arguments = workshop.link(SOURCE);
    let took = |arguments: &[OsString]| workshop.analyse_again(arguments).summary().took();
    let first = workshop.analyse(&arguments).summary().took();
    let object = object(&workshop);
    let content = fs::read(&object).expect("an object");
    fs::write(&object, "no object").expect("written");
    assert_eq!(took(&arguments), first, "objects are not looked at again");
    let mut others = arguments.clone();
    others.push("-Wl,--build-id=none".into());
    let is_whole = || workshop.analyse_again(&others).summary().whole().is_some();
    assert!(is_whole(), "linked in another way");
    fs::write(&object, content).expect("written");
    assert!(!is_whole(), "an analysis that failed says nothing of the next");
}

/// Makes `libother.so` in the folder of a workshop.
fn make_library(workshop: &Workshop, number: u32) {
    let source = format!("int other(void) {{ return {number}; }}");
    fs::write(workshop.path().join("other.c"), source).expect("written");
    workshop.run("cc", &["-shared", "-fPIC", "-o", "libother.so", "other.c"]);
}

fn first_key(analysis: &Analysis) -> Option<Digest> {
    let mut keys = analysis.summary().keys(Locations::Exact);
    keys.next().map(|case| case.key)
}

#[test]
fn the_content_of_a_dynamic_library_is_looked_at_each_time() {
    let workshop = Workshop::new(&["-L.", "-ldylib=other"]);
    make_library(&workshop, 1);
    let arguments = workshop.link(SOURCE);
    let old = first_key(&workshop.analyse(&arguments));
    make_library(&workshop, 2);
    let new = first_key(&workshop.analyse_again(&arguments));
    assert!(old.is_some() && old != new);
}

#[test]
fn a_library_that_can_be_looked_at_now_is() {
    let workshop = Workshop::new(&["-L.", "-ldylib=other"]);
    make_library(&workshop, 1);
    let uses = r#"unsafe extern "C" { fn other() -> i32; } #[test] fn uses() { unsafe { other() }; }"#;
    let with_folder = workshop.link(uses);
    // As one is found by `LIBRARY_PATH`, or in a folder of the system.
    let folder = workshop.path().join(".").into_os_string();
    let at = with_folder
        .iter()
        .position(|word| *word == folder)
        .expect("it is named");
    assert_eq!(with_folder[at - 1], "-L");
    let without = [&with_folder[..at - 1], &with_folder[at + 1..]].concat();
    let by_name = first_key(&workshop.analyse(&without));
    let by_content = first_key(&workshop.analyse_again(&with_folder));
    assert!(by_name.is_some() && by_name != by_content);
}

#[test]
fn what_is_exported_by_a_long_name_is_for_all() {
    let workshop = Workshop::new(&["-Clink-arg=-rdynamic"]);
    let source = |number: u32| {
        let name = "long".repeat(2_000);
        format!("#[unsafe(export_name = \"{name}\")] pub extern \"C\" fn f() -> u32 {{ {number} }}\n{SOURCE}")
            .replace("fn f(x", "fn g(x")
            .replace("f(1)", "g(1)")
    };
    let old = first_key(&workshop.build(&source(1)));
    let new = first_key(&workshop.build(&source(2)));
    assert!(old.is_some() && old != new);
}

#[test]
fn a_kept_analysis_of_another_version_is_none() {
    let workshop = Workshop::new(&[]);
    let path = workshop.path().join("x.reach");
    assert!(matches!(Analysis::load(&path), Err(LoadError::Read { .. })));
    fs::write(&path, "thresh reach 999\n").expect("written");
    assert!(matches!(Analysis::load(&path), Err(LoadError::Version(_))));
    let arguments = workshop.link(SOURCE);
    let kept = thresh_reach::analyse(&arguments, &workshop.graphs())
        .expect("written")
        .expect("an executable");
    let mut content = fs::read(&kept).expect("it is there");
    fs::write(&path, &content).expect("written");
    let keys = Summary::load(&path).expect("the keys alone can be read");
    assert!(keys.keys(Locations::Exact).count() > 0);
    for at in (0..content.len()).step_by(content.len() / 97) {
        let mut damaged = content.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).expect("written");
        let loaded = Analysis::load(&path);
        assert!(
            matches!(loaded, Err(LoadError::Damaged(_) | LoadError::Version(_))),
            "a bit of byte {at}"
        );
    }
    content.truncate(content.len() / 2);
    fs::write(&path, &content).expect("written");
    assert!(matches!(Analysis::load(&path), Err(LoadError::Damaged(_))));
    content.truncate(20);
    fs::write(&path, &content).expect("written");
    assert!(matches!(Summary::load(&path), Err(LoadError::Damaged(_))));
}

#[test]
fn by_hand_the_wrapper_says_what_is_missing() {
    assert_eq!(thresh_reach::link(&[], |_| None), 96);
    let set = |name: &str| {
        Some(OsString::from(if name == thresh_reach::LINKER_VARIABLE {
            "false"
        } else {
            "."
        }))
    };
    assert_eq!(thresh_reach::link(&[], set), 1);
    let gone = |name: &str| {
        Some(OsString::from(if name == thresh_reach::LINKER_VARIABLE {
            "./none"
        } else {
            "."
        }))
    };
    assert_eq!(thresh_reach::link(&[], gone), 127);
}

/// With its relocations each function has two sections.
const MANY: usize = 499_900;

/// `jmp` to an address that a relocation fills in.
const JUMP: [u8; 5] = [0xe9, 0, 0, 0, 0];

fn add(object: &mut Object<'_>, name: &str, section: SymbolSection, scope: SymbolScope) -> SymbolId {
    object.add_symbol(Symbol {
        name: name.into(),
        value: 0,
        size: 0,
        kind: SymbolKind::Text,
        scope,
        weak: false,
        section,
        flags: SymbolFlags::None,
    })
}

/// An object of functions that jump to one another in turn, each in a section of its own, the first by the name of `deep`. The
/// last consists of these bytes.
fn chain(functions: usize, last: &[u8]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let sections: Vec<_> = (0..functions)
        .map(|number| {
            let name = format!(".text.f{number}").into_bytes();
            object.add_section(Vec::new(), name, SectionKind::Text)
        })
        .collect();
    let symbols: Vec<_> = sections
        .iter()
        .enumerate()
        .map(|(number, section)| {
            let section = SymbolSection::Section(*section);
            match number {
                0 => add(&mut object, "deep", section, SymbolScope::Linkage),
                _ => add(
                    &mut object,
                    &format!("f{number}"),
                    section,
                    SymbolScope::Compilation,
                ),
            }
        })
        .collect();
    for (section, next) in sections.iter().zip(&symbols[1..]) {
        object.append_section_data(*section, &JUMP, 1);
        let relocation = Relocation {
            offset: 1,
            symbol: *next,
            addend: -4,
            flags: RelocationFlags::Elf {
                r_type: elf::R_X86_64_PC32,
            },
        };
        object.add_relocation(*section, relocation).expect("it fits");
    }
    let end = sections.last().expect("there are some");
    object.append_section_data(*end, last, 1);
    object.write().expect("it can be written")
}

#[test]
fn each_of_a_million_sections_counts() {
    let mut workshop = Workshop::new(&[]);
    let file = workshop.path().join("chain.o");
    workshop.flags = vec![format!("-Clink-arg={}", file.display())];
    let source =
        format!("unsafe extern \"C\" {{ fn deep(); }} #[test] fn far() {{ unsafe {{ deep() }} }} {SOURCE}");
    let (end, other) = (b"the end of it", b"another end..");
    let mut content = chain(MANY, end);
    let keys_with = |content: &[u8]| {
        fs::write(&file, content).expect("written");
        workshop.build(&source)
    };
    let old = keys_with(&content);
    let at = memchr::memmem::find(&content, end).expect("it is there");
    content[at..at + end.len()].copy_from_slice(other);
    assert_eq!(changed(&old, &keys_with(&content), Locations::Exact), ["far"]);
}
