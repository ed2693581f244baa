use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use thresh_cas::DigestMemo;
use thresh_core::digest::Digest;
use thresh_core::observe::{Access, Contact, Entry, Kind, Observation, Stamp};

use super::*;

/// A folder with a file, a folder and a link, and a case that reads them.
struct Fixture {
    folder: tempfile::TempDir,
    memo: DigestMemo,
    programs: Programs,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "a").unwrap();
        fs::create_dir(folder.path().join("dir")).unwrap();
        fs::write(folder.path().join("dir/x"), "x").unwrap();
        symlink("a", folder.path().join("link")).unwrap();
        Self {
            folder,
            memo: DigestMemo::default(),
            programs: Programs::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn seen(&self, ways: &[(&str, Access)]) -> Observation {
        let mut observation = Observation::default();
        for (name, access) in ways {
            let path = self.path(name);
            let entry = Entry {
                accesses: [*access].into_iter().collect(),
                stamp: stamp(&path),
                names: (*access == Access::Listing).then(|| state::listing(&path).unwrap()),
                changed: false,
            };
            observation.entries.insert(path, entry);
        }
        observation
    }

    fn learn(&mut self, observation: &Observation) -> Learnt {
        self.learn_shipped(observation, None)
    }

    fn learn_shipped(&mut self, observation: &Observation, shipped: Option<&Shipped>) -> Learnt {
        learn(
            &BTreeMap::from([(7, observation.clone())]),
            &BTreeMap::new(),
            shipped,
            &self.programs,
            &mut self.memo,
        )
    }

    /// Learns what is seen now, and returns what tells whether that still holds.
    fn kept(&mut self, observation: &Observation) -> Kept {
        let learnt = self.learn(observation);
        assert!(learnt.unfit.is_empty(), "{learnt:?}");
        let digest = learnt.of_case[&7];
        let mut known = KnownInputs::default();
        known.add(digest);
        Kept {
            known: [(key(), known)].into(),
            records: [(
                digest,
                SeenInputs::decode(digest, &learnt.records[&digest], Place::Here).unwrap(),
            )]
            .into(),
        }
    }

    fn holds(&mut self, kept: &Kept) -> bool {
        kept.holding(&[Some(key())], &self.programs, &mut self.memo)[0].is_some()
    }
}

fn key() -> Digest {
    Digest::of(b"key")
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let kind = match metadata.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Folder,
        _ => Kind::Link,
    };
    Some(Stamp {
        kind,
        mode: metadata.permissions().mode() & 0o7777,
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        changed_ns: metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec(),
    })
}

#[test]
fn each_way_to_depend_on_a_path_tells_its_changes_and_no_others() {
    type Change = fn(&Fixture);
    let grow: Change = |at| fs::write(at.path("a"), "longer").unwrap();
    let add: Change = |at| fs::write(at.path("dir/y"), "y").unwrap();
    let retarget: Change = |at| {
        fs::remove_file(at.path("link")).unwrap();
        symlink("dir", at.path("link")).unwrap();
    };
    let appear: Change = |at| fs::write(at.path("gone"), "").unwrap();
    let lock: Change = |at| {
        fs::set_permissions(at.path("a"), fs::Permissions::from_mode(0o400)).unwrap();
    };
    let clear: Change = |at| fs::remove_dir_all(at.path("dir")).unwrap();
    let rows: [(&str, Access, Change, bool); 17] = [
        ("dir/new", Access::Replaced, clear, false),
        ("dir/new", Access::Absent, clear, false),
        ("a", Access::Content, grow, false),
        ("a", Access::Content, lock, false),
        ("a", Access::Content, add, true),
        ("a", Access::Executed, grow, false),
        ("a", Access::Metadata, grow, false),
        ("a", Access::Metadata, lock, false),
        ("dir", Access::Metadata, add, true),
        ("dir", Access::Listing, add, false),
        ("dir", Access::Listing, grow, true),
        ("link", Access::Link, retarget, false),
        ("link", Access::Link, grow, true),
        ("gone", Access::Absent, appear, false),
        ("gone", Access::Replaced, appear, false),
        ("a", Access::Replaced, lock, false),
        ("a", Access::Replaced, grow, true),
    ];
    for (name, access, change, holds) in rows {
        let mut fixture = Fixture::new();
        let kept = fixture.kept(&fixture.seen(&[(name, access)]));
        assert!(fixture.holds(&kept), "{name} {access:?}");
        change(&fixture);
        assert_eq!(fixture.holds(&kept), holds, "{name} {access:?}");
    }
}

