//! Which places are found in Rust code.

use crate::rust::{find, longer, other_operator};
use crate::site::{Edit, Kind, Site};
use std::collections::BTreeSet;
use std::path::Path;

/// Returns the lines that the mutants of a kind make of a text.
fn mutants(text: &str, kind: Kind) -> BTreeSet<String> {
    let found = find(Path::new("a.rs"), text, false);
    let of_kind = found.sites.iter().filter(|site| site.kind == kind);
    of_kind.map(|site| changed(text, site)).collect()
}

fn changed(text: &str, site: &Site) -> String {
    let Edit::Replace(range, after) = &site.edit else {
        panic!("{site}")
    };
    let after = std::str::from_utf8(after).expect("Rust is text");
    let (before, behind) = (&text[..range.start], &text[range.end..]);
    format!("{before}{after}{behind}")
}

#[track_caller]
fn expect(text: &str, kind: Kind, expected: &[&str]) {
    assert_eq!(
        mutants(text, kind),
        expected.iter().map(ToString::to_string).collect()
    );
}

#[test]
fn operators_and_literals_change_by_position() {
    let text = "/// é 1\nfn f() { é(1 + 2_u8, b\"x\", true); }";
    expect(
        text,
        Kind::Operator,
        &["/// é 1\nfn f() { é(1 - 2_u8, b\"x\", true); }"],
    );
    let more = [
        "/// é 1\nfn f() { é(2 + 2_u8, b\"x\", true); }",
        "/// é 1\nfn f() { é(1 + 3u8, b\"x\", true); }",
    ];
    expect(text, Kind::Integer, &more);
    expect(
        text,
        Kind::Text,
        &["/// é 1\nfn f() { é(1 + 2_u8, b\"x~\", true); }"],
    );
    expect(
        text,
        Kind::Boolean,
        &["/// é 1\nfn f() { é(1 + 2_u8, b\"x\", false); }"],
    );
    assert_eq!(longer(r##"r#"a"b"#"##), Some(r##"r#"a"b~"#"##.to_owned()));
    assert_eq!(other_operator("<="), Some("<"));
    assert_eq!(other_operator("="), None);
}

#[test]
fn functions_return_early() {
    expect("fn f() {}", Kind::Return, &[]);
    let panics = "fn f() { if true { panic!(\"mutant\"); } g() }";
    expect(
        "fn f() { g() }",
        Kind::Return,
        &[panics, "fn f() { if true { return; } g() }"],
    );
    let text = "fn f() -> A { g() }";
    let default = "fn f() -> A { if true { return Default::default(); } g() }";
    let panics = "fn f() -> A { if true { panic!(\"mutant\"); } g() }";
    expect(text, Kind::Return, &[default, panics]);
    assert_eq!(mutants("fn f() -> bool { g() }", Kind::Return).len(), 3);
    assert_eq!(mutants("fn f() -> Result<A, B> { g() }", Kind::Return).len(), 1);
    assert_eq!(mutants("const fn f() -> A { g() }", Kind::Return).len(), 1);
}

#[test]
fn a_place_is_of_the_kinds_that_it_is_inside_of() {
    let kinds = |text: &str| -> BTreeSet<Kind> {
        let sites = find(Path::new("a.rs"), text, false).sites;
        sites
            .iter()
            .filter(|site| site.before == "1")
            .map(|site| site.kind)
            .collect()
    };
    let of = |more: &[Kind]| -> BTreeSet<Kind> { [Kind::Integer].iter().chain(more).copied().collect() };
    assert_eq!(kinds("fn f() { 1 }"), of(&[]));
    assert_eq!(kinds("const A: u8 = 1;"), of(&[Kind::Const]));
    assert_eq!(kinds("impl B { const A: u8 = 1; }"), of(&[Kind::Const]));
    assert_eq!(kinds("static A: u8 = 1;"), of(&[Kind::Static]));
    assert_eq!(kinds("impl T for B { fn f() { 1 } }"), of(&[Kind::TraitImpl]));
    assert_eq!(kinds("impl<A> B<A> { fn f() { 1 } }"), of(&[Kind::Generic]));
    assert_eq!(kinds("fn f(a: impl A) { 1 }"), of(&[Kind::Generic]));
    let all = of(&[Kind::Generic, Kind::Inline, Kind::ConstFn]);
    assert_eq!(kinds("#[inline(always)] const fn f<A>() { 1 }"), all);
    assert_eq!(kinds("fn f<'a>() { 1 } fn g<A>() {}"), of(&[]));
    assert_eq!(kinds("#[cfg(windows)] fn f() { 1 }"), BTreeSet::new());
    assert_eq!(kinds("#[cfg(not(windows))] fn f() { 1 }"), of(&[]));
    assert_eq!(kinds("fn f(a: [u8; 1]) {}"), BTreeSet::new());
    let script = find(Path::new("build.rs"), "fn main() { f(1) }", true).sites;
    assert!(script.len() > 2 && script.iter().all(|site| site.kind == Kind::BuildScript));
}

#[test]
fn arms_change_places_and_need_no_comma() {
    let text = "fn f() { match a { B => { 1 } C => 2, D => 2 } }";
    let swapped = "fn f() { match a { B => { 2 } C => { { 1 } }, D => 2 } }";
    expect(text, Kind::Arms, &[swapped]);
}

#[test]
fn cases_gain_and_lose_attributes() {
    let text = "#[test]\n#[ignore = \"slow\"]\nfn f() {}";
    let panics = "#[test] #[should_panic]\n#[ignore = \"slow\"]\nfn f() {}";
    expect(text, Kind::Attribute, &[panics, "#[test]\n\nfn f() {}"]);
    expect("#[ignore] fn f() {}", Kind::Attribute, &[]);
}

#[test]
fn macros_are_looked_into() {
    expect(
        "fn f() { assert_eq!(a, 1, \"b\"); }",
        Kind::Integer,
        &["fn f() { assert_eq!(a, 2, \"b\"); }"],
    );
    expect(
        "thread_local! { static A: u8 = 1; }",
        Kind::Static,
        &["thread_local! { static A: u8 = 2; }"],
    );
    let text =
        "macro_rules! m { (1 $($a:expr),+) => { #[doc = \"x\"] f(2, $($a),+ ) + g::<A>(\"y\", true) }; }";
    let body = [
        ("f(2,", "f(3,"),
        (" + ", " - "),
        ("\"y\"", "\"y~\""),
        ("true", "false"),
    ];
    let expected: Vec<String> = body.iter().map(|(from, to)| text.replace(from, to)).collect();
    expect(
        text,
        Kind::Macro,
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert_eq!(
        mutants("macro_rules! m { () => { a == b && c } }", Kind::Macro).len(),
        2
    );
}

#[test]
fn variables_that_are_asked_for_are_known() {
    let text = "fn f() { std::env::var(\"A\"); env::var_os(\"B\"); var(c); other(\"D\"); }";
    let found = find(Path::new("a.rs"), text, false).variables;
    assert_eq!(found, ["A", "B"].map(str::to_owned).into());
}

#[test]
fn what_is_no_rust_has_no_places() {
    assert!(find(Path::new("a.rs"), "fn f( {", false).sites.is_empty());
    assert!(
        find(Path::new("a.rs"), "#!/usr/bin/env run\nfn f() { 1 }", false)
            .sites
            .is_empty()
    );
}
