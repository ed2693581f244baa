use std::path::Path;

use bazel_remote_apis::build::bazel::remote::execution::v2;
use prost::Message;

use super::*;
use crate::manifest::{Entry, EntryKind, Manifest};
use crate::packs::{BlobName, DigestFunction, PackError, PackStore};

const BOTH: [DigestFunction; 2] = [DigestFunction::Blake3, DigestFunction::Sha256];

struct Ground {
    store: PackStore,
    function: DigestFunction,
    _folder: tempfile::TempDir,
}

impl Ground {
    fn new(function: DigestFunction) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: PackStore::open(folder.path()).unwrap(),
            function,
            _folder: folder,
        }
    }

    fn put(&self, content: &[u8]) -> BlobName {
        let name = BlobName::of(self.function, content);
        self.store.ingest(&name, content).unwrap();
        name
    }

    fn folder(&self, folder: &v2::Directory) -> BlobName {
        self.put(&folder.encode_to_vec())
    }

    /// What is wrong with a root that has these entries.
    fn refused(&self, folder: &v2::Directory) -> String {
        expand(&self.store, &self.folder(folder)).unwrap_err().to_string()
    }
}

fn file(name: &str, content: &BlobName) -> v2::FileNode {
    v2::FileNode {
        name: name.into(),
        digest: Some(content.to_wire()),
        ..Default::default()
    }
}

fn folder(name: &str, content: &BlobName) -> v2::DirectoryNode {
    v2::DirectoryNode {
        name: name.into(),
        digest: Some(content.to_wire()),
    }
}

fn link(name: &str, target: &str) -> v2::SymlinkNode {
    v2::SymlinkNode {
        name: name.into(),
        target: target.into(),
        node_properties: None,
    }
}

#[test]
fn a_tree_is_the_same_after_there_and_back() {
    for function in BOTH {
        let ground = Ground::new(function);
        let entry = |path: &str, kind| Entry {
            path: path.into(),
            kind,
        };
        let content = |content: &[u8], executable| {
            let digest = ground.store.ingest(&ground.put(content), content).unwrap();
            EntryKind::File {
                digest,
                size: content.len() as u64,
                executable,
            }
        };
        let manifest = Manifest::new(vec![
            entry("a/b/tool", content(b"tool", true)),
            entry("a/b/data", content(b"", false)),
            entry("a.txt", content(b"text", false)),
            entry("empty/inner", EntryKind::EmptyDir),
            entry(
                "a/up",
                EntryKind::Symlink {
                    target: "../a.txt".into(),
                },
            ),
        ])
        .unwrap();
        let name_of = |digest: &_, _| ground.store.name(digest, function);
        let built = build::<PackError>(&manifest, function, name_of).unwrap();
        for message in built.tree.children.iter().chain(&built.tree.root) {
            ground.folder(message);
        }
        assert_eq!(expand(&ground.store, &built.root_name).unwrap(), manifest);
    }
}

#[test]
fn what_is_missing_is_named() {
    let ground = Ground::new(DigestFunction::Sha256);
    let gone = BlobName::of(DigestFunction::Sha256, b"gone");
    let unknown = BlobName::of(DigestFunction::Sha256, b"unknown");
    let root = ground.folder(&v2::Directory {
        files: vec![file("a", &gone), file("b", &gone)],
        directories: vec![folder("c", &unknown)],
        ..Default::default()
    });
    let Err(TreeError::Missing { mut missing, .. }) = expand(&ground.store, &root) else {
        panic!("they are not there");
    };
    missing.sort();
    let mut expected = [gone, unknown];
    expected.sort();
    assert_eq!(missing, expected);
    // A name with another length is another name.
    let mut longer = ground.put(b"here");
    longer.size += 1;
    let root = ground.folder(&v2::Directory {
        files: vec![file("a", &longer)],
        ..Default::default()
    });
    assert!(matches!(
        expand(&ground.store, &root),
        Err(TreeError::Missing { .. })
    ));
}

