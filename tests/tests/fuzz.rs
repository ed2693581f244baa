//! Every parser of bytes that come from elsewhere, fed with valid bytes that were tampered with: each either refuses
//! them or gives something that is written as it was read, and none panics.
//!
//! Here each target runs for a fixed number of inputs. `cargo bolero test -p thresh-tests TARGET` searches on, led by
//! what is reached. Parsers that only their own crate reaches are fed there: see [`thresh_proto::testing`].

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2::{
    Directory, FileNode, NodeProperties, NodeProperty, SymlinkNode, Tree,
};
use prost::Message;
use thresh_cas::{
    BlobName, DigestFunction, Entry, EntryKind, FrameError, Manifest, PackReader, PackStore, build,
    chunk_of_record, decode_recipe, encode_recipe, entries_of_tree, expand, pack, pack_against, unpack,
};
use thresh_client::project::ProjectConfig;
use thresh_core::chunk::{Frame, Part, Recipe};
use thresh_core::digest::Digest;
use thresh_core::id::{CaseIndex, RunId};
use thresh_core::observe::{Access, Contact, Fact, Kind, Observation, Stamp, UnobservableKind};
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;
use thresh_proto::convert::{
    QUARANTINE_MAX, audited_from_wire, audited_to_wire, bases_from_wire, case_name_from_wire,
    digests_from_wire, frame_from_wire, frame_to_wire, group_from_wire, key_parts_from_wire,
    leak_timeout_from_wire, observation_from_wire, observation_to_wire, outcome_from_wire,
    past_run_from_wire, quarantine_from_wire, recipe_from_wire, recipe_to_wire, retries_from_wire,
    run_id_from_wire, slow_timeout_from_wire, stop_reason_from_wire, tally_from_wire, tally_to_wire,
};
use thresh_proto::testing::{Tampering, tampered};
use thresh_proto::v1;

const INPUTS: usize = 20_000;

fn fuzz(valid: &[u8], parse: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    fuzz_some(INPUTS, valid, parse);
}

fn fuzz_some(inputs: usize, valid: &[u8], parse: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    parse(valid);
    bolero::check!()
        .with_type::<Tampering>()
        .with_iterations(inputs)
        .for_each(|tampering| parse(&tampered(valid, tampering)));
}

fn noise(length: usize) -> Vec<u8> {
    let blocks = (0..length.div_ceil(32)).map(|number| *Digest::of(&number.to_le_bytes()).as_bytes());
    blocks.flatten().take(length).collect()
}

#[test]
fn manifests() {
    let digest = Digest::of(b"content");
    let kinds = [
        EntryKind::File {
            digest,
            size: 7,
            executable: true,
        },
        EntryKind::OnDemand {
            digest,
            size: 1 << 40,
        },
        EntryKind::Symlink {
            target: "../elsewhere".into(),
        },
        EntryKind::EmptyDir,
    ];
    let entries = kinds.into_iter().zip(["a/b", "a/c", "a/d", "e"]);
    let entries = entries.map(|(kind, path)| Entry {
        path: path.into(),
        kind,
    });
    let manifest = Manifest::new(entries.collect()).unwrap();
    fuzz(&manifest.encode(), |bytes| {
        if let Ok(manifest) = Manifest::parse(bytes) {
            assert_eq!(manifest.encode(), bytes);
            for entry in manifest.entries() {
                let mut components = entry.path.components();
                assert!(components.all(|part| matches!(part, std::path::Component::Normal(_))));
            }
        }
    });
}

