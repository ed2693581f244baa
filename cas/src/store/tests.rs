use super::*;
use crate::chunk::Cutter;
use crate::stamp::FileStamp;
use crate::testing::noise;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;
use thresh_core::chunk::Recipe;
use thresh_core::digest::Digest;

fn store() -> (tempfile::TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(&dir.path().join("blobs")).unwrap();
    (dir, store)
}

fn files(store: &BlobStore) -> usize {
    walkdir::WalkDir::new(&store.inner.dir)
        .into_iter()
        .filter(|e| e.as_ref().unwrap().file_type().is_file())
        .count()
}

/// Changes a byte in place and hides it as well as a program can: same inode, size and modification time.
fn corrupt(path: &Path) {
    let before = fs::metadata(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut content = fs::read(path).unwrap();
    content[0] ^= 1;
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(&content).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    fs::set_permissions(path, before.permissions()).unwrap();
    assert_eq!(fs::metadata(path).unwrap().ino(), before.ino());
}

/// Waits until the clock that stamps inodes has moved on, so that a change made now shows in the ctime.
fn next_tick(path: &Path) {
    let before = FileStamp::of(path).unwrap().ctime_ns;
    let probe = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
    while FileStamp::of(probe.path()).unwrap().ctime_ns <= before {
        probe
            .as_file()
            .set_permissions(fs::Permissions::from_mode(0o600))
            .unwrap();
    }
}

#[test]
fn what_was_put_can_be_read() {
    let (_dir, store) = store();
    for size in [
        0,
        1,
        READ_BYTES_MAX - 1,
        READ_BYTES_MAX,
        READ_BYTES_MAX + 1,
        3 * READ_BYTES_MAX,
    ] {
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let digest = Digest::of(&content);
        assert!(matches!(store.reader(&digest), Err(StoreError::Missing { .. })));
        let mut writer = store.writer(digest, size as u64).unwrap();
        for chunk in content.chunks(300_000) {
            writer.write(chunk).unwrap();
        }
        assert!(!store.contains(&digest), "not visible before it is committed");
        writer.commit().unwrap();
        assert!(store.contains(&digest));
        let mut reader = store.reader(&digest).unwrap();
        assert_eq!(reader.size(), size as u64);
        let mut read = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            assert!(!chunk.is_empty() && chunk.len() <= READ_BYTES_MAX);
            read.extend(chunk);
        }
        assert_eq!(reader.next_chunk().unwrap(), None);
        assert!(read == content);
        let mode = fs::metadata(store.path_verified(&digest).unwrap())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}

#[test]
fn a_wrong_or_unfinished_upload_leaves_nothing() {
    let (_dir, store) = store();
    let digest = Digest::of(b"right");

    let mut wrong = store.writer(digest, 5).unwrap();
    wrong.write(b"wrong").unwrap();
    let error = wrong.commit().unwrap_err();
    assert!(
        matches!(error, StoreError::WrongDigest { expected, .. } if expected == digest),
        "{error}"
    );

    let mut short = store.writer(digest, 5).unwrap();
    short.write(b"righ").unwrap();
    assert!(matches!(
        short.commit(),
        Err(StoreError::WrongSize {
            expected: 5,
            actual: 4,
            ..
        })
    ));

    let mut long = store.writer(digest, 5).unwrap();
    long.write(b"right").unwrap();
    assert!(matches!(
        long.write(b"!"),
        Err(StoreError::WrongSize {
            expected: 5,
            actual: 6,
            ..
        })
    ));
    drop(long);

    let mut dropped = store.writer(digest, 5).unwrap();
    dropped.write(b"right").unwrap();
    drop(dropped);

    assert_eq!(files(&store), 0);
    assert_eq!(store.find_missing(&[digest]), [digest]);
}

#[test]
fn damage_is_found_by_the_reader() {
    let (_dir, store) = store();
    let content = vec![1; READ_BYTES_MAX * 2];
    let digest = store.put_bytes(&content).unwrap();
    corrupt(&store.path(&digest, Variant::Plain));
    let error = store.reader(&digest).unwrap().read_all().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(!store.contains(&digest));
    assert_eq!(store.put_bytes(&content).unwrap(), digest);
    assert!(store.reader(&digest).unwrap().read_all().unwrap() == content);
}

#[test]
fn a_truncated_blob_is_found_damaged() {
    let (_dir, store) = store();
    let digest = store.put_bytes(b"content").unwrap();
    let path = store.path(&digest, Variant::Plain);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(3)
        .unwrap();
    assert!(matches!(
        store.path_verified(&digest),
        Err(StoreError::Damaged { .. })
    ));
    assert!(matches!(
        store.path_verified(&digest),
        Err(StoreError::Missing { .. })
    ));
}

#[test]
fn damage_is_found_before_a_blob_is_used_as_a_file() {
    let (_dir, store) = store();
    for executable in [false, true] {
        let digest = store.put_bytes(b"#!/bin/sh\n").unwrap();
        let variant = Variant::of(executable);
        let path = store.verified_as(&digest, variant).unwrap();
        assert_eq!(store.verified_as(&digest, variant).unwrap(), path);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, if executable { 0o755 } else { 0o644 });
        next_tick(&path);
        corrupt(&path);
        if executable {
            let healed = store.executable_verified(&digest).unwrap();
            assert_eq!(fs::read(healed).unwrap(), b"#!/bin/sh\n");
        } else {
            assert!(matches!(
                store.path_verified(&digest),
                Err(StoreError::Damaged { .. })
            ));
            assert!(!path.exists());
        }
    }
}