#[test]
fn names_that_are_none_are_refused() {
    let ground = Ground::new(DigestFunction::Blake3);
    let content = ground.put(b"x");
    for (name, why) in [
        ("..", "not the name"),
        (".", "not the name"),
        ("", "not the name"),
        ("/etc/passwd", "not the name"),
        ("a/b", "not the name"),
        ("a\0b", "not the name"),
    ] {
        let with_file = v2::Directory {
            files: vec![file(name, &content)],
            ..Default::default()
        };
        assert!(ground.refused(&with_file).contains(why), "{name:?}");
        let with_folder = v2::Directory {
            directories: vec![folder(name, &ground.folder(&v2::Directory::default()))],
            ..Default::default()
        };
        assert!(ground.refused(&with_folder).contains(why), "{name:?}");
    }
    let twice = v2::Directory {
        files: vec![file("a", &content)],
        symlinks: vec![link("a", "b")],
        ..Default::default()
    };
    assert!(ground.refused(&twice).contains("occurs twice"));
    let is_repeated = |folder: &v2::Directory| ground.refused(folder).contains("occurs twice");
    assert!(is_repeated(&v2::Directory {
        files: vec![file("a", &content), file("a", &content)],
        ..Default::default()
    }));
    assert!(is_repeated(&v2::Directory {
        files: vec![file("a", &content)],
        directories: vec![folder("a", &ground.folder(&v2::Directory::default()))],
        ..Default::default()
    }));
    let unsorted = v2::Directory {
        files: vec![file("b", &content), file("a", &content)],
        ..Default::default()
    };
    assert!(ground.refused(&unsorted).contains("not in order"));
    let nameless = v2::Directory {
        files: vec![v2::FileNode {
            name: "a".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    assert!(ground.refused(&nameless).contains("digest of `a` is missing"));
}

#[test]
fn links_stay_in_the_tree() {
    let ground = Ground::new(DigestFunction::Blake3);
    let inner = |target: &str| {
        let inner = ground.folder(&v2::Directory {
            symlinks: vec![link("link", target)],
            ..Default::default()
        });
        let root = v2::Directory {
            directories: vec![folder("inner", &inner)],
            ..Default::default()
        };
        expand(&ground.store, &ground.folder(&root))
    };
    for target in ["../a", "b/../../c", "."] {
        assert!(inner(target).is_ok(), "{target}");
    }
    for target in ["../../a", "/etc/passwd", "", "b/../../../c", "x\0"] {
        assert!(
            matches!(inner(target), Err(TreeError::Outside { .. })),
            "{target:?}"
        );
    }
}

#[test]
fn a_small_number_of_messages_does_not_unfold_without_end() {
    let ground = Ground::new(DigestFunction::Blake3);
    let doubled = |inner: &BlobName| v2::Directory {
        directories: vec![folder("a", inner), folder("b", inner)],
        ..Default::default()
    };
    let mut name = ground.folder(&v2::Directory {
        symlinks: vec![link("l", "m")],
        ..Default::default()
    });
    for _ in 0..40 {
        name = ground.folder(&doubled(&name));
    }
    assert!(matches!(
        expand::expand_within(&ground.store, &name, (10_000, usize::MAX)),
        Err(TreeError::TooLarge { .. })
    ));
    // Folders that are still to be read have their paths in memory, too.
    let absent = BlobName::of(name.function, b"not there");
    let names: Vec<String> = (0..1_000).map(|number| format!("folder-{number:04}")).collect();
    let wide = ground.folder(&v2::Directory {
        directories: names.iter().map(|name| folder(name, &absent)).collect(),
        ..Default::default()
    });
    assert!(matches!(
        expand::expand_within(&ground.store, &wide, (10_000, 10_000)),
        Err(TreeError::TooLarge { .. })
    ));
    let mut deep = ground.folder(&v2::Directory::default());
    for _ in 0..600 {
        deep = ground.folder(&v2::Directory {
            directories: vec![folder("d", &deep)],
            ..Default::default()
        });
    }
    assert!(matches!(
        expand(&ground.store, &deep),
        Err(TreeError::TooLarge { .. })
    ));
}

#[test]
fn messages_of_countless_entries_are_refused_before_they_are_read() {
    let ground = Ground::new(DigestFunction::Blake3);
    let empty = |tag: u8| [tag << 3 | 2, 0].repeat(300_000);
    // Files, folders, links.
    for tag in [1, 2, 3] {
        let error = expand(&ground.store, &ground.put(&empty(tag))).unwrap_err();
        assert!(matches!(error, TreeError::TooLarge { .. }), "{error}");
    }
    // Properties, of the folder and of a file in it.
    let properties = v2::NodeProperties {
        properties: vec![v2::NodeProperty::default(); 300_000],
        ..Default::default()
    };
    let of_file = v2::FileNode {
        node_properties: Some(properties.clone()),
        ..Default::default()
    };
    let folders = [
        v2::Directory {
            node_properties: Some(properties),
            ..Default::default()
        },
        v2::Directory {
            files: vec![of_file],
            ..Default::default()
        },
    ];
    for folder in folders {
        assert!(entries::entries(&folder.encode_to_vec()) > 300_000);
        assert!(ground.refused(&folder).contains("entries"));
        let tree = v2::Tree {
            root: Some(folder.clone()),
            children: vec![folder],
        };
        assert!(entries_of_tree(&tree.encode_to_vec()) > 600_000);
    }
    // Entries as they should be count as one.
    let file = file("a", &ground.put(b"x"));
    let folder = v2::Directory {
        files: vec![file; 3],
        ..Default::default()
    };
    assert_eq!(entries::entries(&folder.encode_to_vec()), 3);
    assert_eq!(entries::entries(b"\xff no message"), 0);
}

#[test]
fn folders_are_read_one_by_one_until_one_is_missing() {
    let ground = Ground::new(DigestFunction::Sha256);
    let leaf = ground.folder(&v2::Directory {
        symlinks: vec![link("l", "m")],
        ..Default::default()
    });
    let gone = BlobName::of(ground.function, b"gone");
    let root = v2::Directory {
        directories: vec![
            folder("a", &leaf),
            folder("b", &leaf),
            folder("c", &gone),
            folder("d", &leaf),
        ],
        ..Default::default()
    };
    let mut read = folders(&ground.store, &ground.folder(&root));
    assert_eq!(read.next().unwrap().unwrap(), root);
    assert_eq!(read.next().unwrap().unwrap().symlinks.len(), 1);
    assert!(matches!(read.next(), Some(Err(TreeError::Missing { .. }))));
    assert!(read.next().is_none());
}

#[test]
fn a_blob_that_is_no_folder_is_told() {
    let ground = Ground::new(DigestFunction::Sha256);
    let text = ground.put(b"\xffno message");
    let error = expand(&ground.store, &text).unwrap_err();
    assert!(error.to_string().contains("no Directory message"), "{error}");
}

#[test]
fn names_without_text_have_no_message() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let manifest = Manifest::new(vec![Entry {
        path: Path::new(OsStr::from_bytes(b"a/\xff")).to_owned(),
        kind: EntryKind::EmptyDir,
    }]);
    let built = build::<PackError>(&manifest.unwrap(), DigestFunction::Blake3, |digest, size| {
        Ok(BlobName::blake3(*digest, size))
    });
    assert!(built.unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn a_tree_of_600_000_files_is_read_and_written() {
    let ground = Ground::new(DigestFunction::Blake3);
    let nothing = BlobName::of(ground.function, b"");
    let files = (0..1_000).map(|number| file(&format!("{number:03}"), &nothing));
    let full = ground.folder(&v2::Directory {
        files: files.collect(),
        ..Default::default()
    });
    let level = |count: u32, inner: &BlobName| {
        let folders = (0..count).map(|number| folder(&format!("{number:02}"), inner));
        v2::Directory {
            directories: folders.collect(),
            ..Default::default()
        }
    };
    let middle = ground.folder(&level(20, &full));
    let root = ground.folder(&level(30, &middle));
    let manifest = expand(&ground.store, &root).unwrap();
    assert_eq!(manifest.entries().len(), 600_000);
    let name_of = |digest: &_, _| ground.store.name(digest, ground.function);
    let built = build::<PackError>(&manifest, ground.function, name_of).unwrap();
    assert_eq!(built.root_name, root);
    // Equal folders are one message.
    assert_eq!(built.tree.children.len(), 2);
}
