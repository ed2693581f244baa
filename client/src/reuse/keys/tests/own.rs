//! Parts of keys that are a case's own: what its code does not look at, and cannot open.

use super::*;
use crate::reuse::CaseCode;

/// The case `a` looks at its package's version, `b` does not.
fn with_code(version: &str) -> Fixture {
    let mut fixture = Fixture::new();
    let code = |sees_version| CaseCode {
        key: Digest::of(b"code"),
        sees_version,
        opens: true,
    };
    fixture.code = CodeKeys::of_binary(0, [("a", code(true)), ("b", code(false))]);
    let version = ("CARGO_PKG_VERSION".to_owned(), version.into());
    fixture.suite.commands[0].env.push(version);
    fixture
}

#[test]
fn a_version_counts_for_who_looks_at_it() {
    let (then, now) = (with_code("1.0.0").keys(), with_code("1.0.1").keys());
    let own = |keys: &CaseKeys, case| keys.own_parts_of(case).unwrap().environment;
    assert_ne!(own(&then, 0), own(&now, 0));
    assert_eq!(own(&then, 1), own(&now, 1));
    let coarse = |keys: &CaseKeys, case| keys.parts_of(case).unwrap().environment;
    assert_ne!(
        coarse(&then, 1),
        coarse(&now, 1),
        "without its own code all counts"
    );
    assert!(now.records.contains_key(&own(&now, 1)), "it can be explained");
    let changed = |change: fn(&mut Fixture)| {
        let mut fixture = with_code("1.0.1");
        change(&mut fixture);
        own(&fixture.keys(), 1)
    };
    let base = own(&now, 1);
    assert_ne!(
        changed(|fixture| _ = fixture.variables.insert("A".into(), "2".into())),
        base
    );
    assert_ne!(
        changed(|fixture| fixture.suite.commands[0].env[0].1 = "other".into()),
        base
    );
    let coarse = now.parts_of(1).unwrap().environment;
    let wrapped = changed(|fixture| fixture.suite.commands[0].before.insert(0, "wrapper".into()));
    assert_eq!(wrapped, coarse, "the wrapper may look");
    let preloaded = |version| {
        let mut fixture = with_code(version);
        fixture.variables.insert("LD_PRELOAD".into(), "/x.so".into());
        own(&fixture.keys(), 1)
    };
    assert_ne!(
        preloaded("1.0.0"),
        preloaded("1.0.1"),
        "what is preloaded may look"
    );
}

#[test]
fn a_case_that_can_open_nothing_has_no_files_also_on_a_farm() {
    let with = |change: fn(&mut Fixture)| {
        let mut fixture = Fixture::new();
        let code = |opens| CaseCode {
            key: Digest::of(b"code"),
            sees_version: true,
            opens,
        };
        fixture.code = CodeKeys::of_binary(0, [("a", code(true)), ("b", code(false))]);
        change(&mut fixture);
        fixture.keys()
    };
    for keys in [with(|_| ()), with(|fixture| fixture.in_place = false)] {
        assert!(!keys.opens_nothing(0) && keys.opens_nothing(1));
        assert!(!keys.parts_of(0).unwrap().is_seen() && keys.parts_of(1).unwrap().has_no_files());
        assert_eq!(keys.parts_of(1).unwrap().code, keys.own_parts_of(1).unwrap().code);
    }
    let others: [fn(&mut Fixture); 5] = [
        |fixture| fixture.own_files = false,
        |fixture| fixture.code = CodeKeys::default(),
        |fixture| fixture.suite.commands[0].before.insert(0, "wrapper".into()),
        |fixture| fixture.suite.commands[0].setup_scripts.push(0),
        |fixture| _ = fixture.variables.insert("LD_PRELOAD".into(), "/x.so".into()),
    ];
    for change in others {
        assert!(!with(change).opens_nothing(1));
    }
    let edited = with(|fixture| fixture.sources = Digest::of(b"other"));
    let parts = |keys: &CaseKeys| keys.parts_of(1).unwrap();
    let (then, now) = (parts(&with(|_| ())), parts(&edited));
    assert_eq!(
        (then.files, then.programs),
        (now.files, now.programs),
        "no file counts"
    );
}

#[test]
fn that_a_case_can_open_nothing_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let records = RecordFolder::new(folder.path().to_owned());
    let keys = |opens: bool| {
        let mut fixture = Fixture::new();
        let code = CaseCode {
            key: Digest::of(b"code"),
            sees_version: true,
            opens,
        };
        fixture.code = CodeKeys::of_binary(0, [("a", code)]);
        fixture.keys()
    };
    let (opening, closed) = (keys(true), keys(false));
    let tell = |now: &CaseKeys, parts: KeyParts, is_reusable: bool| {
        let last = PastPass {
            run_id: RunId::from_u128(7),
            at: Timestamp::from_micros(5),
            parts,
        };
        let past = Past {
            last: Some(&last),
            is_reusable,
            seen: Some(Vec::new()),
            ..Past::default()
        };
        explain(("it", "a"), 0, now, &Manifest::default(), &past, &records).to_string()
    };
    let none = closed.parts_of(0).unwrap();
    let seen = opening.own_parts_of(0).unwrap().with_seen(Digest::of(b"seen"));
    assert!(tell(&closed, none.clone(), true).contains("its code can open no file"));
    assert!(tell(&closed, seen, false).contains("files:\n    none count, as its code can open no file"));
    let past = tell(&opening, none, false);
    assert!(
        past.contains("files:\n    none counted, as its code could open no file then"),
        "{past}"
    );
}

#[test]
fn an_environment_is_explained_by_what_counts_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let records = RecordFolder::new(folder.path().to_owned());
    let tell = |case: usize, change: fn(&mut Fixture)| {
        let mut fixture = with_code("1.0.0");
        let then = fixture.keys();
        then.records
            .values()
            .for_each(|record| records.keep(record).unwrap());
        let last = PastPass {
            run_id: RunId::from_u128(7),
            at: Timestamp::from_micros(5),
            parts: then.own_parts_of(case).unwrap().with_seen(Digest::of(b"seen")),
        };
        change(&mut fixture);
        let past = Past {
            last: Some(&last),
            seen: Some(Vec::new()),
            ..Past::default()
        };
        explain(
            ("it", "x"),
            case,
            &fixture.keys(),
            &Manifest::default(),
            &past,
            &records,
        )
        .to_string()
    };
    let bump = |fixture: &mut Fixture| fixture.suite.commands[0].env[1].1 = "1.0.1".into();
    assert!(tell(0, bump).contains("  environment:\n    CARGO_PKG_VERSION\n"));
    assert!(!tell(1, bump).contains("environment"));
    let other = tell(1, |fixture| _ = fixture.variables.insert("A".into(), "2".into()));
    assert!(other.contains("  environment:\n    A\n"), "{other}");
}
