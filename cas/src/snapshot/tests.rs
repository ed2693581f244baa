use super::*;
use crate::manifest::{Entry, EntryKind, Manifest};
use crate::memo::DigestMemo;
use crate::stamp::FileStamp;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;
use thresh_core::digest::Digest;

fn git_output(folder: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "protocol.file.allow=always",
        ])
        .arg("-C")
        .arg(folder)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .unwrap()
}

fn git(folder: &Path, args: &[&str]) {
    let output = git_output(folder, args);
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Writes files below `root`, each with its own path as content, making folders as needed.
fn write(root: &Path, paths: &[&str]) {
    for path in paths {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.as_os_str().as_bytes()).unwrap();
    }
}

fn repository() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q"]);
    dir
}

fn names(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.to_str().unwrap()).collect()
}

fn settle(path: &Path) {
    while !FileStamp::of(path).unwrap().settled_before(SystemTime::now()) {
        std::thread::yield_now();
    }
}

#[test]
fn git_decides_what_counts() {
    let dir = repository();
    let root = dir.path();
    write(
        root,
        &[
            "src/lib.rs",
            "deleted.rs",
            "gone/too.rs",
            "forced.log",
            "tab\there",
            "new\nline",
            "ünïcode",
        ],
    );
    fs::write(root.join(".gitignore"), "*.log\n/target/\nCargo.lock\n").unwrap();
    git(root, &["add", "-A"]);
    git(root, &["add", "-f", "forced.log"]);
    git(root, &["commit", "-qm", "first"]);
    fs::remove_file(root.join("deleted.rs")).unwrap();
    fs::remove_dir_all(root.join("gone")).unwrap();
    write(
        root,
        &[
            "untracked/new.rs",
            "ignored.log",
            "target/debug/x",
            "Cargo.lock",
            "out/y",
        ],
    );
    let files = workspace_files(root, &[root.join("out"), PathBuf::from("/elsewhere")]).unwrap();
    let expected = [
        ".gitignore",
        "Cargo.lock",
        "forced.log",
        "new\nline",
        "src/lib.rs",
        "tab\there",
        "untracked/new.rs",
        "ünïcode",
    ];
    assert_eq!(names(&files), expected);

    let below = workspace_files(&root.join("src"), &[]).unwrap();
    assert_eq!(names(&below), ["lib.rs"]);
}

#[test]
fn names_need_not_be_utf8() {
    let dir = repository();
    let name = OsStr::from_bytes(b"caf\xe9 \xff");
    fs::write(dir.path().join(name), "x").unwrap();
    let snapshot = Snapshot::of_workspace(dir.path(), &[], &mut DigestMemo::default()).unwrap();
    let parsed = Manifest::parse(&snapshot.manifest().encode()).unwrap();
    assert_eq!(parsed.entries()[0].path, Path::new(name));
}

#[test]
fn submodules_and_nested_repositories_are_entered() {
    let library = repository();
    write(library.path(), &["lib.c"]);
    git(library.path(), &["add", "-A"]);
    git(library.path(), &["commit", "-qm", "library"]);

    let dir = repository();
    let root = dir.path();
    write(root, &["main.rs"]);
    git(
        root,
        &[
            "submodule",
            "--quiet",
            "add",
            library.path().to_str().unwrap(),
            "vendor/library",
        ],
    );
    git(
        root,
        &[
            "submodule",
            "--quiet",
            "add",
            library.path().to_str().unwrap(),
            "vendor/absent",
        ],
    );
    git(root, &["commit", "-qam", "all"]);
    git(root, &["submodule", "--quiet", "deinit", "-f", "vendor/absent"]);
    write(
        root,
        &[
            "vendor/library/untracked.c",
            "nested/a.rs",
            "nested/b.log",
            "nested/target/debug",
        ],
    );
    git(&root.join("nested"), &["init", "-q"]);
    fs::write(root.join("nested/.gitignore"), "*.log\n").unwrap();
    write(root, &["vendor/absent/left-behind"]);
    let files = workspace_files(root, &[root.join("nested/target")]).unwrap();
    let expected = [
        ".gitmodules",
        "main.rs",
        "nested/.gitignore",
        "nested/a.rs",
        "vendor/absent/left-behind",
        "vendor/library/lib.c",
        "vendor/library/untracked.c",
    ];
    assert_eq!(names(&files), expected);
}

#[test]
fn without_git_everything_counts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(
        root,
        &[
            "a/b/c",
            "target/debug/x",
            ".hidden",
            "sub/.git/config",
            "sub/code",
            ".gitignore",
        ],
    );
    fs::create_dir_all(root.join("empty/inner")).unwrap();
    fs::create_dir_all(root.join("z-empty")).unwrap();
    symlink("/nowhere", root.join("link")).unwrap();
    fs::write(root.join(".gitignore"), "a\n").unwrap();
    let files = workspace_files(root, &[root.join("target")]).unwrap();
    let expected = [
        ".gitignore",
        ".hidden",
        "a/b/c",
        "empty/inner",
        "link",
        "sub/code",
        "z-empty",
    ];
    assert_eq!(names(&files), expected);
    assert_eq!(names(&folder_files(&root.join("target")).unwrap()), ["debug/x"]);
    assert!(workspace_files(&root.join("absent"), &[]).is_err());
}

