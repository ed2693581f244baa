use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bazel_remote_apis::build::bazel::remote::execution::v2;
use prost::Message;
use thresh_core::chunk::{CHUNK_BYTES_MAX, Frame, Recipe};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

use super::*;
use crate::chunk::{Cutter, pack, pack_against, pack_fast, unpack};
use crate::testing::noise;
use crate::tree::{TreeError, expand, folders};

mod damage;

fn open(folder: &Path) -> PackStore {
    PackStore::open(folder).unwrap()
}

fn put(store: &PackStore, content: &[u8]) -> Digest {
    let digest = Digest::of(content);
    store.put(&pack(digest, content)).unwrap();
    digest
}

fn recipe_of(content: &[u8]) -> (Recipe, Vec<Frame>) {
    let pieces: Vec<_> = Cutter::new(content).collect::<Result<_, _>>().unwrap();
    let frames = pieces.iter().map(|piece| pack(piece.part.digest, &piece.content));
    let recipe = Recipe::new(pieces.iter().map(|piece| piece.part).collect()).unwrap();
    (recipe, frames.collect())
}

fn put_blob(store: &PackStore, content: &[u8]) -> Digest {
    let (recipe, frames) = recipe_of(content);
    let (digest, mut frames) = (Digest::of(content), frames.into_iter());
    assert_eq!(store.put_blob(digest, &recipe, || frames.next()).unwrap(), []);
    digest
}

fn read(store: &PackStore, digest: &Digest) -> Result<Vec<u8>, PackError> {
    store.read_whole(digest)
}

fn packs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut packs: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|ext| ext == "pack"))
        .collect();
    packs.sort();
    packs
}

/// Changes the last byte of the last record of a pack that is not sealed.
fn damage_last(folder: &Path) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(packs(folder).last().unwrap())
        .unwrap();
    let end = file.metadata().unwrap().len();
    let mut byte = [0];
    file.read_exact_at(&mut byte, end - 1).unwrap();
    file.write_all_at(&[byte[0] ^ 1], end - 1).unwrap();
}

#[test]
fn what_was_put_is_there_also_for_the_next_to_open_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let short = put(&store, b"short");
    let empty = put(&store, b"");
    let content = noise(1, 3 << 20);
    let large = put_blob(&store, &content);
    let absent = Digest::of(b"absent");
    for store in [store, open(folder.path())] {
        assert_eq!(store.find_missing(&[short, absent, large, empty]), [absent]);
        assert_eq!(read(&store, &short).unwrap(), b"short");
        assert_eq!(read(&store, &empty).unwrap(), b"");
        assert_eq!(read(&store, &large).unwrap(), content);
        assert!(matches!(read(&store, &absent), Err(PackError::Missing { digest }) if digest == absent));
    }
}

#[test]
fn several_may_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let early = put(&first, b"early");
    let second = open(folder.path());
    assert!(second.contains(&early));
    let digests = [put(&second, b"second"), put(&first, b"first")];
    assert!(!second.contains(&digests[1]));
    let third = open(folder.path());
    assert_eq!(third.find_missing(&digests), []);
    put(&third, b"third");
    assert_eq!(packs(folder.path()).len(), 3);
    // What another process writes to is not swept away.
    assert_eq!(third.sweep(0, u32::MAX).unwrap().dropped, 4);
    assert_eq!(packs(folder.path()).len(), 2);
    assert_eq!(read(&first, &digests[1]).unwrap(), b"first");
    drop(first);
    assert!(open(folder.path()).contains(&digests[1]));
}

#[test]
fn full_packs_are_sealed_and_opened_by_their_lists() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let contents: Vec<Vec<u8>> = (0..=255).map(|seed| noise(seed, 256 << 10)).collect();
    let digests: Vec<Digest> = contents.iter().map(|content| put(&store, content)).collect();
    let late = put(&store, b"late");
    assert_eq!(store.stat().packs, 2);
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.find_missing(&digests), []);
    assert_eq!(read(&store, &digests[7]).unwrap(), contents[7]);
    assert_eq!(read(&store, &late).unwrap(), b"late");
    drop(store);
    // A list that is damaged is not trusted: the pack is read through.
    let sealed = fs::File::options()
        .write(true)
        .open(&packs(folder.path())[0])
        .unwrap();
    let end = sealed.metadata().unwrap().len();
    sealed.write_all_at(&[0xff], end - 20).unwrap();
    assert_eq!(open(folder.path()).find_missing(&digests), []);
}