#[test]
fn damage_done_before_the_process_started_is_found() {
    let (_dir, store) = store();
    let digest = store.put_bytes(b"content").unwrap();
    corrupt(&store.path(&digest, Variant::Plain));
    let again = BlobStore::open(&store.inner.dir).unwrap();
    assert!(matches!(
        again.executable_verified(&digest),
        Err(StoreError::Damaged { .. })
    ));
    assert_eq!(files(&store), 0);
}

#[test]
fn a_write_right_after_the_commit_is_found() {
    let (_dir, store) = store();
    for round in 0..100_u32 {
        let digest = store.put_bytes(&round.to_le_bytes()).unwrap();
        let path = store.path_verified(&digest).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, (!round).to_le_bytes()).unwrap();
        assert!(
            matches!(store.path_verified(&digest), Err(StoreError::Damaged { .. })),
            "round {round}"
        );
    }
}

#[test]
fn two_stores_put_the_same_blob_at_once() {
    let (_dir, store) = store();
    let content = vec![3; 500_000];
    let digest = Digest::of(&content);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let other = BlobStore::open(&store.inner.dir).unwrap();
            let content = &content;
            scope.spawn(move || {
                let mut writer = other.writer(digest, content.len() as u64).unwrap();
                writer.write(content).unwrap();
                writer.commit().unwrap();
                other.executable_verified(&digest).unwrap();
                assert!(other.reader(&digest).unwrap().read_all().unwrap() == *content);
            });
        }
    });
    assert_eq!(files(&store), 2);
}

#[test]
fn leftovers_of_killed_writers_are_removed() {
    let (_dir, store) = store();
    let make = |name: &str, age_s: u64| {
        let path = store.inner.tmp.join(name);
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age_s))
            .unwrap();
        (path, file)
    };
    let (dead, _) = make("dead", 4000);
    let (fresh, _) = make("fresh", 10);
    let (held, file) = make("held", 4000);
    file.lock_shared().unwrap();
    BlobStore::open(&store.inner.dir).unwrap();
    assert!(!dead.exists());
    assert!(fresh.exists() && held.exists());
}

#[test]
fn trimming_removes_the_longest_unused_and_spares_what_is_in_use() {
    let (_dir, store) = store();
    let digests: Vec<Digest> = (0..5_u8).map(|i| store.put_bytes(&[i; 1000]).unwrap()).collect();
    store.executable_verified(&digests[1]).unwrap();
    store.reader(&digests[0]).unwrap();
    let trimmed = store.trim(3000, &|digest| *digest == digests[2]).unwrap();
    // In order of last use: 2 (in use), 3, 4, 1 (two files), 0.
    assert_eq!(
        trimmed,
        Trimmed {
            blobs_removed: 3,
            bytes_removed: 4000,
            bytes_kept: 2000
        }
    );
    assert_eq!(store.find_missing(&digests), [digests[1], digests[3], digests[4]]);
    assert_eq!(store.trim(u64::MAX, &|_| false).unwrap().blobs_removed, 0);
    assert_eq!(
        BlobStore::open(&store.inner.dir)
            .unwrap()
            .trim(0, &|_| false)
            .unwrap()
            .bytes_kept,
        0
    );
    assert_eq!(files(&store), 0);
}

#[test]
fn a_full_disk_is_recognised() {
    let mut full = File::options().write(true).open("/dev/full").unwrap();
    let cause = full.write_all(b"x").unwrap_err();
    let error = StoreError::io("write", Path::new("/dev/full"), cause);
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "write /dev/full: the disk is full; free some space there"
    );
}

#[test]
fn chunks_are_found_within_blobs_as_long_as_these_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path()).unwrap();
    let content = noise(1, 1 << 20);
    let pieces: Vec<_> = Cutter::new(&content[..]).map(Result::unwrap).collect();
    let recipe = Recipe::new(pieces.iter().map(|piece| piece.part).collect()).unwrap();
    let (first, last) = (&pieces[0], &pieces[pieces.len() - 1]);
    assert!(!store.has_piece(&first.part.digest));
    let digest = store.put_bytes(&content).unwrap();
    store.put_recipe(&digest, &recipe).unwrap();
    // Also for one that opens the folder later.
    for store in [store.clone(), BlobStore::open(folder.path()).unwrap()] {
        assert_eq!(store.recipe(&digest).as_ref(), Some(&recipe));
        for piece in [first, last] {
            assert!(store.has_piece(&piece.part.digest));
            assert_eq!(store.piece(&piece.part.digest).as_ref(), Some(&piece.content));
        }
    }
    let blob = store.path_verified(&digest).unwrap();
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&blob, noise(2, 1 << 20)).unwrap();
    assert_eq!(store.piece(&first.part.digest), None);
    assert!(!store.has_piece(&last.part.digest));

    store.put_bytes(&content).unwrap();
    store.put_recipe(&digest, &recipe).unwrap();
    assert!(store.has_piece(&last.part.digest));
    store.trim(0, &|_| false).unwrap();
    assert!(!store.has_piece(&last.part.digest));
    assert_eq!(store.recipe(&digest), None);
    let left = fs::read_dir(folder.path().join(&digest.to_string()[..2])).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn zeros_take_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::open(folder.path()).unwrap();
    let content = [&noise(1, 1 << 20)[..], &vec![0; 8 << 20]].concat();
    let digest = Digest::of(&content);
    let mut writer = store.writer(digest, content.len() as u64).unwrap();
    content
        .chunks(1 << 18)
        .for_each(|chunk| writer.write(chunk).unwrap());
    writer.commit().unwrap();
    let path = store.path_verified(&digest).unwrap();
    assert_eq!(fs::read(&path).unwrap(), content);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 2 << 20);
}