#[test]
fn recipes() {
    let parts = (1..9u32).map(|size| Part {
        digest: Digest::of(&size.to_le_bytes()),
        size: size << 12,
    });
    let recipe = Recipe::new(parts.collect())
        .unwrap()
        .with_base(Some(Digest::of(b"base")));
    fuzz(&encode_recipe(&recipe), |bytes| {
        if let Ok(recipe) = decode_recipe(bytes) {
            assert_eq!(encode_recipe(&recipe), bytes);
        }
    });
    fuzz(&recipe_to_wire(&recipe).encode_to_vec(), |bytes| {
        let decoded = v1::Recipe::decode(bytes).ok();
        if let Some(Ok(recipe)) = decoded.map(|recipe| recipe_from_wire(&recipe)) {
            assert_eq!(recipe_from_wire(&recipe_to_wire(&recipe)).unwrap(), recipe);
        }
    });
}

#[test]
fn frames() {
    let base = noise(20_000);
    let content = [&base[..9000], b"put in", &base[9000..]].concat();
    let alone = pack(Digest::of(&content), &content);
    let bases = vec![Digest::of(&base)];
    let against = pack_against(Digest::of(&content), &content, bases, &base);
    for (frame, base) in [(alone, &[][..]), (against, &base[..])] {
        fuzz(&frame_to_wire(frame).encode_to_vec(), |bytes| {
            let decoded = v1::Frame::decode(bytes).ok();
            if let Some(Ok(frame)) = decoded.map(frame_from_wire)
                && let Ok(content) = unpack(&frame, base)
            {
                assert_eq!(Digest::of(&content), frame.digest);
            }
        });
    }
}

/// Patches themselves: what is done to a compressed one hardly ever comes to who reads it.
#[test]
fn patches() {
    let base = noise(5_000);
    // Literals, and corrections of which some are the same.
    let mut content = [&base[2_000..], b"between", &base[..3_000]].concat();
    for (number, at) in (0..content.len()).step_by(90).enumerate() {
        content[at] ^= 1 << (number % 3);
    }
    let digest = Digest::of(&content);
    let frame = pack_against(digest, &content, vec![Digest::of(&base)], &base);
    assert!(!frame.bases.is_empty());
    let patch = zstd::bulk::decompress(&frame.data, content.len()).unwrap();
    fuzz(&patch, |bytes| {
        let data = zstd::bulk::compress(bytes, 1).unwrap();
        match unpack(
            &Frame {
                data,
                ..frame.clone()
            },
            &base,
        ) {
            Ok(made) => assert_eq!(made, content),
            Err(FrameError::WrongDigest { expected, .. }) => assert_eq!(expected, digest),
            // It makes as many bytes as were announced, or none.
            Err(FrameError::Data { cause, .. }) => {
                let is_long = bytes.len() > content.len();
                assert!(is_long || cause == "it is no patch of its bases", "{cause}");
            }
            Err(other) => panic!("{other}"),
        }
    });
    // What it makes is as long as what is announced, whatever that is.
    for size in [0, 1, frame.size - 1, frame.size + 1] {
        let other = Frame {
            size,
            ..frame.clone()
        };
        assert!(matches!(unpack(&other, &base), Err(FrameError::Data { .. })));
    }
}

/// A pack that somebody else keeps.
#[derive(Debug)]
struct Kept(Vec<u8>);

