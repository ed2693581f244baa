use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use camino::Utf8PathBuf;
use nextest_metadata::{
    BuildPlatform, RustBinaryId, RustBuildMetaSummary, RustTestBinaryKind, RustTestBinarySummary,
    RustTestSuiteStatusSummary,
};
use thresh_cas::{Manifest, Snapshot};
use thresh_core::id::RunId;
use thresh_core::reuse::{KeyPart, differing_parts};
use thresh_core::time::Timestamp;

use super::*;
use crate::command::CommandTemplate;
use crate::reuse::{CaseCode, InputWatch, Past, PastPass, RecordFolder, explain};
use crate::suite::{SuiteBinary, SuiteCase};

/// A build on disk: one binary, one program, one output of a build script.
struct Fixture {
    folder: tempfile::TempDir,
    suite: Suite,
    sources: Digest,
    variables: BTreeMap<OsString, OsString>,
    code: CodeKeys,
    in_place: bool,
    own_files: bool,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let target = Utf8PathBuf::try_from(folder.path().join("target")).unwrap();
        for (file, content) in [
            ("deps/it-1", "binary"),
            ("prog", "program"),
            ("build/x-1/out/gen.rs", "generated"),
        ] {
            write(target.join(file).as_std_path(), content);
        }
        let suite = suite(&target);
        Self {
            folder,
            suite,
            sources: Digest::of(b"sources"),
            variables: [("A".into(), "1".into())].into(),
            code: CodeKeys::default(),
            in_place: true,
            own_files: true,
        }
    }

    fn target(&self, file: &str) -> PathBuf {
        self.folder.path().join("target").join(file)
    }

    fn files(&self) -> SuiteFiles {
        SuiteFiles::digest(&self.suite, &mut DigestMemo::default()).unwrap()
    }

    fn keys(&self) -> CaseKeys {
        case_keys(&KeyInputs {
            suite: &self.suite,
            files: &self.files(),
            sources: self.sources,
            code: &self.code,
            outside: &Outside::default(),
            variables: &self.variables,
            policy: &EnvironmentPolicy::default(),
            in_place: self.in_place,
            own_files: self.own_files,
        })
    }

    fn parts(&self) -> KeyParts {
        let keys = self.keys();
        keys.parts[keys.of_case[0].unwrap()].clone()
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(in crate::reuse) fn suite(target: &Utf8PathBuf) -> Suite {
    let path = target.join("deps/it-1");
    let command = CommandTemplate {
        before: vec![path.to_string(), "--exact".into()],
        after: vec!["--nocapture".into()],
        cwd: "/w".into(),
        env: vec![("CARGO_PKG_NAME".into(), "it".into())],
        setup_scripts: Vec::new(),
    };
    let binary_id = RustBinaryId::new("it");
    let summary = RustTestBinarySummary {
        binary_id: binary_id.clone(),
        kind: RustTestBinaryKind::TEST,
        binary_name: "it".into(),
        package_id: "it".into(),
        binary_path: path.clone(),
        build_platform: BuildPlatform::Target,
    };
    let mut meta = RustBuildMetaSummary {
        target_directory: target.clone(),
        ..RustBuildMetaSummary::default()
    };
    meta.build_script_out_dirs
        .insert("it".into(), "build/x-1/out".into());
    let case = |name: &str| SuiteCase {
        binary: 0,
        name: name.into(),
        ignored: false,
        benchmark: false,
        settings: 0,
        report: 0,
        command: 0,
    };
    Suite {
        workspace_root: "/w".into(),
        target_directory: target.clone(),
        profile: "default".into(),
        platform: "x86_64-unknown-linux-gnu".into(),
        rustc_version: "rustc 1".into(),
        rust_build_meta: meta,
        binaries: vec![SuiteBinary {
            id: binary_id.to_string(),
            package: "it".into(),
            path,
            cwd: "/w".into(),
            kind: "test".into(),
            build_platform: BuildPlatform::Target,
            programs: Vec::new(),
            out_dir: None,
            summary,
            status: RustTestSuiteStatusSummary::LISTED,
        }],
        cases: vec![case("a"), case("b")],
        skipped: Vec::new(),
        settings: Vec::new(),
        reports: Vec::new(),
        commands: vec![command],
        setup_scripts: Vec::new(),
        groups: Vec::new(),
        programs: vec![target.join("prog")],
        dynamic_libraries: Vec::new(),
        library_folders: Vec::new(),
    }
}

/// Asserts that a change alters one part of the key and no other.
fn alters(part: KeyPart, change: impl FnOnce(&mut Fixture)) {
    let mut fixture = Fixture::new();
    let then = fixture.parts();
    change(&mut fixture);
    let different: Vec<KeyPart> = differing_parts(&then, &fixture.parts())
        .iter()
        .map(|difference| difference.part)
        .collect();
    assert_eq!(different, [part]);
}

#[test]
fn each_input_changes_its_own_part() {
    alters(KeyPart::Code, |fixture| {
        write(&fixture.target("deps/it-1"), "another binary")
    });
    alters(KeyPart::Arguments, |fixture| {
        fixture.suite.commands[0].after.push("--x".into())
    });
    alters(KeyPart::Arguments, |fixture| {
        fixture.suite.commands[0].cwd = "/elsewhere".into()
    });
    alters(KeyPart::Environment, |fixture| {
        fixture.variables.insert("A".into(), "2".into());
    });
    alters(KeyPart::Environment, |fixture| {
        fixture.suite.commands[0].env[0].1 = "other".into()
    });
    alters(KeyPart::Platform, |fixture| {
        fixture.suite.rustc_version = "rustc 2".into()
    });
    alters(KeyPart::Files, |fixture| fixture.sources = Digest::of(b"other"));
    alters(KeyPart::Programs, |fixture| {
        write(&fixture.target("prog"), "another program")
    });
    alters(KeyPart::Programs, |fixture| {
        write(&fixture.target("build/x-1/out/gen.rs"), "x")
    });
    alters(KeyPart::Programs, |fixture| {
        write(&fixture.target("build/x-1/out/sub/new.rs"), "")
    });
}

#[test]
fn what_differs_at_every_run_changes_nothing() {
    let mut fixture = Fixture::new();
    let then = fixture.parts();
    for name in [
        "NEXTEST_RUN_ID",
        "NEXTEST_ATTEMPT",
        "NEXTEST_TEST_GLOBAL_SLOT",
        "SHLVL",
        "GITHUB_SHA",
    ] {
        fixture.variables.insert(name.into(), "7".into());
    }
    assert_eq!(fixture.parts(), then);
    assert_eq!(
        fixture.keys().parts.len(),
        1,
        "cases of one binary and command share their parts"
    );
}

#[test]
fn the_hash_in_a_binarys_name_is_no_argument() {
    assert_eq!(without_hash("/t/deps/it-0123456789abcdef"), "/t/deps/it");
    for word in [
        "/t/deps/it-0123",
        "--exact-0123456789abcdef",
        "/t/it-0123456789abcdeg",
        "/t/it",
    ] {
        assert_eq!(without_hash(word), word);
    }
}

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

#[test]
fn cases_with_setup_scripts_have_no_key() {
    let mut fixture = Fixture::new();
    fixture.suite.commands[0].setup_scripts.push(0);
    assert_eq!(fixture.keys().of_case, [None, None]);
    let folder = tempfile::tempdir().unwrap();
    let records = RecordFolder::new(folder.path().to_owned());
    let told = explain(
        ("it", "a"),
        0,
        &fixture.keys(),
        &Manifest::default(),
        &Past::default(),
        &records,
    );
    assert!(!told.reused && told.reason.contains("setup scripts"), "{told}");
}

#[test]
fn explanations_name_what_differs_in_each_part() {
    let mut fixture = Fixture::new();
    let sources = fixture.folder.path().join("src");
    write(&sources.join("lib.rs"), "1");
    write(&sources.join("old.rs"), "1");
    let take = || Snapshot::of_workspace(&sources, &[], &mut DigestMemo::default()).unwrap();
    let then = take();
    fixture.sources = then.manifest().digest();
    let folder = tempfile::tempdir().unwrap();
    let records = RecordFolder::new(folder.path().to_owned());
    let keys = fixture.keys();
    keys.records
        .values()
        .for_each(|record| records.keep(record).unwrap());
    records
        .keep_bytes(fixture.sources, || then.manifest().encode())
        .unwrap();
    let last = PastPass {
        run_id: RunId::from_u128(7),
        at: Timestamp::from_micros(5),
        parts: fixture.parts(),
    };
    let same = explain(
        ("it", "a"),
        0,
        &keys,
        then.manifest(),
        &Past {
            last: Some(&last),
            is_reusable: true,
            ..Past::default()
        },
        &records,
    );
    assert!(same.reused, "{same}");
    assert!(
        same.to_string().starts_with("it a is reused: a clean pass"),
        "{same}"
    );

    write(&sources.join("lib.rs"), "22");
    write(&sources.join("new.rs"), "1");
    fs::remove_file(sources.join("old.rs")).unwrap();
    write(&fixture.target("deps/it-1"), "another binary");
    write(&fixture.target("prog"), "another program");
    fixture.variables.insert("SECRET".into(), "hunter2".into());
    let now = take();
    fixture.sources = now.manifest().digest();
    let told = explain(
        ("it", "a"),
        0,
        &fixture.keys(),
        now.manifest(),
        &Past {
            last: Some(&last),
            ..Past::default()
        },
        &records,
    );
    let what: Vec<(&str, String)> = told
        .changes
        .iter()
        .map(|change| (change.part, change.what.join("|")))
        .collect();
    assert_eq!(what[0], ("code", "test binary".to_owned()));
    assert_eq!(what[1], ("environment", "SECRET (new)".to_owned()));
    assert_eq!(what[2], ("files", "lib.rs|new.rs (new)|old.rs (gone)".to_owned()));
    assert!(what[3].1.ends_with("/target/prog"), "{what:?}");
    assert!(!told.to_string().contains("hunter2"));
    assert_eq!(
        told.reason,
        "changed since its last pass: code, environment, files, programs"
    );
}

#[test]
fn a_pass_that_was_seen_is_explained_by_what_it_read() {
    let fixture = Fixture::new();
    let keys = fixture.keys();
    let last = PastPass {
        run_id: RunId::from_u128(7),
        at: Timestamp::from_micros(5),
        parts: fixture.parts().with_seen(Digest::of(b"seen")),
    };
    let folder = tempfile::tempdir().unwrap();
    let records = RecordFolder::new(folder.path().to_owned());
    let tell = |past: Past<'_>| explain(("it", "a"), 0, &keys, &Manifest::default(), &past, &records);
    let changed = tell(Past {
        last: Some(&last),
        seen: Some(vec!["/w/data.txt (was: content 1; is: content 2)".to_owned()]),
        ..Past::default()
    });
    assert_eq!(changed.reason, "changed since its last pass: files");
    assert!(
        changed.to_string().contains("  files:\n    /w/data.txt (was"),
        "{changed}"
    );
    let gone = tell(Past {
        last: Some(&last),
        seen: Some(Vec::new()),
        ..Past::default()
    });
    assert!(gone.reason.contains("no longer stored"), "{gone}");
}

#[test]
fn a_watch_sees_sources_and_build_change() {
    let fixture = Fixture::new();
    let sources = fixture.folder.path().join("src");
    write(&sources.join("lib.rs"), "1");
    let snapshot = Snapshot::of_workspace(&sources, &[], &mut DigestMemo::default()).unwrap();
    let watch = InputWatch::new(snapshot, &fixture.files(), &Outside::default());
    assert!(watch.changes().unwrap().is_empty());
    fs::hard_link(fixture.target("prog"), fixture.folder.path().join("other name")).unwrap();
    assert!(watch.changes().unwrap().is_empty(), "it is what it was");
    write(&sources.join("lib.rs"), "other");
    write(&fixture.target("prog"), "another program");
    assert_eq!(
        watch.changes().unwrap(),
        [PathBuf::from("lib.rs"), fixture.target("prog")]
    );
}
