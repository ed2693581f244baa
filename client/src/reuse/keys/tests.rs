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
use crate::reuse::{InputWatch, Past, PastPass, RecordFolder, explain};
use crate::suite::{SuiteBinary, SuiteCase};

mod own;

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
