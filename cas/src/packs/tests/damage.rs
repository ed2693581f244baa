//! What turned bits cost, and that they are found.

use super::*;

#[test]
fn a_damaged_header_costs_its_record_only_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let contents = [1, 2, 3].map(|seed| noise(seed, 1_000));
    let digests = [0, 1, 2].map(|at: usize| put(&store, &contents[at]));
    assert_eq!(store.check(|_, _| ()).unwrap().lost, 0);
    drop(store);
    let path = &packs(folder.path())[0];
    let length = fs::metadata(path).unwrap().len();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let of_second = length - 2 * (length - record::BEGIN.len() as u64) / 3;
    let mut byte = [0];
    file.read_exact_at(&mut byte, of_second + 20).unwrap();
    file.write_all_at(&[byte[0] ^ 4], of_second + 20).unwrap();
    drop(file);
    let store = open(folder.path());
    assert_eq!(store.find_missing(&digests), [digests[1]]);
    assert_eq!(read(&store, &digests[2]).unwrap(), contents[2]);
    assert_eq!(store.check(|_, _| ()).unwrap().lost, 1);
    put(&store, &contents[1]);
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.find_missing(&digests), []);
    assert_eq!(read(&store, &digests[1]).unwrap(), contents[1]);
}

#[test]
fn damaged_names_and_patches_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (base, content) = (noise(1, 50_000), noise(1, 50_100));
    let [base, digest] = [&base, &content].map(|content| put(&store, content));
    let patch = store.frame_against(&digest, &[base]).unwrap();
    assert_eq!(patch.bases, [base]);
    damage_last(folder.path());
    let found = store.check(|_, _| ()).unwrap();
    assert_eq!((found.damaged.len(), found.incomplete.len()), (1, 0));
    assert_eq!(store.check(|_, _| ()).unwrap().damaged, [], "it is dropped");
    let name = store.name(&digest, DigestFunction::Sha256).unwrap();
    damage_last(folder.path());
    assert_eq!(
        store.check(|_, _| ()).unwrap().damaged,
        [Digest::from_bytes(name.hash)]
    );
    assert_eq!(store.locate(&name), None);
}
