//! Rules of the house that no compiler checks.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use thresh_tests::thresh::repository;
use walkdir::WalkDir;

/// The most lines of a source file.
const LINES_MAX: usize = 700;

/// Who may depend on whom: the arrows of ARCHITECTURE.md. `cli` and `tests` may depend on everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("thresh-core", &[]),
    ("thresh-proto", &["thresh-core"]),
    ("thresh-cas", &["thresh-core"]),
    ("thresh-reach", &["thresh-core"]),
    (
        "thresh-coordinator",
        &["thresh-core", "thresh-cas", "thresh-proto"],
    ),
    ("thresh-worker", &["thresh-core", "thresh-cas", "thresh-proto"]),
    (
        "thresh-client",
        &["thresh-core", "thresh-cas", "thresh-proto", "thresh-reach"],
    ),
];

const CORE_DEPENDENCIES: &[&str] = &["blake3", "thiserror"];

/// Words that have another name here, and what that is.
const FORBIDDEN: &[(&str, &str)] = &[
    ("master node", "coordinator"),
    ("test runner node", "worker"),
    ("worker node", "worker"),
    ("test job", "test case"),
    ("todo!", "an issue"),
    ("FIXME", "an issue"),
];

/// Folder names that say nothing.
const EMPTY_NAMES: &[&str] = &[
    "utils", "util", "common", "types", "helpers", "helper", "manager", "misc",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .current_dir(repository())
        .exec()
        .expect("cargo metadata works here")
}

fn members(metadata: &Metadata) -> Vec<&Package> {
    metadata.workspace_packages()
}

/// Files of the repository below its own packages and folders, with these endings.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    let skipped = ["target", ".git", "fixtures"];
    let entries = WalkDir::new(repository())
        .into_iter()
        .filter_entry(|entry| !skipped.contains(&entry.file_name().to_str().unwrap_or_default()));
    let files = entries
        .map(|entry| entry.expect("the repository can be read"))
        .filter(|entry| {
            let extension = entry.path().extension().and_then(|extension| extension.to_str());
            entry.file_type().is_file() && extension.is_some_and(|extension| endings.contains(&extension))
        });
    files.map(walkdir::DirEntry::into_path).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn arrows_point_one_way() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name.as_str()) else {
            assert!(
                ["thresh-cli", "thresh-tests"].contains(&package.name.as_str()),
                "{} is new",
                package.name
            );
            continue;
        };
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.name.starts_with("thresh-"));
        let bad = ours.filter(|dependency| !allowed.contains(&dependency.name.as_str()));
        wrong.extend(bad.map(|dependency| format!("{} -> {}", package.name, dependency.name)));
    }
    none("arrows that ARCHITECTURE.md does not have", wrong);
}

#[test]
fn nobody_depends_on_a_program() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        let programs = package
            .dependencies
            .iter()
            .filter(|dependency| ["thresh-cli", "thresh-tests"].contains(&dependency.name.as_str()));
        wrong.extend(programs.map(|dependency| format!("{} -> {}", package.name, dependency.name)));
    }
    none("arrows to a program", wrong);
}

#[test]
fn the_core_stays_pure() {
    let metadata = metadata();
    let core = members(&metadata)
        .into_iter()
        .find(|package| package.name.as_str() == "thresh-core");
    let core = core.expect("there is a core");
    let normal = core
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal);
    let names: BTreeSet<&str> = normal.map(|dependency| dependency.name.as_str()).collect();
    assert_eq!(names, CORE_DEPENDENCIES.iter().copied().collect());
}

#[test]
fn licences_are_allowed() {
    let deny: toml::Table =
        toml::from_str(&read(&repository().join("deny.toml"))).expect("deny.toml is TOML");
    let allowed = deny["licenses"]["allow"]
        .as_array()
        .expect("deny.toml lists licences");
    let allowed: BTreeSet<&str> = allowed.iter().filter_map(toml::Value::as_str).collect();
    let metadata = metadata();
    let packages = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some());
    let wrong = packages.filter_map(|package| {
        let licence = package.license.as_deref().unwrap_or("none");
        (!licence_allowed(licence, &allowed))
            .then(|| format!("{} {}: {licence}", package.name, package.version))
    });
    none("licences that deny.toml does not allow", wrong.collect());
}

/// Whether a licence expression can be met: one alternative of each part that must hold. `/` is an old `OR`.
fn licence_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let parts = expression.split(" AND ");
    parts.map(|part| part.split(" OR ")).all(|mut any| {
        any.any(|licence| {
            let licence = licence.trim();
            allowed.contains(licence)
                || licence
                    .split(" WITH ")
                    .next()
                    .is_some_and(|base| allowed.contains(base))
        })
    })
}

#[test]
fn versions_live_at_the_root() {
    let wrong = files(&["toml"]).into_iter().filter(|path| {
        path.file_name().is_some_and(|name| name == "Cargo.toml") && path.parent() != Some(repository())
    });
    let wrong = wrong.filter_map(|path| {
        let manifest: toml::Table = toml::from_str(&read(&path)).expect("a manifest is TOML");
        let own = manifest.get("dependencies")?.as_table()?.iter();
        let names: Vec<&str> = own
            .filter(|(_, value)| value.get("workspace").and_then(toml::Value::as_bool) != Some(true))
            .map(|(name, _)| name.as_str())
            .collect();
        (!names.is_empty()).then(|| format!("{}: {names:?}", path.display()))
    });
    none("dependencies with a version of their own", wrong.collect());
}