#[test]
fn a_file_of_the_same_length_is_told_by_its_content() {
    let mut fixture = Fixture::new();
    let kept = fixture.kept(&fixture.seen(&[("a", Access::Content)]));
    fs::write(fixture.path("a"), "b").unwrap();
    assert!(!fixture.holds(&kept));
    let difference = Kept::different(
        kept.records.values().next().unwrap(),
        &fixture.programs,
        &mut fixture.memo,
    );
    assert!(
        difference.len() == 1 && difference[0].contains("content"),
        "{difference:?}"
    );
    fs::write(fixture.path("a"), "a").unwrap();
    assert!(fixture.holds(&kept), "it is as before");
}

#[test]
fn the_newest_of_several_passes_that_holds_is_found() {
    let mut fixture = Fixture::new();
    let seen = fixture.seen(&[("a", Access::Content)]);
    let mut kept = fixture.kept(&seen);
    let first = *kept.records.keys().next().unwrap();
    fs::write(fixture.path("a"), "other").unwrap();
    let other = fixture.kept(&fixture.seen(&[("a", Access::Content)]));
    let second = *other.records.keys().next().unwrap();
    kept.records.extend(other.records);
    kept.known.get_mut(&key()).unwrap().add(second);
    let found =
        |fixture: &mut Fixture| kept.holding(&[None, Some(key())], &fixture.programs, &mut fixture.memo);
    assert_eq!(found(&mut fixture), [None, Some(second)]);
    fs::write(fixture.path("a"), "a").unwrap();
    assert_eq!(found(&mut fixture), [None, Some(first)]);
}

#[test]
fn a_program_that_is_only_executed_counts_by_its_code() {
    let mut fixture = Fixture::new();
    let program = fixture.path("a");
    fixture.programs.insert(program.clone(), Digest::of(b"code"));
    let executed = fixture.kept(&fixture.seen(&[("a", Access::Executed)]));
    let read = fixture.kept(&fixture.seen(&[("a", Access::Content)]));
    fs::write(&program, "other debug information").unwrap();
    assert!(fixture.holds(&executed));
    assert!(!fixture.holds(&read));
    fixture.programs.insert(program, Digest::of(b"other code"));
    assert!(!fixture.holds(&executed));
}

#[test]
fn what_somebody_changed_meanwhile_is_not_learnt() {
    let mut fixture = Fixture::new();
    let seen = fixture.seen(&[("a", Access::Content)]);
    fs::write(fixture.path("a"), "changed").unwrap();
    let learnt = fixture.learn(&seen);
    assert!(learnt.of_case.is_empty());
    assert!(
        learnt.unfit.keys().next().unwrap().contains("changed meanwhile"),
        "{learnt:?}"
    );
}

#[test]
fn names_are_those_that_the_case_met_whatever_came_since() {
    let mut fixture = Fixture::new();
    let seen = fixture.seen(&[("dir", Access::Listing)]);
    fs::write(fixture.path("dir/later"), "").unwrap();
    let kept = fixture.kept(&seen);
    assert!(!fixture.holds(&kept), "nobody has tried it with the new file");
    fs::remove_file(fixture.path("dir/later")).unwrap();
    assert!(fixture.holds(&kept));
}

#[test]
fn what_the_case_changed_itself_is_learnt_as_it_was() {
    let mut fixture = Fixture::new();
    let mut seen = fixture.seen(&[
        ("a", Access::Metadata),
        ("made", Access::Absent),
        ("dir", Access::Listing),
    ]);
    seen.entries.values_mut().for_each(|entry| entry.changed = true);
    let dir = fixture.path("dir");
    let names = seen.entries.get_mut(&dir).unwrap().names.take();
    // Names cannot be told from a stamp, and not afterwards.
    assert!(fixture.learn(&seen).of_case.is_empty());
    seen.entries.get_mut(&dir).unwrap().names = names;
    fs::write(dir.join("left"), "").unwrap();
    fs::write(fixture.path("made"), "").unwrap();
    fs::write(fixture.path("a"), "longer").unwrap();
    let kept = fixture.kept(&seen);
    assert!(!fixture.holds(&kept));
    fs::remove_file(fixture.path("made")).unwrap();
    fs::remove_file(dir.join("left")).unwrap();
    fs::write(fixture.path("a"), "b").unwrap();
    assert!(fixture.holds(&kept), "length, absence and names are what counts");
}

