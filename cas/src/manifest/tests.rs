use super::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use thresh_core::digest::Digest;

fn file(path: &str, content: &str) -> Entry {
    let kind = EntryKind::File {
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        executable: false,
    };
    Entry {
        path: path.into(),
        kind,
    }
}

fn sample() -> Vec<Entry> {
    let odd = PathBuf::from(OsStr::from_bytes(b"odd/\xff\nname \xc3\xa9"));
    let tool = EntryKind::File {
        digest: Digest::of(b"#!"),
        size: 2,
        executable: true,
    };
    vec![
        file("src/lib.rs", "code"),
        file("a-b", ""),
        Entry {
            path: "a/tool".into(),
            kind: tool,
        },
        Entry {
            path: odd,
            kind: EntryKind::Symlink {
                target: "../elsewhere".into(),
            },
        },
        Entry {
            path: "out".into(),
            kind: EntryKind::EmptyDir,
        },
    ]
}

#[test]
fn encoding_round_trips_and_does_not_depend_on_the_order_given() {
    let manifest = Manifest::new(sample()).unwrap();
    let parsed = Manifest::parse(&manifest.encode()).unwrap();
    assert_eq!(parsed, manifest);
    let mut reversed = sample();
    reversed.reverse();
    assert_eq!(Manifest::new(reversed).unwrap().digest(), manifest.digest());
    assert_eq!(manifest.digest(), Digest::of(&manifest.encode()));
    assert!(manifest.get(Path::new("a/tool")).is_some());
    assert_eq!(manifest.get(Path::new("a")), None);
    assert_eq!(
        Manifest::parse(&Manifest::default().encode()),
        Ok(Manifest::default())
    );
}

#[test]
fn the_encoding_stays_as_it_is() {
    let digest = Manifest::new(sample()).unwrap().digest().to_string();
    assert_eq!(
        digest,
        "a95e578637629f05c9a32e25f55b083a32983e05ab6d154d749902ecceaeb459"
    );
}

#[test]
fn every_prefix_and_every_flipped_byte_is_refused_or_a_valid_manifest() {
    let encoded = Manifest::new(sample()).unwrap().encode();
    for at in 0..encoded.len() {
        if let Ok(cut) = Manifest::parse(&encoded[..at]) {
            assert!(cut.entries().len() < 5, "cut at {at}");
        }
        for flip in [1, 0x80, 0xff] {
            let mut bad = encoded.clone();
            bad[at] ^= flip;
            if let Ok(other) = Manifest::parse(&bad) {
                assert_ne!(other.digest(), Digest::of(&encoded), "flipped byte {at}");
            }
        }
    }
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    let cases = [
        ("", PathDefect::Empty),
        ("/etc/passwd", PathDefect::Absolute),
        ("..", PathDefect::Parent),
        ("a/../../b", PathDefect::Parent),
        ("./a", PathDefect::NotNormal),
        ("a//b", PathDefect::NotNormal),
        ("a/", PathDefect::NotNormal),
        ("a\0b", PathDefect::Nul),
    ];
    for (path, defect) in cases {
        let expected = ManifestError::Path {
            path: path.into(),
            defect,
        };
        assert_eq!(Manifest::new(vec![file(path, "")]), Err(expected.clone()));
        assert_eq!(
            Manifest::parse(&encoding::encode(&[file(path, "")])),
            Err(expected)
        );
    }
    let harmless = ["..a", "a..", "a/.b", "...", "a b", "\n"];
    assert!(Manifest::new(harmless.map(|path| file(path, "")).into()).is_ok());
}

#[test]
fn paths_that_are_too_long_or_too_deep_are_refused() {
    let of = |names: usize, length: usize| vec!["d".repeat(length); names].join("/");
    for path in [of(1, 4_095), of(512, 1), of(512, 7)] {
        assert!(Manifest::new(vec![file(&path, "")]).is_ok());
    }
    let cases = [
        (of(1, 4_096), PathDefect::TooLong),
        (of(513, 1), PathDefect::TooDeep),
        (of(1_000_000, 1), PathDefect::TooLong),
    ];
    for (path, defect) in cases {
        let parsed = Manifest::parse(&encoding::encode(&[file(&path, "")]));
        let path = path.into();
        assert_eq!(parsed, Err(ManifestError::Path { path, defect }));
    }
}

