use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use thresh_cas::pack;
use thresh_core::digest::Digest;
use thresh_core::id::RunId;

use super::super::fake::{Fake, State};
use crate::ship::{BlobSource, Memory, Supplies, UploadError, UploadProgress, supply, upload};

fn shipment(sources: Vec<BlobSource>) -> BTreeMap<Digest, BlobSource> {
    let digest = |source: &BlobSource| match source {
        BlobSource::File { path, .. } => Digest::of(&fs::read(path).unwrap()),
        BlobSource::Bytes(bytes) => Digest::of(bytes),
        BlobSource::Lean(_) => unreachable!("no test has one"),
    };
    sources
        .into_iter()
        .map(|source| (digest(&source), source))
        .collect()
}

fn file(folder: &Path, name: &str, content: &[u8]) -> BlobSource {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    BlobSource::File {
        path,
        size: content.len() as u64,
    }
}

/// Bytes that cannot be compressed, the same for the same seed.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let block = |number: usize| *Digest::of(&[&[seed], &number.to_le_bytes()[..]].concat()).as_bytes();
    (0..length.div_ceil(32)).flat_map(block).take(length).collect()
}

#[tokio::test]
async fn only_what_is_missing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let large = noise(1, 3 << 20);
    let mut sources: Vec<BlobSource> = (0..40u8)
        .map(|number| file(folder.path(), &number.to_string(), &[number; 9]))
        .collect();
    sources.extend([
        file(folder.path(), "large", &large),
        file(folder.path(), "empty", b""),
    ]);
    sources.push(BlobSource::Bytes(b"manifest".to_vec()));
    sources.push(BlobSource::Bytes(noise(2, 1 << 20)));
    let shipment = shipment(sources);
    let (fake, channel) = Fake::start(State::default()).await;
    let known = [3; 9];
    fake.blobs.put(&pack(Digest::of(&known), &known)).unwrap();
    let mut last = UploadProgress::default();
    let done = upload(channel.clone(), &shipment, None, |now| last = now)
        .await
        .unwrap();
    assert_eq!((last, last.blobs, last.sent_blobs), (done.progress, 43, 43));
    assert_eq!(last.sent_bytes, last.bytes);
    assert_eq!(last.shipped_bytes, fake.state().put_bytes);
    let digests: Vec<Digest> = shipment.keys().copied().collect();
    assert_eq!(fake.blobs.find_missing(&digests), []);
    let again = upload(channel, &shipment, None, |_| {}).await.unwrap();
    assert_eq!((again.progress.blobs, again.progress.shipped_bytes), (0, 0));
}

#[tokio::test]
async fn of_a_new_version_only_what_differs_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, channel) = Fake::start(State::default()).await;
    let memory = || Memory::open(&folder.path().join("memory")).unwrap();
    let mut content = noise(1, 4 << 20);
    let first = shipment(vec![file(folder.path(), "program", &content)]);
    let done = upload(channel.clone(), &first, Some(&memory()), |_| {})
        .await
        .unwrap();
    assert!(done.progress.shipped_bytes >= 4 << 20);
    memory().keep(&done.shipped).unwrap();

    // As after an edit: something is put in, and every address behind it is another.
    content.splice(1_000..1_000, *b"a line");
    for at in (100_000..content.len()).step_by(997) {
        content[at] = content[at].wrapping_add(6);
    }
    let second = shipment(vec![file(folder.path(), "program", &content)]);
    let done = upload(channel.clone(), &second, Some(&memory()), |_| {})
        .await
        .unwrap();
    let shipped = done.progress.shipped_bytes;
    assert!(shipped < (4 << 20) / 20, "{shipped}");
    assert!(fake.blobs.contains(&Digest::of(&content)));

    // Without the older version on the farm there is nothing to pack against.
    let (_other, channel) = Fake::start(State::default()).await;
    let done = upload(channel, &second, Some(&memory()), |_| {}).await.unwrap();
    assert!(done.progress.shipped_bytes >= 4 << 20);
}

#[tokio::test]
async fn a_large_file_that_changed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (_fake, channel) = Fake::start(State::default()).await;
    let content = noise(1, 1 << 20);
    let shipment = shipment(vec![file(folder.path(), "program", &content)]);
    let path = folder.path().join("program");
    for change in [&content[1..], &noise(2, 1 << 20), b"short"] {
        fs::write(&path, change).unwrap();
        let error = upload(channel.clone(), &shipment, None, |_| {})
            .await
            .unwrap_err();
        assert!(
            matches!(&error, UploadError::Changed(changed) if *changed == path),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_hashed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for change in [&b"other content"[..], &b"CONTENT"[..]] {
        let shipment = shipment(vec![file(folder.path(), "file", b"content")]);
        fs::write(folder.path().join("file"), change).unwrap();
        let (_fake, channel) = Fake::start(State::default()).await;
        let error = upload(channel, &shipment, None, |_| {}).await.unwrap_err();
        assert!(
            matches!(&error, UploadError::Changed(path) if path.ends_with("file")),
            "{error}"
        );
    }
    let shipment = shipment(vec![file(folder.path(), "file", b"content")]);
    fs::remove_file(folder.path().join("file")).unwrap();
    let (_fake, channel) = Fake::start(State::default()).await;
    assert!(matches!(
        upload(channel, &shipment, None, |_| {}).await,
        Err(UploadError::Changed(_))
    ));
}

#[tokio::test]
async fn what_workers_ask_for_is_sent_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, other) = (noise(7, 1 << 20), noise(8, 1 << 20));
    let unknown = Digest::of(b"unknown");
    let blobs = shipment(vec![
        file(folder.path(), "asked", &asked),
        file(folder.path(), "other", &other),
    ]);
    let state = State {
        demanded: vec![unknown, Digest::of(&asked)],
        ..State::default()
    };
    let (fake, channel) = Fake::start(state).await;
    let supplies = Supplies { blobs, memory: None };
    let arrived = async {
        while !fake.blobs.contains(&Digest::of(&asked)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        never = supply(channel, RunId::from_u128(1), supplies) => match never {},
        () = arrived => {}
    }
    assert!(!fake.blobs.contains(&Digest::of(&other)));
    assert_eq!(fake.state().refused, [unknown]);
}