#[test]
fn a_broken_repository_counts_as_none() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["code"]);
    fs::write(dir.path().join(".git"), "gitdir: /nowhere\n").unwrap();
    assert_eq!(names(&workspace_files(dir.path(), &[]).unwrap()), ["code"]);
}

#[test]
fn a_workspace_that_the_repository_around_it_ignores_counts_whole() {
    let dir = repository();
    fs::write(dir.path().join(".gitignore"), "/target/\n").unwrap();
    write(
        dir.path(),
        &[
            "target/fixture/Cargo.toml",
            "target/fixture/src/lib.rs",
            "kept/Cargo.toml",
        ],
    );
    let files = workspace_files(&dir.path().join("target/fixture"), &[]).unwrap();
    assert_eq!(names(&files), ["Cargo.toml", "src/lib.rs"]);
    assert_eq!(
        names(&workspace_files(&dir.path().join("kept"), &[]).unwrap()),
        ["Cargo.toml"]
    );
}

#[test]
fn a_tracked_file_that_became_a_folder_is_entered() {
    let dir = repository();
    write(dir.path(), &["turned"]);
    git(dir.path(), &["add", "-A"]);
    fs::remove_file(dir.path().join("turned")).unwrap();
    write(dir.path(), &["turned/inner/file"]);
    assert_eq!(
        names(&workspace_files(dir.path(), &[]).unwrap()),
        ["turned/inner/file"]
    );
    assert_eq!(
        names(&workspace_files(&dir.path().join("turned"), &[]).unwrap()),
        ["inner/file"]
    );
}

#[test]
fn files_in_conflict_are_listed_once() {
    let dir = repository();
    let root = dir.path();
    let commit = |content: &str| {
        fs::write(root.join("file"), content).unwrap();
        git(root, &["add", "-A"]);
        git(root, &["commit", "-qm", content]);
    };
    commit("base");
    git(root, &["checkout", "-qb", "other"]);
    commit("theirs");
    git(root, &["checkout", "-q", "-"]);
    commit("ours");
    assert!(!git_output(root, &["merge", "-q", "other"]).status.success());
    let stages = git_output(root, &["ls-files", "--unmerged"]).stdout;
    assert_eq!(
        stages
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count(),
        3
    );
    assert_eq!(names(&workspace_files(root, &[]).unwrap()), ["file"]);
}

#[test]
fn a_snapshot_holds_content_modes_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, &["run.sh", "plain"]);
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("plain/../dangling", root.join("link")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let listed = [
        "run.sh",
        "plain",
        "link",
        "empty",
        "socket",
        "gone",
        "plain/below",
    ];
    let listed: Vec<PathBuf> = listed.into_iter().map(PathBuf::from).collect();
    let mut memo = DigestMemo::default();
    settle(&root.join("run.sh"));
    let snapshot = Snapshot::take(root, listed.clone(), &mut memo).unwrap();
    let content = root.join("plain").into_os_string().into_encoded_bytes();
    let plain = EntryKind::File {
        digest: Digest::of(&content),
        size: content.len() as u64,
        executable: false,
    };
    let entries = snapshot.manifest().entries();
    assert_eq!(
        entries[0],
        Entry {
            path: "empty".into(),
            kind: EntryKind::EmptyDir
        }
    );
    let target = "plain/../dangling".into();
    assert_eq!(
        entries[1],
        Entry {
            path: "link".into(),
            kind: EntryKind::Symlink { target }
        }
    );
    assert_eq!(
        entries[2],
        Entry {
            path: "plain".into(),
            kind: plain
        }
    );
    assert!(matches!(
        entries[3].kind,
        EntryKind::File { executable: true, .. }
    ));
    assert_eq!(entries.len(), 4);

    assert_eq!(memo.len(), 2);
    let again = Snapshot::take(root, listed, &mut memo).unwrap();
    assert_eq!(again.manifest(), snapshot.manifest());
}

#[test]
fn changes_are_found() {
    let dir = repository();
    let root = dir.path();
    write(
        root,
        &["same", "edited", "touched", "removed", "chmod", "was-file"],
    );
    symlink("same", root.join("relinked")).unwrap();
    settle(&root.join("was-file"));
    let snapshot = Snapshot::of_workspace(root, &["skip".into()], &mut DigestMemo::default()).unwrap();
    assert_eq!(snapshot.changes().unwrap(), [] as [PathBuf; 0]);

    fs::write(root.join("edited"), "new").unwrap();
    write(root, &["touched", "added", "skip/this"]);
    fs::remove_file(root.join("removed")).unwrap();
    fs::set_permissions(root.join("chmod"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(root.join("relinked")).unwrap();
    symlink("edited", root.join("relinked")).unwrap();
    fs::remove_file(root.join("was-file")).unwrap();
    write(root, &["was-file/now-below"]);
    let expected = [
        "added",
        "chmod",
        "edited",
        "relinked",
        "removed",
        "touched",
        "was-file",
        "was-file/now-below",
    ];
    assert_eq!(names(&snapshot.changes().unwrap()), expected);
}

#[test]
fn an_edit_within_the_tick_of_the_snapshot_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    for round in 0..50 {
        fs::write(&path, "old").unwrap();
        let snapshot = Snapshot::of_workspace(dir.path(), &[], &mut DigestMemo::default()).unwrap();
        assert!(snapshot.changes().unwrap().is_empty());
        fs::write(&path, "new").unwrap();
        assert_eq!(names(&snapshot.changes().unwrap()), ["file"], "round {round}");
    }
}