#[test]
fn what_a_crash_tore_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let first = put(&store, &noise(1, 1_000));
    let second = put(&store, &noise(2, 1_000));
    drop(store);
    let path = &packs(folder.path())[0];
    let length = fs::metadata(path).unwrap().len();
    for torn in [length - 1, length - 1_001, length - 1_055] {
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(torn)
            .unwrap();
        let store = open(folder.path());
        assert_eq!(store.find_missing(&[first, second]), [second], "{torn}");
        assert_eq!(put(&store, &noise(2, 1_000)), second);
        assert_eq!(read(&store, &second).unwrap(), noise(2, 1_000));
    }
    // Not even the beginning was written.
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(3)
        .unwrap();
    let store = open(folder.path());
    assert_eq!(store.find_missing(&[first, second]), [first, second]);
    put(&store, b"works");
    drop(store);
    assert!(open(folder.path()).contains(&Digest::of(b"works")));
}

#[test]
fn a_damaged_chunk_is_dropped_and_can_be_put_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let content = noise(1, 1_000);
    let digest = put(&store, &content);
    damage_last(folder.path());
    let error = read(&store, &digest).unwrap_err();
    assert!(matches!(error, PackError::Damaged { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Environment);
    assert!(!store.contains(&digest));
    drop(store);
    let store = open(folder.path());
    assert!(
        !store.contains(&digest),
        "who opens the folder later must not take it for there"
    );
    put(&store, &content);
    assert_eq!(read(&store, &digest).unwrap(), content);
    drop(store);
    // The damaged one is still in the pack; the later one counts.
    assert_eq!(read(&open(folder.path()), &digest).unwrap(), content);
}

#[test]
fn a_blob_without_all_its_chunks_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let content = noise(1, 4 << 20);
    let (recipe, frames) = recipe_of(&content);
    let digest = Digest::of(&content);
    // One is there, two are left out, and what comes after that is kept all the same.
    store.put(&frames[1]).unwrap();
    let came = |skip: &[usize]| {
        let left: Vec<Frame> = (0..frames.len())
            .filter(|index| !skip.contains(index))
            .map(|index| frames[index].clone())
            .collect();
        let mut left = left.into_iter();
        store.put_blob(digest, &recipe, || left.next()).unwrap()
    };
    assert_eq!(came(&[1, 3, 20]), [frames[3].digest, frames[20].digest]);
    assert!(!store.contains(&digest));
    assert!(frames.iter().skip(21).all(|frame| store.contains(&frame.digest)));
    let all_but = |wanted: &[usize]| {
        (0..frames.len())
            .filter(|index| !wanted.contains(index))
            .collect::<Vec<_>>()
    };
    assert_eq!(came(&all_but(&[3, 20])), []);
    assert!(store.contains(&digest));
    assert_eq!(read(&store, &digest).unwrap(), content);
}

#[test]
fn a_part_whose_base_is_gone_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let content = noise(1, 1 << 20);
    let (recipe, mut frames) = recipe_of(&content);
    let digest = Digest::of(&content);
    let first = unpack(&frames[0], &[]).unwrap();
    let mut base = first.clone();
    base[0] ^= 1;
    let whole = std::mem::replace(
        &mut frames[0],
        pack_against(Digest::of(&first), &first, vec![Digest::of(&base)], &base),
    );
    let mut came = frames.into_iter();
    let missing = store.put_blob(digest, &recipe, || came.next()).unwrap();
    assert_eq!(missing, [whole.digest]);
    let mut came = [whole].into_iter();
    assert_eq!(store.put_blob(digest, &recipe, || came.next()).unwrap(), []);
    assert_eq!(read(&store, &digest).unwrap(), content);
}

