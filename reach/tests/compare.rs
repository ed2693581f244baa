//! The binary is compared with the graph: what linkers write is understood, and what is not there is noticed.

mod build;
mod keys;

use std::fs;

use build::Workshop;
use keys::changed;
use object::{Object, ObjectSection};
use thresh_reach::Locations;

/// Flags of linkers, and of what they make: as rustc has it, GNU ld, mold, at a fixed address.
fn links() -> Vec<Vec<String>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/mold");
    let found = std::process::Command::new(script).output().expect("scripts/mold");
    assert!(
        found.status.success(),
        "{}",
        String::from_utf8_lossy(&found.stderr)
    );
    let folder = String::from_utf8(found.stdout).expect("a path");
    let mold = format!("-Clink-arg=-B{}", folder.trim());
    let links: [&[&str]; 5] = [
        &[],
        &["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"],
        &["-Clinker-features=-lld", &mold, "-Clink-arg=-fuse-ld=mold"],
        &["-Crelocation-model=static"],
        &[
            "-Crelocation-model=static",
            "-Clinker-features=-lld",
            "-Clink-arg=-fuse-ld=bfd",
        ],
    ];
    links
        .map(|flags| flags.iter().map(|flag| (*flag).to_owned()).collect())
        .into()
}

const C: &str = "
    #define MODEL(name) __attribute__((tls_model(name)))
    #define FAST __attribute__((optimize(\"O2\"), noinline))
    __thread int general MODEL(\"global-dynamic\") = 1;
    static __thread int local MODEL(\"local-dynamic\") = 2;
    static __thread int second MODEL(\"local-dynamic\");
    __thread int initial MODEL(\"initial-exec\") = 3;
    __attribute__((noplt)) int apart(void);
    FAST int tail(void) { return apart(); }
    FAST int called(void) { return apart() + 1; }
    FAST int by_address(int (**f)(void)) { *f = apart; return 0; }
    int threads(void) { general++; local++; second++; initial++; return general + local + second + initial; }
    int all(void) { int (*f)(void); by_address(&f); return threads() + tail() + called() + f(); }
";

const SOURCE: &str = "unsafe extern \"C\" { fn all() -> i32; }
    #[test] fn uses() { assert_eq!(unsafe { all() }, 10 + 3 * 5 + 1) }
    #[test] fn other() { assert_eq!(std::hint::black_box(2), 2) }";

/// What `C` refers to.
fn apart(value: u32) -> String {
    format!("int apart(void) {{ return {value}; }}")
}

fn compile(workshop: &Workshop, name: &str, source: &str) {
    fs::write(workshop.path().join(format!("{name}.c")), source).expect("written");
    let (from, to) = (format!("{name}.c"), format!("{name}.o"));
    workshop.run("cc", &["-c", "-fPIC", "-ffunction-sections", &from, "-o", &to]);
}

fn workshop(flags: &[String]) -> Workshop {
    let mut workshop = Workshop::new(&[]);
    workshop.flags.extend_from_slice(flags);
    for (name, source) in [("code", C), ("apart", &apart(5))] {
        compile(&workshop, name, source);
        let object = workshop.path().join(format!("{name}.o"));
        workshop.flags.push(format!("-Clink-arg={}", object.display()));
    }
    workshop
}

#[test]
fn what_linkers_put_in_the_place_of_instructions_is_understood() {
    for flags in links() {
        let workshop = workshop(&flags);
        let old = workshop.build(SOURCE);
        workshop.run("./demo", &[]);
        compile(&workshop, "apart", &apart(6));
        let new = workshop.build(SOURCE);
        assert_eq!(changed(&old, &new, Locations::Exact), ["uses"], "{flags:?}");
    }
}

#[test]
fn who_reads_beside_a_piece_of_a_merged_section_depends_on_all_of_it() {
    // GNU ld keeps them side by side, others do not.
    let gnu = ["-Clinker-features=-lld", "-Clink-arg=-fuse-ld=bfd"].map(str::to_owned);
    let of_two = |entries: &str, read: &str| {
        format!(
            "__asm__(\".section .rodata.cst16,\\\"aM\\\",@progbits,16\\n{entries}.size tbl,16\\n.text\\n\"
                \".globl beside\\nbeside: movl {read}(%rip), %eax\\n ret\\n\");"
        )
    };
    let behind = |value: u64| of_two(&format!("tbl: .quad 7,1\\n .quad 7,{value}\\n"), "tbl+24");
    let before = |value: u64| of_two(&format!(".quad 7,{}\\n tbl: .quad 7,1\\n", value << 32), "tbl-4");
    let tables: [&dyn Fn(u64) -> String; 2] = [&behind, &before];
    for table in tables {
        let mut workshop = workshop(&gnu);
        compile(&workshop, "table", &table(2));
        let object = format!("-Clink-arg={}", workshop.path().join("table.o").display());
        workshop.flags.push(object);
        let source = format!(
            "unsafe extern \"C\" {{ fn beside() -> i32; }} #[test] fn reads() {{ assert_eq!(unsafe {{ beside() }}, 2) }} {SOURCE}"
        );
        let old = workshop.build(&source);
        workshop.run("./demo", &[]);
        compile(&workshop, "table", &table(3));
        let new = workshop.build(&source);
        assert_eq!(changed(&old, &new, Locations::Exact), ["reads"], "{}", table(0));
    }
}

#[test]
fn threads_and_the_end_of_the_process_are_compared() {
    let mut workshop = workshop(&[]);
    let more = |value: u32| {
        format!(
            "static __thread volatile char large[1 << 20]; static int code = {value};
            __attribute__((destructor)) static void end(void) {{ if (code == 9) large[0] = 1; }}
            int get_large(void) {{ return large[9]; }}"
        )
    };
    compile(&workshop, "more", &more(0));
    let object = format!("-Clink-arg={}", workshop.path().join("more.o").display());
    workshop.flags.push(object);
    let source = format!(
        "unsafe extern \"C\" {{ fn get_large() -> i32; }} #[test] fn gets() {{ assert_eq!(unsafe {{ get_large() }}, 0) }} {SOURCE}"
    );
    let old = workshop.build(&source);
    compile(&workshop, "more", &more(1));
    let new = workshop.build(&source);
    let all = ["gets", "other", "uses"];
    assert_eq!(
        changed(&old, &new, Locations::Exact),
        all,
        "what runs at the end is for all"
    );
}

#[test]
fn an_object_that_changed_after_the_link_is_noticed() {
    let workshop = workshop(&[]);
    let arguments = workshop.link(SOURCE);
    assert_eq!(workshop.analyse(&arguments).summary().whole(), None);
    compile(&workshop, "apart", &apart(6));
    let analysis = workshop.analyse(&arguments);
    let whole = analysis.summary().whole().unwrap_or("it does not count whole");
    assert!(whole.starts_with("apart is not in the binary"), "{whole}");
}

#[test]
fn a_binary_that_is_not_what_was_linked_is_noticed() {
    let workshop = workshop(&[]);
    compile(&workshop, "apart", &apart(0x1234_5678));
    let arguments = workshop.link(SOURCE);
    let demo = workshop.path().join("demo");
    let mut content = fs::read(&demo).expect("it was linked");
    let number = memchr::memmem::find(&content, &0x1234_5678u32.to_le_bytes()).expect("it is there");
    content[number] += 1;
    fs::write(&demo, content).expect("written");
    let analysis = workshop.analyse(&arguments);
    let whole = analysis.summary().whole().unwrap_or("it does not count whole");
    assert!(whole.starts_with("apart is not in the binary"), "{whole}");
}

#[test]
fn no_damage_of_a_binary_is_a_panic() {
    let workshop = workshop(&[]);
    let arguments = workshop.link(SOURCE);
    let demo = workshop.path().join("demo");
    let content = fs::read(&demo).expect("it was linked");
    let headers = u64::from_le_bytes(content[40..48].try_into().expect("eight bytes"));
    // A generator of Lehmer's: the same places each time.
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state * 48_271 % 0x7fff_ffff;
        state as usize % below
    };
    let file = object::File::parse(&content[..]).expect("it is an ELF file");
    let section = |name: &str| {
        let section = file.section_by_name(name).expect("it has one");
        section.file_range().expect("it is in the file")
    };
    let [unwinding, words] = [".eh_frame", ".rela.dyn"].map(section);
    let places = [
        (24, 0x300),
        (headers, content.len() as u64 - headers),
        unwinding,
        words,
        (0, content.len() as u64),
    ];
    for (start, length) in places.into_iter().cycle().take(100) {
        let (start, length) = (start as usize, length as usize);
        let mut damaged = content.clone();
        for _ in 0..=next(3) {
            let at = start + next(length.min(content.len() - start));
            let value = [0xff, 0x7f, 0x80, 0][next(4)];
            let end = (at + [1, 4, 8][next(3)]).min(content.len());
            damaged[at..end].fill(value);
        }
        damaged.truncate(content.len() - if next(8) == 0 { next(content.len()) } else { 0 });
        fs::write(&demo, damaged).expect("written");
        let _ = thresh_reach::analyse(&arguments, &workshop.path().join("graphs"));
    }
}