#[test]
fn every_package_has_the_lints() {
    let metadata = metadata();
    let without = members(&metadata).into_iter().filter(|package| {
        let manifest: toml::Table =
            toml::from_str(&read(package.manifest_path.as_ref())).expect("a manifest");
        manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool)
            != Some(true)
    });
    none(
        "packages without the workspace's lints",
        without.map(|package| package.name.to_string()).collect(),
    );
    let root: toml::Table = toml::from_str(&read(&repository().join("Cargo.toml"))).expect("a manifest");
    let lint = &root["workspace"]["lints"]["rust"]["missing_docs"];
    assert!(
        ["warn", "deny"].contains(&lint.as_str().unwrap_or_default()),
        "public items need docs"
    );
}

#[test]
fn files_are_short() {
    let long = files(&["rs", "proto"]).into_iter().filter_map(|path| {
        let lines = read(&path).lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    none(&format!("files of more than {LINES_MAX} lines"), long.collect());
}

#[test]
fn every_file_of_code_says_what_it_is() {
    // A module's unit tests in files of their own are part of that module.
    let tests =
        |path: &Path| path.ends_with("tests.rs") || path.components().any(|c| c.as_os_str() == "tests");
    let silent = files(&["rs"]).into_iter().filter(|path| {
        let ours = path.strip_prefix(repository()).expect("it is in the repository");
        let in_package = ours.components().skip(1).collect::<PathBuf>();
        !tests(&in_package) && !read(path).starts_with("//!")
    });
    none(
        "files without a first line of docs",
        silent.map(|path| path.display().to_string()).collect(),
    );
}

#[test]
fn names_say_something() {
    let empty = files(&["rs"]).into_iter().filter(|path| {
        let mut parts = path
            .strip_prefix(repository())
            .expect("it is in the repository")
            .components();
        parts.any(|part| {
            let name = Path::new(part.as_os_str())
                .file_stem()
                .and_then(|stem| stem.to_str());
            name.is_some_and(|name| EMPTY_NAMES.contains(&name))
        })
    });
    none(
        "names that say nothing",
        empty.map(|path| path.display().to_string()).collect(),
    );
}

#[test]
fn words_are_those_of_the_glossary() {
    let this = Path::new(file!()).file_name();
    let mut found = Vec::new();
    for path in files(&["rs", "md", "proto", "toml"]) {
        let text = read(&path);
        let words = FORBIDDEN
            .iter()
            .filter(|(word, _)| path.file_name() != this && text.contains(word));
        found.extend(words.map(|(word, better)| format!("{}: {word:?}, say {better:?}", path.display())));
    }
    none("words that have another name here", found);
}

#[test]
fn documents_speak_of_no_single_machine() {
    let found = files(&["md", "proto", "toml"]).into_iter().filter(|path| {
        let text = read(path);
        ["/root/", "/home/", "/tmp/corpus", "/work/"]
            .iter()
            .any(|part| text.contains(part))
    });
    none(
        "paths of one machine",
        found.map(|path| path.display().to_string()).collect(),
    );
}

#[test]
fn sleeping_is_only_waiting() {
    let found = files(&["rs"]).into_iter().filter(|path| {
        path.file_name() != Path::new(file!()).file_name() && read(path).contains("thread::sleep(")
    });
    none(
        "files that sleep",
        found.map(|path| path.display().to_string()).collect(),
    );
}

#[test]
fn every_test_file_is_run() {
    let manifest: toml::Table =
        toml::from_str(&read(&repository().join("tests/Cargo.toml"))).expect("a manifest is TOML");
    assert!(
        manifest["package"].get("autotests").is_none(),
        "files in tests/tests must be found by themselves"
    );
    let folder = repository().join("tests/tests");
    for entry in fs::read_dir(folder).expect("there are tests") {
        let path = entry.expect("the folder can be read").path();
        let found = if path.is_dir() {
            path.join("main.rs").is_file()
        } else {
            path.extension().is_some()
        };
        assert!(found, "{} is no test that cargo finds", path.display());
    }
}

#[test]
fn scripts_can_be_executed() {
    let folders = ["scripts", ".ci"];
    let mut found = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(repository().join(folder)).expect("the folder is there") {
            let entry = entry.expect("the folder can be read");
            let mode = entry.metadata().expect("the file is there").permissions().mode();
            let text = read(&entry.path());
            if mode & 0o111 == 0 || !text.starts_with("#!") {
                found.push(entry.path().display().to_string());
            }
        }
    }
    none("scripts that cannot be executed", found);
}

#[test]
fn the_change_log_has_this_version() {
    let text = read(&repository().join("CHANGELOG.md"));
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    let bracketed = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(
        text.contains(&heading) || text.contains(&bracketed),
        "CHANGELOG.md lacks {heading:?}"
    );
}