#[test]
fn who_needs_the_folder_alone_waits_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let error = PackStore::open_alone(folder.path()).unwrap_err();
    assert!(matches!(error, PackError::InUse { .. }), "{error}");
    drop(store);
    let alone = PackStore::open_alone(folder.path()).unwrap();
    let error = PackStore::open(folder.path()).unwrap_err();
    assert!(matches!(error, PackError::InUse { .. }), "{error}");
    drop(alone);
    open(folder.path());
}

#[test]
fn a_sweep_that_can_drop_nothing_moves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for seed in 0..20 {
        put(&store, &noise(seed, 100_000));
    }
    let before = packs(folder.path());
    let swept = store.sweep(1_000, 1).unwrap();
    assert_eq!((swept.dropped, swept.bytes_after), (0, swept.bytes_before));
    assert_eq!(packs(folder.path()), before);
}

#[test]
fn what_is_damaged_is_not_moved() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let old = put(&store, &noise(1, 500_000 / 2));
    let sound = put(&store, &noise(2, 100_000));
    let damaged = put(&store, &noise(3, 100_000));
    damage_last(folder.path());
    store
        .state()
        .slots
        .get_mut(&(record::Kind::Chunk, old))
        .unwrap()
        .used = 1;
    store.sweep(300_000, 2).unwrap();
    assert_eq!(store.find_missing(&[old, sound, damaged]), [old, damaged]);
    assert_eq!(read(&store, &sound).unwrap(), noise(2, 100_000));
}

#[test]
fn a_chunk_that_a_blob_has_several_times_comes_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let content = [vec![0; 6 << 20], noise(1, 1 << 20), vec![0; 6 << 20]].concat();
    let (recipe, frames) = recipe_of(&content);
    let mut seen = std::collections::BTreeSet::new();
    let mut once = frames.into_iter().filter(|frame| seen.insert(frame.digest));
    let digest = Digest::of(&content);
    assert_eq!(store.put_blob(digest, &recipe, || once.next()).unwrap(), []);
    assert_eq!(read(&store, &digest).unwrap(), content);
}

#[test]
fn a_recipe_for_another_blob_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let content = noise(1, 1 << 20);
    put_blob(&store, &content);
    let (recipe, _) = recipe_of(&content);
    let other = Digest::of(b"other");
    let error = store.put_blob(other, &recipe, || None).unwrap_err();
    assert!(matches!(error, PackError::WrongDigest { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Input);
    let mut parts = recipe.parts().to_vec();
    parts[0].size -= 1;
    let error = store
        .put_blob(other, &Recipe::new(parts).unwrap(), || None)
        .unwrap_err();
    assert!(matches!(error, PackError::WrongSize { .. }), "{error}");
    assert!(!store.contains(&other));
}

#[test]
fn a_chunk_that_was_packed_in_haste_is_no_patch_of_what_it_has_nothing_of() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let base = noise(1, 100_000);
    let base_digest = put(&store, &base);
    let content = include_bytes!("tests.rs").as_slice();
    let digest = Digest::of(content);
    let hasty = pack_fast(digest, content);
    assert!(pack(digest, content).data.len() < hasty.data.len());
    store.put(&hasty).unwrap();
    for _ in 0..2 {
        let frame = store.frame_against(&digest, &[base_digest]).unwrap();
        assert_eq!(frame.bases, []);
        assert_eq!(unpack(&frame, &[]).unwrap(), content);
    }
}

#[test]
fn a_chunk_travels_against_what_the_other_side_has() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let base = noise(1, 100_000);
    let mut content = base.clone();
    content[50_000] ^= 1;
    let (base_digest, digest) = (put(&store, &base), Digest::of(&content));
    let delta = pack_against(digest, &content, vec![base_digest], &base);
    store.put(&delta).unwrap();
    assert_eq!(read(&store, &digest).unwrap(), content);
    // It goes out as it came to who has the base, and whole to everyone else.
    assert_eq!(store.frame_against(&digest, &[base_digest]).unwrap(), delta);
    let whole = store.frame_against(&digest, &[]).unwrap();
    assert_eq!(
        (whole.bases.len(), unpack(&whole, &[]).unwrap()),
        (0, content.clone())
    );
    // Against what else there is it is made when it is asked for.
    let mut third = content;
    third[7] ^= 1;
    let third_digest = put(&store, &third);
    let made = store.frame_against(&third_digest, &[base_digest]).unwrap();
    assert!(made.data.len() < 1_000);
    assert_eq!(unpack(&made, &base).unwrap(), third);
    let absent = Digest::of(b"absent");
    assert_eq!(store.frame_against(&third_digest, &[absent]).unwrap().bases, []);
    // Without its base here it cannot be taken.
    let other = open_other();
    assert!(matches!(other.1.put(&delta), Err(PackError::Missing { .. })));

    fn open_other() -> (tempfile::TempDir, PackStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = PackStore::open(folder.path()).unwrap();
        (folder, store)
    }
}