impl PackReader for Kept {
    fn read_exact_at(&self, _: &Digest, into: &mut [u8], offset: u64) -> std::io::Result<()> {
        let begin = usize::try_from(offset).map_err(std::io::Error::other)?;
        let part = begin
            .checked_add(into.len())
            .and_then(|end| self.0.get(begin..end));
        into.copy_from_slice(part.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[test]
fn packs() {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let store = PackStore::open(folder.path()).unwrap();
    let contents: Vec<Vec<u8>> = (1..5).map(|number| noise(number * 100)).collect();
    let digests: Vec<Digest> = contents.iter().map(|content| Digest::of(content)).collect();
    for (digest, content) in digests.iter().zip(&contents) {
        store.put(&pack(*digest, content)).unwrap();
    }
    store.seal_all().unwrap();
    let sealed = store.sealed().remove(0);
    let mut valid = vec![0; usize::try_from(sealed.bytes).unwrap()];
    sealed.file.read_exact_at(&mut valid, 0).unwrap();
    let place = store.place_of(&digests[0], &[]).unwrap();
    // Each opens a folder.
    fuzz_some(INPUTS / 40, &valid, |bytes| {
        let kept = Arc::new(Kept(bytes.to_vec()));
        let store = PackStore::open(other.path()).unwrap();
        if store
            .attach(sealed.name, bytes.len() as u64, kept)
            .unwrap_or(false)
        {
            for (digest, content) in digests.iter().zip(&contents) {
                assert!(store.chunk(digest).is_ok_and(|read| read == *content) || !store.contains(digest));
            }
        }
        let begin = usize::try_from(place.offset).unwrap().min(bytes.len());
        let _ = chunk_of_record(bytes[begin..].to_vec(), digests[0], &[]);
    });
}

#[test]
fn messages() {
    let digest = Digest::of(b"content").as_bytes().to_vec();
    let submission = v1::RunHeader {
        run_id: vec![7; 16].into(),
        groups: vec![v1::TestGroup {
            name: "group".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    fuzz(&submission.encode_to_vec(), |bytes| {
        if let Ok(header) = v1::RunHeader::decode(bytes) {
            let _ = run_id_from_wire(&header.run_id);
            header
                .groups
                .iter()
                .for_each(|group| drop(group_from_wire(group)));
            for settings in header.settings {
                let _ = (
                    retries_from_wire(settings.retries),
                    slow_timeout_from_wire(settings.slow_timeout),
                    leak_timeout_from_wire(settings.leak_timeout),
                );
            }
        }
    });
    let attempt = v1::AttemptEnded {
        outcome: Some(thresh_proto::convert::outcome_to_wire(
            &thresh_core::outcome::Outcome::TimedOut { passes: true },
        )),
        ..Default::default()
    };
    fuzz(&attempt.encode_to_vec(), |bytes| {
        if let Ok(attempt) = v1::AttemptEnded::decode(bytes)
            && let Ok(outcome) = outcome_from_wire(attempt.outcome.as_ref())
        {
            let again = thresh_proto::convert::outcome_to_wire(&outcome);
            assert_eq!(outcome_from_wire(Some(&again)).unwrap(), outcome);
        }
    });
    let wanted = v1::Wanted {
        digest: digest.clone().into(),
        bases: vec![digest.clone().into(); 3],
    };
    fuzz(&wanted.encode_to_vec(), |bytes| {
        if let Ok(wanted) = v1::Wanted::decode(bytes) {
            let _ = (
                bases_from_wire("bases", &wanted.bases),
                digests_from_wire("digest", &[wanted.digest]),
            );
        }
    });
    let pass = v1::LastPass {
        found: true,
        run_id: vec![7; 16].into(),
        parts: Some(v1::KeyParts::default()),
        ..Default::default()
    };
    fuzz(&pass.encode_to_vec(), |bytes| {
        if let Ok(pass) = v1::LastPass::decode(bytes) {
            let _ = key_parts_from_wire(&pass.parts.unwrap_or_default());
        }
    });
    let name = v1::CaseName {
        binary_id: "package::binary".into(),
        name: "module::case".into(),
    };
    fuzz(&name.encode_to_vec(), |bytes| {
        let _ = case_name_from_wire(v1::CaseName::decode(bytes).ok());
        let _ = stop_reason_from_wire(i32::from(bytes.first().copied().unwrap_or_default()));
    });
}

#[test]
fn project_files() {
    let valid = "project = 'p'\n[farm]\nurl = 'http://farm:8980'\nshared-target = true\n[env]\npass = ['A_*']\n[run]\nslots = 3\n";
    fuzz(valid.as_bytes(), |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = ProjectConfig::parse(Path::new("thresh.toml"), text);
        }
    });
}

#[test]
fn folders_of_input_roots() {
    let ground = tempfile::tempdir().unwrap();
    let store = PackStore::open(ground.path()).unwrap();
    let file = BlobName::of(DigestFunction::Sha256, b"content");
    store.ingest(&file, &b"content"[..]).unwrap();
    let folder = Directory {
        files: vec![FileNode {
            name: "file".to_owned(),
            digest: Some(file.to_wire()),
            ..FileNode::default()
        }],
        symlinks: vec![SymlinkNode {
            name: "link".to_owned(),
            target: "./file".to_owned(),
            node_properties: None,
        }],
        ..Directory::default()
    };
    let store = std::sync::Mutex::new(store);
    fuzz(&folder.encode_to_vec(), |bytes| {
        let store = store.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = BlobName::of(DigestFunction::Sha256, bytes);
        store.ingest(&name, bytes).unwrap();
        if let Ok(manifest) = expand(&store, &name) {
            let name_of = |digest: &Digest, _| store.name(digest, DigestFunction::Sha256);
            let built = build(&manifest, DigestFunction::Sha256, name_of).unwrap();
            for folder in built.tree.children.iter().chain(&built.tree.root) {
                let content = folder.encode_to_vec();
                let name = BlobName::of(DigestFunction::Sha256, &content);
                store.ingest(&name, &content[..]).unwrap();
            }
            assert_eq!(expand(&store, &built.root_name).unwrap(), manifest);
        }
    });
}

/// A file with properties, in a folder with some.
fn folder_with_properties() -> Directory {
    let property = NodeProperty {
        name: "name".to_owned(),
        value: "value".to_owned(),
    };
    let properties = NodeProperties {
        properties: vec![property; 2],
        ..NodeProperties::default()
    };
    Directory {
        files: vec![FileNode {
            name: "file".to_owned(),
            digest: Some(BlobName::of(DigestFunction::Sha256, b"content").to_wire()),
            node_properties: Some(properties.clone()),
            ..FileNode::default()
        }],
        node_properties: Some(properties),
        ..Directory::default()
    }
}

#[test]
fn trees_of_outputs() {
    let tree = Tree {
        root: Some(folder_with_properties()),
        children: vec![folder_with_properties()],
    };
    fuzz(&tree.encode_to_vec(), |bytes| {
        let counted = entries_of_tree(bytes);
        let Ok(tree) = Tree::decode(bytes) else { return };
        // What takes memory was counted before.
        let properties =
            |found: &Option<NodeProperties>| found.as_ref().map_or(0, |found| found.properties.len());
        let of_folder = |folder: &Directory| {
            let files = folder
                .files
                .iter()
                .map(|file| 1 + properties(&file.node_properties));
            let links = folder
                .symlinks
                .iter()
                .map(|link| 1 + properties(&link.node_properties));
            let inner = files.chain(links).sum::<usize>() + folder.directories.len();
            1 + inner + properties(&folder.node_properties)
        };
        let found: usize = tree.root.iter().chain(&tree.children).map(of_folder).sum();
        assert!(found <= counted, "{found} are there, {counted} were counted");
    });
}

/// What a case was seen to depend on: of everything something.
fn observation() -> Observation {
    let stamp = Stamp {
        kind: Kind::File,
        mode: 0o644,
        device: 1,
        inode: 2,
        size: 3,
        modified_ns: -4,
        changed_ns: 5,
    };
    let seen = |accesses: &[Access], stamp, names| thresh_core::observe::Entry {
        accesses: accesses.iter().copied().collect(),
        stamp,
        changed: false,
        names,
    };
    let names = Some(Digest::of(b"names"));
    let entries = [
        (
            "/w/file",
            seen(&[Access::Content, Access::Metadata], Some(stamp), None),
        ),
        ("/w/folder", seen(&[Access::Listing], None, names)),
        ("/w/gone", seen(&[Access::Absent], None, None)),
    ];
    Observation {
        entries: entries.map(|(path, seen)| (path.into(), seen)).into(),
        facts: [(Fact::Memory, "/proc/meminfo".to_owned())].into(),
        contacts: [(Contact::Network, "10.0.0.1:80".to_owned())].into(),
        ..Observation::unobservable(UnobservableKind::Call, "mount")
    }
}

#[test]
fn observations() {
    let valid = observation_to_wire(&observation());
    assert_eq!(observation_from_wire(&valid), Ok(observation()));
    fuzz(&valid.encode_to_vec(), |bytes| {
        let decoded = v1::Observation::decode(bytes).ok();
        if let Some(Ok(observed)) = decoded.map(|wire| observation_from_wire(&wire)) {
            for path in observed.entries.keys() {
                let mut inner = path.components().skip(1);
                assert!(path.is_absolute());
                assert!(inner.all(|part| matches!(part, std::path::Component::Normal(_))));
            }
            assert_eq!(
                observation_from_wire(&observation_to_wire(&observed)),
                Ok(observed)
            );
        }
    });
}

#[test]
fn tallies() {
    let tally = Tally {
        planned: 21,
        passed: 1,
        reused: 2,
        flaky: 3,
        failed: 4,
        quarantined: 5,
        not_run: 6,
    };
    let read = |bytes: &[u8]| tally_from_wire(v1::Tally::decode(bytes).ok()).ok();
    let valid = tally_to_wire(&tally).encode_to_vec();
    assert_eq!(read(&valid), Some(tally));
    fuzz(&valid, |bytes| {
        if let Some(tally) = read(bytes) {
            let counted = [tally.passed, tally.reused, tally.flaky, tally.failed];
            let counted = counted.iter().chain([&tally.quarantined, &tally.not_run]);
            assert!(counted.map(|count| u64::from(*count)).sum::<u64>() <= tally.planned.into());
            assert_eq!(read(&tally_to_wire(&tally).encode_to_vec()), Some(tally));
        }
    });
}

#[test]
fn audited_cases() {
    let audited = (CaseIndex(3), Some(RunId::from_u128(7)));
    let read = |bytes: &[u8]| audited_from_wire(&v1::AuditedCase::decode(bytes).ok()?).ok();
    let valid = audited_to_wire(audited.0, audited.1).encode_to_vec();
    assert_eq!(read(&valid), Some(audited));
    fuzz(&valid, |bytes| {
        if let Some((case, past_run)) = read(bytes) {
            let again = audited_to_wire(case, past_run);
            assert_eq!(past_run_from_wire(&again.past_run), Ok(past_run));
            assert_eq!(audited_from_wire(&again), Ok((case, past_run)));
        }
    });
}

#[test]
fn quarantines() {
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let until = now.after(std::time::Duration::from_secs(24 * 60 * 60));
    let case = v1::NewQuarantine {
        case: Some(v1::CaseName {
            binary_id: "package::binary".into(),
            name: "module::case".into(),
        }),
        owner: "alice".into(),
        reason: "flaky".into(),
        until_micros: until.as_micros(),
    };
    let read = |bytes: &[u8]| {
        let case = v1::NewQuarantine::decode(bytes).ok()?;
        let until = quarantine_from_wire(&case, now).ok()?;
        Some((until, case.owner, case_name_from_wire(case.case).ok()?))
    };
    let valid = case.encode_to_vec();
    assert_eq!(read(&valid).map(|(until, ..)| until), Some(until));
    fuzz(&valid, |bytes| {
        if let Some((until, owner, (binary, name))) = read(bytes) {
            // The clocks may differ by an hour.
            let longest = QUARANTINE_MAX + std::time::Duration::from_secs(60 * 60);
            assert!(until > now && until.since(now) <= longest);
            for text in [owner, binary, name] {
                assert!(!text.is_empty() && !text.contains('\0'));
            }
        }
    });
}
