use super::*;
use crate::hash::digest_many;
use std::fs;
use std::time::Duration;

fn stamp(ino: u64) -> FileStamp {
    FileStamp {
        dev: 1,
        ino,
        size: 3,
        mtime_ns: 5,
        ctime_ns: 7,
    }
}

fn learn(memo: &mut DigestMemo, ino: u64) {
    memo.remember(stamp(ino), Digest::of(&ino.to_le_bytes()), SystemTime::now());
}

/// Waits until a change of the file made now would show in its stamp.
fn settle(path: &Path) {
    while !FileStamp::of(path).unwrap().settled_before(SystemTime::now()) {
        std::thread::yield_now();
    }
}

#[test]
fn survives_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new folder/memo");
    let mut memo = DigestMemo::load(&path);
    assert!(memo.is_empty());
    (0..1000).for_each(|ino| learn(&mut memo, ino));
    memo.save(&path).unwrap();
    let again = DigestMemo::load(&path);
    assert_eq!(again.len(), 1000);
    assert_eq!(again.get(&stamp(7)), Some(Digest::of(&7u64.to_le_bytes())));
    assert_eq!(
        fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn what_cannot_be_understood_reads_as_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memo");
    let mut memo = DigestMemo::default();
    learn(&mut memo, 1);
    memo.save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(DigestMemo::load(&path).is_empty(), "flipped a bit of byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(DigestMemo::load(&path).is_empty(), "cut at {at}");
    }
    assert!(DigestMemo::load(dir.path()).is_empty(), "a folder in its place");
}

#[test]
fn two_processes_keep_each_others_entries() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memo");
    let (mut a, mut b) = (DigestMemo::load(&path), DigestMemo::load(&path));
    learn(&mut a, 1);
    learn(&mut b, 2);
    a.save(&path).unwrap();
    b.save(&path).unwrap();
    assert_eq!(DigestMemo::load(&path).len(), 2);
}

#[test]
fn unused_entries_are_dropped_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memo");
    let mut memo = DigestMemo::default();
    learn(&mut memo, 1);
    learn(&mut memo, 2);
    memo.save(&path).unwrap();
    for round in 0..=IDLE_SAVES_MAX {
        let mut memo = DigestMemo::load(&path);
        assert!(memo.get(&stamp(2)).is_some(), "round {round}");
        memo.mark_used(&stamp(1));
        learn(&mut memo, 100 + u64::from(round));
        memo.save(&path).unwrap();
    }
    let memo = DigestMemo::load(&path);
    assert!(memo.get(&stamp(1)).is_some());
    assert_eq!(memo.get(&stamp(2)), None);
}

#[test]
fn the_longest_unused_entries_yield_to_the_limit() {
    let mut memo = DigestMemo::default();
    (0..10).for_each(|ino| learn(&mut memo, ino));
    for (i, known) in memo.entries.iter_mut() {
        known.idle_saves = i.ino as u32;
    }
    memo.bound(4);
    assert_eq!(memo.len(), 4);
    assert!((0..4).all(|ino| memo.get(&stamp(ino)).is_some()));
}

#[test]
fn nothing_new_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memo");
    let mut memo = DigestMemo::default();
    memo.save(&path).unwrap();
    assert!(!path.exists());
    learn(&mut memo, 1);
    memo.save(&path).unwrap();
    let before = FileStamp::of(&path).unwrap();
    let mut memo = DigestMemo::load(&path);
    memo.mark_used(&stamp(1));
    memo.save(&path).unwrap();
    assert_eq!(FileStamp::of(&path).unwrap(), before);
}

#[test]
fn a_fresh_edit_is_not_remembered() {
    let mut memo = DigestMemo::default();
    let now = SystemTime::now();
    let changed = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let fresh = FileStamp {
        ctime_ns: changed,
        ..stamp(1)
    };
    memo.remember(fresh, Digest::of(b""), now);
    memo.remember(fresh, Digest::of(b""), now + Duration::from_millis(49));
    assert!(memo.is_empty());
    memo.remember(fresh, Digest::of(b""), now + Duration::from_millis(51));
    assert_eq!(memo.len(), 1);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fresh");
    let mut memo = DigestMemo::default();
    let future = fs::File::create(&path).unwrap();
    future
        .set_modified(SystemTime::now() + Duration::from_secs(3600))
        .unwrap();
    digest_many(&[path], &mut memo).unwrap();
    assert!(
        memo.is_empty(),
        "a modification time in the future vouches for nothing"
    );
}

#[test]
fn an_edit_of_the_same_size_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let paths = [path.clone()];
    fs::write(&path, "old").unwrap();
    settle(&path);
    let mut memo = DigestMemo::default();
    digest_many(&paths, &mut memo).unwrap();
    assert_eq!(memo.len(), 1);

    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "new").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(
        digest_many(&paths, &mut memo).unwrap()[0].digest,
        Digest::of(b"new")
    );
}