#[test]
fn what_was_longest_unused_goes_and_what_is_in_use_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let digests: Vec<Digest> = (0..20).map(|seed| put(&store, &noise(seed, 100_000))).collect();
    for (age, digest) in digests.iter().enumerate() {
        let mut state = store.state();
        state.slots.get_mut(&(record::Kind::Chunk, *digest)).unwrap().used = 1_000 + age as u32;
    }
    let nothing = store.sweep(3_000_000, u32::MAX).unwrap();
    assert_eq!((nothing.dropped, nothing.bytes_after), (0, nothing.bytes_before));
    let swept = store.sweep(1_000_000, u32::MAX).unwrap();
    assert!(swept.bytes_after <= 1_000_000, "{swept:?}");
    assert_eq!(swept.dropped, 12);
    assert_eq!(store.find_missing(&digests), digests[..12]);
    assert_eq!(read(&store, &digests[12]).unwrap(), noise(12, 100_000));
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.find_missing(&digests), digests[..12]);
    // All of it has just been asked for.
    let kept = store.sweep(1_000, 1_000).unwrap();
    assert_eq!(kept.dropped, 0);
    assert_eq!(store.find_missing(&digests), digests[..12]);
}

#[test]
fn a_check_finds_what_is_damaged_and_what_is_incomplete() {
    // One is found by its content, the other cannot even be unpacked.
    let numbers = (0..).flat_map(|number: u64| format!("{}\n", number * number).into_bytes());
    for content in [noise(1, 1 << 20), numbers.take(1 << 20).collect()] {
        check_damaged(&content);
    }
}

fn check_damaged(content: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (recipe, frames) = recipe_of(content);
    let digest = Digest::of(content);
    for frame in frames.iter().rev() {
        store.put(frame).unwrap();
    }
    damage_last(folder.path());
    store.put_recipe(digest, &recipe).unwrap();
    let sound = put(&store, b"sound");
    let mut told = (0, 0);
    let check = store.check(|done, all| told = (done, all)).unwrap();
    assert_eq!(check.damaged, [frames[0].digest]);
    assert_eq!(check.incomplete, [digest]);
    assert_eq!((check.chunks, check.blobs), (frames.len() as u64 + 1, 1));
    let looked = check.chunks + check.blobs;
    assert_eq!(told, (looked, looked));
    assert!(store.contains(&sound) && !store.contains(&digest));
    let stat = store.stat();
    assert_eq!((stat.chunks, stat.blobs), (frames.len() as u64, 1));
    assert_eq!(stat.content_bytes, (1 << 20) - u64::from(frames[0].size) + 5);
}

#[test]
fn a_stream_of_bytes_becomes_a_blob_under_either_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = PackStore::open(folder.path()).unwrap();
    for function in [DigestFunction::Blake3, DigestFunction::Sha256] {
        for length in [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 << 20] {
            let content = noise(function as u8 + 1, length);
            let name = BlobName::of(function, &content);
            assert_eq!(store.locate(&name).is_some(), length == 0);
            let digest = store.ingest(&name, &content[..]).unwrap();
            assert_eq!(digest, Digest::of(&content));
            assert_eq!(store.locate(&name), Some(digest));
            assert_eq!(store.name(&digest, function).unwrap(), name);
            for position in [0, length / 2, length.saturating_sub(1), length, length + 9] {
                let mut read = Vec::new();
                let pieces = store.read_from(&digest, position as u64).unwrap();
                std::io::copy(&mut BlobReading::from(pieces), &mut read).unwrap();
                assert_eq!(read, content[position.min(length)..]);
            }
        }
    }
    let reopened = PackStore::open(folder.path()).unwrap();
    let name = BlobName::of(DigestFunction::Sha256, &noise(2, 3 << 20));
    assert!(reopened.locate(&name).is_some());
}