#[test]
fn an_unfit_observation_says_why() {
    let mut fixture = Fixture::new();
    let mut seen = fixture.seen(&[]);
    seen.contacts.insert(Contact::Network, "10.0.0.1:80".to_owned());
    let learnt = fixture.learn(&seen);
    assert_eq!(learnt.unfit, [("it talked to 10.0.0.1:80".to_owned(), 1)].into());
}

#[test]
fn damaged_records_and_those_of_other_versions_are_none() {
    let mut fixture = Fixture::new();
    let learnt = fixture.learn(&fixture.seen(&[("a", Access::Content)]));
    let (digest, bytes) = learnt.records.first_key_value().unwrap();
    assert!(SeenInputs::decode(*digest, bytes, Place::Here).is_some());
    for length in 0..bytes.len() {
        assert!(
            SeenInputs::decode(*digest, &bytes[..length], Place::Here).is_none(),
            "{length}"
        );
    }
    assert!(SeenInputs::decode(key(), bytes, Place::Here).is_none());
    assert!(SeenInputs::decode(*digest, bytes, Place::Workers).is_none());
}

#[test]
fn what_a_worker_met_counts_where_it_is_what_is_here() {
    type Meet = fn(&mut Entry);
    let as_here: Meet = |_| {};
    let other_times: Meet = |entry| {
        let stamp = entry.stamp.as_mut().unwrap();
        (stamp.inode, stamp.modified_ns, stamp.changed_ns) = (1, 2, 3);
        stamp.mode = 0o444;
    };
    let nothing: Meet = |entry| entry.stamp = None;
    let lean: Meet = |entry| entry.stamp.as_mut().unwrap().size = 0;
    let other_names: Meet = |entry| entry.names = Some(key());
    let rows: [(&str, Access, Meet, bool); 10] = [
        ("a", Access::Content, as_here, true),
        ("a", Access::Content, other_times, true),
        ("a", Access::Metadata, nothing, false),
        ("a", Access::Content, lean, false),
        ("a", Access::Executed, lean, true),
        ("gone", Access::Absent, as_here, true),
        ("dir", Access::Listing, as_here, true),
        ("dir", Access::Listing, other_names, false),
        ("dir", Access::Metadata, other_names, true),
        ("link", Access::Link, as_here, true),
    ];
    for (name, access, meet, is_learnt) in rows {
        let mut fixture = Fixture::new();
        let mut seen = fixture.seen(&[(name, access)]);
        seen.entries.values_mut().for_each(meet);
        let mut shipped = Shipped {
            folders: vec![fixture.folder.path().to_owned()],
            ..Shipped::default()
        };
        let learnt = fixture.learn_shipped(&seen, Some(&shipped));
        assert_eq!(
            learnt.of_case.len(),
            usize::from(is_learnt),
            "{name} {access:?}: {learnt:?}"
        );
        if let Some((digest, bytes)) = learnt.records.first_key_value() {
            assert!(SeenInputs::decode(*digest, bytes, Place::Workers).is_some());
            assert!(SeenInputs::decode(*digest, bytes, Place::Here).is_none());
        }
        shipped.changed.insert(fixture.path(name));
        let changed = fixture.learn_shipped(&seen, Some(&shipped));
        assert!(changed.of_case.is_empty(), "{name} changed since");
        // The worker's own files do not count, unless they are files that count for the workspace.
        shipped.folders = vec![fixture.path("elsewhere")];
        assert_eq!(fixture.learn_shipped(&seen, Some(&shipped)).of_case.len(), 1);
        shipped.outside.insert(fixture.path(name).join("below"));
        assert!(fixture.learn_shipped(&seen, Some(&shipped)).of_case.is_empty());
    }
}
