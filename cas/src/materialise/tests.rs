use super::*;
use crate::manifest::Entry;
use crate::memo::DigestMemo;
use crate::snapshot::{Snapshot, folder_files};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

struct Fixture {
    dir: tempfile::TempDir,
    store: BlobStore,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(&dir.path().join("blobs")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, path: &str, content: &[u8], executable: bool) -> Entry {
        let digest = self.store.put_bytes(content).unwrap();
        let kind = EntryKind::File {
            digest,
            size: content.len() as u64,
            executable,
        };
        Entry {
            path: path.into(),
            kind,
        }
    }

    /// What the folder holds besides the store.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name != "blobs");
        names.sort();
        names
    }
}

fn snapshot(root: &Path) -> Manifest {
    let files = folder_files(root).unwrap();
    Snapshot::take(root, files, &mut DigestMemo::default())
        .unwrap()
        .manifest()
        .clone()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_tree_is_what_its_manifest_says() {
    let fixture = Fixture::new();
    let link = EntryKind::Symlink {
        target: "../nowhere".into(),
    };
    let manifest = Manifest::new(vec![
        fixture.file("bin/tool", b"#!/bin/sh\necho ran\n", true),
        fixture.file("bin/same-but-plain", b"#!/bin/sh\necho ran\n", false),
        fixture.file("a/b/c/deep", b"deep", false),
        fixture.file("empty", b"", false),
        fixture.file("empty-too", b"", false),
        Entry {
            path: "a/link".into(),
            kind: link,
        },
        Entry {
            path: "out/dir".into(),
            kind: EntryKind::EmptyDir,
        },
    ])
    .unwrap();
    let tree = fixture.path("made/tree");
    let counts = materialise(&manifest, &fixture.store, &tree).unwrap();
    assert_eq!(
        counts,
        Materialised {
            files_linked: 5,
            files_copied: 0
        }
    );
    assert_eq!(snapshot(&tree), manifest);
    assert_eq!((mode(&tree), mode(&tree.join("a/b"))), (0o755, 0o755));
    assert_eq!(
        (
            mode(&tree.join("bin/tool")),
            mode(&tree.join("bin/same-but-plain"))
        ),
        (0o755, 0o644)
    );
    let output = std::process::Command::new(tree.join("bin/tool"))
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"ran\n");
    assert_eq!(fixture.names(), ["made"]);

    let error = materialise(&manifest, &fixture.store, &tree).unwrap_err();
    assert!(matches!(error, MaterialiseError::Exists { .. }), "{error}");
    assert_eq!(fs::read_dir(fixture.path("made")).unwrap().count(), 1);
}

#[test]
fn missing_and_damaged_blobs_are_listed_and_nothing_is_left() {
    let fixture = Fixture::new();
    let digest = |entry: &Entry| match entry.kind {
        EntryKind::File { digest, .. } => digest,
        _ => unreachable!("the fixture makes files"),
    };
    let sound = fixture.file("sound", b"sound", false);
    let damaged = fixture.file("damaged", b"damaged", false);
    let absent = Entry {
        path: "absent".into(),
        kind: EntryKind::File {
            digest: Digest::of(b"absent"),
            size: 6,
            executable: true,
        },
    };
    let blob = fixture.store.path_verified(&digest(&damaged)).unwrap();
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    File::options()
        .write(true)
        .open(&blob)
        .unwrap()
        .write_all(b"D")
        .unwrap();

    let mut expected = vec![digest(&damaged), digest(&absent)];
    expected.sort();
    let manifest = Manifest::new(vec![sound, damaged, absent]).unwrap();
    let error = materialise(&manifest, &fixture.store, &fixture.path("tree")).unwrap_err();
    assert!(error.to_string().contains("2 blobs are missing"), "{error}");
    assert!(matches!(error, MaterialiseError::Missing { digests, .. } if digests == expected));
    assert_eq!(fixture.names(), [] as [&str; 0]);

    fixture.store.put_bytes(b"damaged").unwrap();
    fixture.store.put_bytes(b"absent").unwrap();
    materialise(&manifest, &fixture.store, &fixture.path("tree")).unwrap();
    assert_eq!(snapshot(&fixture.path("tree")), manifest);
}

#[test]
fn a_write_through_a_tree_is_found_in_the_store() {
    let fixture = Fixture::new();
    let manifest = Manifest::new(vec![fixture.file("file", b"content", false)]).unwrap();
    materialise(&manifest, &fixture.store, &fixture.path("one")).unwrap();
    materialise(&manifest, &fixture.store, &fixture.path("two")).unwrap();
    let file = fixture.path("one/file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, "CONTENT").unwrap();
    let error = materialise(&manifest, &fixture.store, &fixture.path("three")).unwrap_err();
    assert!(matches!(error, MaterialiseError::Missing { .. }), "{error}");
}

#[test]
fn another_device_gets_copies() {
    let fixture = Fixture::new();
    let other = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if !other.is_dir() || device(other) == device(fixture.dir.path()) {
        return;
    }
    let entries = vec![
        fixture.file("tool", b"#!", true),
        fixture.file("plain", b"", false),
    ];
    let manifest = Manifest::new(entries).unwrap();
    let there = tempfile::tempdir_in(other).unwrap();
    let tree = there.path().join("tree");
    let counts = materialise(&manifest, &fixture.store, &tree).unwrap();
    assert_eq!(
        counts,
        Materialised {
            files_linked: 0,
            files_copied: 2
        }
    );
    assert_eq!(snapshot(&tree), manifest);
    assert_eq!(
        (mode(&tree.join("tool")), mode(&tree.join("plain"))),
        (0o755, 0o644)
    );
}

#[test]
fn six_hundred_thousand_files() {
    let fixture = Fixture::new();
    let contents: Vec<Vec<u8>> = (0..500_u32).map(|i| i.to_le_bytes().to_vec()).collect();
    let entries = (0..600_000).map(|i| {
        let path = format!("dir{}/sub{}/file{i}", i % 7, i % 101);
        fixture.file(&path, &contents[i % 500], i % 50 == 0)
    });
    let manifest = Manifest::new(entries.collect()).unwrap();
    let tree = fixture.path("tree");
    let counts = materialise(&manifest, &fixture.store, &tree).unwrap();
    assert_eq!(counts.files_linked, 600_000);
    assert_eq!(snapshot(&tree), manifest);
}

#[test]
fn a_tree_whose_files_have_changed_is_not_intact() {
    let fixture = Fixture::new();
    let file = fixture.file("a/file", b"sound", false);
    let manifest = Manifest::new(vec![file, fixture.file("tool", b"run", true)]).unwrap();
    let tree = fixture.path("tree");
    materialise(&manifest, &fixture.store, &tree).unwrap();
    assert!(is_intact(&tree, &manifest, &fixture.store));
    let damaged = tree.join("a/file");
    fs::set_permissions(&damaged, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&damaged, "other").unwrap();
    assert!(!is_intact(&tree, &manifest, &fixture.store));
    // A sound blob in its place does not mend the tree.
    fixture.store.put_bytes(b"sound").unwrap();
    assert!(!is_intact(&tree, &manifest, &fixture.store));
    let again = fixture.path("again");
    materialise(&manifest, &fixture.store, &again).unwrap();
    assert!(is_intact(&again, &manifest, &fixture.store));
    // Blobs may go while a tree stays.
    fixture.store.trim(0, &|_| false).unwrap();
    assert!(is_intact(&again, &manifest, &fixture.store));
}