#[test]
fn blobs_come_in_on_all_threads_that_pack_at_once() {
    use rayon::prelude::*;
    let folder = tempfile::tempdir().unwrap();
    let store = PackStore::open(folder.path()).unwrap();
    // If each waited for others to pack its chunks, nobody would be left to do so.
    let count = 4 * rayon::current_num_threads();
    (0..count).into_par_iter().for_each(|seed| {
        let content = noise(u8::try_from(seed % 250).unwrap() + 1, CHUNK_BYTES_MAX + 1 + seed);
        let name = BlobName::of(DigestFunction::Sha256, &content);
        store.ingest(&name, &content[..]).unwrap();
        assert!(store.locate(&name).is_some());
    });
}

#[test]
fn a_stream_that_is_not_what_its_name_says_leaves_no_blob() {
    let folder = tempfile::tempdir().unwrap();
    let store = PackStore::open(folder.path()).unwrap();
    for length in [100, 2 << 20] {
        let content = noise(7, length);
        let name = BlobName::of(DigestFunction::Sha256, &content);
        let mut other = content.clone();
        other[50] ^= 1;
        let mut longer = content.clone();
        longer.push(0);
        for wrong in [&other[..], &longer, &content[..length - 1]] {
            let refused = store.ingest(&name, wrong);
            assert!(
                matches!(refused, Err(PackError::WrongContent { .. })),
                "{refused:?}"
            );
            assert_eq!(store.locate(&name), None);
        }
    }
}

/// Packs that were copied, by name.
#[derive(Debug, Default)]
struct Copied {
    packs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    is_away: AtomicBool,
}

impl Copied {
    fn copy(&self, store: &PackStore) {
        store.seal_all().unwrap();
        for pack in store.sealed() {
            let mut content = vec![0; usize::try_from(pack.bytes).unwrap()];
            pack.file.read_exact_at(&mut content, 0).unwrap();
            self.packs.lock().unwrap().insert(pack.name, content);
        }
    }
}

impl PackReader for Copied {
    fn read_exact_at(&self, pack: &Digest, into: &mut [u8], offset: u64) -> std::io::Result<()> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let packs = self.packs.lock().unwrap();
        let content = packs.get(pack).ok_or(std::io::ErrorKind::NotFound)?;
        let begin = usize::try_from(offset).unwrap();
        let part = content.get(begin..begin + into.len());
        into.copy_from_slice(part.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[test]
fn packs_that_rest_elsewhere_are_taken_in() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (content, short) = (noise(70, 1 << 20), noise(71, 1_000));
    let copied = Arc::new(Copied::default());
    let store = open(first.path());
    let (digest, chunk) = (put_blob(&store, &content), put(&store, &short));
    assert_eq!(store.place_of(&chunk, &[]), None, "it is in no sealed pack");
    copied.copy(&store);
    let located = store.place_of(&chunk, &[]).unwrap();
    let mut record = vec![0; usize::try_from(located.bytes).unwrap()];
    copied
        .read_exact_at(&located.pack, &mut record, located.offset)
        .unwrap();
    let frame = chunk_of_record(record.clone(), chunk, &[]).unwrap();
    assert_eq!(unpack(&frame, &[]).unwrap(), short);
    assert_eq!(chunk_of_record(record.clone(), digest, &[]), None);
    *record.last_mut().unwrap() ^= 1;
    assert_eq!(chunk_of_record(record, chunk, &[]), None);

    let other = open(second.path());
    for pack in store.sealed() {
        assert!(other.attach(pack.name, pack.bytes, copied.clone()).unwrap());
        assert!(
            other.attach(pack.name, pack.bytes, copied.clone()).unwrap(),
            "again"
        );
        assert!(
            !other
                .attach(chunk, pack.bytes, copied.clone())
                .is_ok_and(|is_it| is_it)
        );
        assert!(!other.attach(pack.name, pack.bytes - 1, copied.clone()).unwrap());
    }
    assert_eq!(other.names(), store.names());
    assert_eq!(read(&other, &digest).unwrap(), content);
    assert!(other.find_missing(&[digest, chunk]).is_empty());
    assert!(other.sealed().is_empty(), "nothing of it is in the folder");
    // One that is gone costs what was in it, and is no failure of the disk.
    copied.packs.lock().unwrap().clear();
    assert!(matches!(read(&other, &digest), Err(PackError::Damaged { .. })));
}

#[test]
fn small_packs_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let digests: Vec<Digest> = (0..5)
        .map(|number| {
            let digest = put(&store, &noise(80 + number, 1_000));
            store.seal_all().unwrap();
            digest
        })
        .collect();
    store.merge(5).unwrap();
    assert_eq!(packs(folder.path()).len(), 5);
    store.merge(4).unwrap();
    assert_eq!(packs(folder.path()).len(), 1);
    assert!(store.find_missing(&digests).is_empty());
    drop(store);
    assert!(open(folder.path()).find_missing(&digests).is_empty());
}