#[test]
fn disorder_duplicates_and_entries_below_a_link_are_refused() {
    let parse = |entries: &[Entry]| Manifest::parse(&encoding::encode(entries));
    let twice = [file("a", "1"), file("a", "2")];
    assert_eq!(parse(&twice), Err(ManifestError::Duplicate { path: "a".into() }));
    assert_eq!(
        Manifest::new(twice.into()),
        Err(ManifestError::Duplicate { path: "a".into() })
    );
    assert_eq!(
        parse(&[file("b", ""), file("a", "")]),
        Err(ManifestError::Unsorted { path: "a".into() })
    );

    let link = Entry {
        path: "a".into(),
        kind: EntryKind::Symlink {
            target: "/etc".into(),
        },
    };
    let below = Err(ManifestError::Below {
        path: "a/x/passwd".into(),
        above: "a".into(),
    });
    assert_eq!(parse(&[link, file("a-b", ""), file("a/x/passwd", "")]), below);
    assert_eq!(parse(&[file("a", ""), file("a/x/passwd", "")]), below);
    let empty = Entry {
        path: "a".into(),
        kind: EntryKind::EmptyDir,
    };
    assert_eq!(parse(&[empty, file("a/x/passwd", "")]), below);
}

#[test]
fn foreign_bytes_are_refused_by_name() {
    assert_eq!(Manifest::parse(b""), Err(ManifestError::Header));
    assert_eq!(
        Manifest::parse(b"thresh manifest 2\n"),
        Err(ManifestError::Header)
    );
    let mut unknown = encoding::encode(&[file("a", "")]);
    unknown.push(b'?');
    assert_eq!(
        Manifest::parse(&unknown),
        Err(ManifestError::UnknownKind { index: 1, kind: b'?' })
    );
    let huge = [&encoding::encode(&[])[..], b"f\xff\xff\xff\xff"].concat();
    assert_eq!(Manifest::parse(&huge), Err(ManifestError::Truncated { index: 0 }));
    let link = |target: &str| Entry {
        path: "l".into(),
        kind: EntryKind::Symlink {
            target: target.into(),
        },
    };
    for target in ["", "a\0b"] {
        assert_eq!(
            Manifest::new(vec![link(target)]),
            Err(ManifestError::Target { path: "l".into() })
        );
    }
}

#[test]
fn a_diff_lists_every_difference_once() {
    let older = Manifest::new(vec![file("a", "1"), file("b", "1"), file("c", "1")]).unwrap();
    let mut tool = file("c", "1");
    tool.kind = EntryKind::File {
        digest: Digest::of(b"1"),
        size: 1,
        executable: true,
    };
    let newer = Manifest::new(vec![file("b", "1"), tool, file("d", "1"), file("e", "1")]).unwrap();
    let diff = Manifest::diff(&older, &newer);
    assert_eq!(diff.added, [Path::new("d"), Path::new("e")]);
    assert_eq!(diff.removed, [Path::new("a")]);
    assert_eq!(diff.changed, [Path::new("c")]);
    assert!(Manifest::diff(&newer, &newer).is_empty());
    assert_eq!(Manifest::diff(&newer, &older).added, [Path::new("a")]);
}

#[test]
fn a_tree_of_600_000_files_is_written_and_read() {
    let entries = (0..600_000u32).map(|number| {
        let kind = EntryKind::File {
            digest: Digest::of(&number.to_le_bytes()),
            size: number.into(),
            executable: false,
        };
        let path = format!("{}/{}/{number}", number % 7, number % 1000).into();
        Entry { path, kind }
    });
    let manifest = Manifest::new(entries.collect()).unwrap();
    let encoded = manifest.encode();
    assert_eq!(Manifest::parse(&encoded).unwrap(), manifest);
    assert!(encoded.len() < 64 << 20, "{} bytes", encoded.len());
}