#[test]
fn what_cannot_be_read_now_is_not_lost_when_packs_move() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (copied, store) = (Arc::new(Copied::default()), open(first.path()));
    let digests: Vec<Digest> = (0..3)
        .map(|number| {
            let digest = put(&store, &noise(90 + number, 1_000));
            copied.copy(&store);
            digest
        })
        .collect();
    let other = open(second.path());
    for pack in store.sealed() {
        assert!(other.attach(pack.name, pack.bytes, copied.clone()).unwrap());
    }
    copied.is_away.store(true, Ordering::SeqCst);
    assert!(matches!(other.merge(2), Err(PackError::Io { .. })));
    assert!(matches!(other.chunk(&digests[0]), Err(PackError::Io { .. })));
    copied.is_away.store(false, Ordering::SeqCst);
    assert!(other.find_missing(&digests).is_empty());
    other.merge(2).unwrap();
    copied.packs.lock().unwrap().clear();
    for digest in digests {
        assert!(other.chunk(&digest).is_ok(), "it was moved into the folder");
    }
}

#[test]
fn a_folder_that_a_false_name_leads_back_to_is_not_followed_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    // No blob has this name; who writes to the files of a store can say so all the same.
    let mut own = BlobName {
        function: DigestFunction::Sha256,
        hash: [7; 32],
        size: 200,
    };
    let again = |own: &BlobName| {
        let inner = |name: &str| v2::DirectoryNode {
            name: name.to_owned(),
            digest: Some(own.to_wire()),
        };
        let message = v2::Directory {
            directories: vec![inner("a"), inner("b")],
            ..v2::Directory::default()
        };
        message.encode_to_vec()
    };
    own.size = again(&own).len() as u64;
    let message = again(&own);
    assert_eq!(message.len() as u64, own.size);
    assert!(matches!(
        store.ingest(&own, &message[..]),
        Err(PackError::WrongContent { .. })
    ));
    assert!(matches!(expand(&store, &own), Err(TreeError::Missing { .. })));
    store.put_alias(&own, &put(&store, &message)).unwrap();
    assert!(matches!(expand(&store, &own), Err(TreeError::TooLarge { .. })));
    assert_eq!(folders(&store, &own).count(), 1);
}

#[test]
fn what_root_writes_belongs_to_the_owner_of_the_folder() {
    use std::os::unix::fs::{MetadataExt, chown};

    let dir = tempfile::tempdir().unwrap();
    // Only root can give a folder away.
    let owner = if rustix::process::geteuid().is_root() {
        65_534
    } else {
        dir.path().metadata().unwrap().uid()
    };
    chown(dir.path(), Some(owner), None).unwrap();
    let store = PackStore::open(dir.path()).unwrap();
    store.put(&pack(Digest::of(b"content"), b"content")).unwrap();
    let packs = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut packs = packs.filter(|path| path.extension().is_some_and(|ending| ending == "pack"));
    assert_eq!(packs.next().unwrap().metadata().unwrap().uid(), owner);
}
