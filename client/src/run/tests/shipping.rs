use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use thresh_core::digest::Digest;

use super::super::fake::{Fake, State};
use crate::ship::{BlobSource, Shipment, UploadError, upload};

fn shipment(sources: Vec<BlobSource>) -> Shipment {
    let digest = |source: &BlobSource| match source {
        BlobSource::File { path, .. } => Digest::of(&fs::read(path).unwrap()),
        BlobSource::Bytes(bytes) => Digest::of(bytes),
    };
    let blobs: BTreeMap<Digest, BlobSource> = sources
        .into_iter()
        .map(|source| (digest(&source), source))
        .collect();
    let none = Digest::of(b"");
    Shipment {
        sources: none,
        target: none,
        binaries: Vec::new(),
        binary_bytes: Vec::new(),
        folders: Vec::new(),
        blobs,
    }
}

fn file(folder: &Path, name: &str, content: &[u8]) -> BlobSource {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    BlobSource::File {
        path,
        size: content.len() as u64,
    }
}

#[tokio::test]
async fn only_what_is_missing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let large = vec![7; 3 * thresh_proto::BLOB_CHUNK_BYTES_MAX + 5];
    let mut sources: Vec<BlobSource> = (0..40u8)
        .map(|number| file(folder.path(), &number.to_string(), &[number; 9]))
        .collect();
    sources.extend([
        file(folder.path(), "large", &large),
        file(folder.path(), "empty", b""),
    ]);
    sources.push(BlobSource::Bytes(b"manifest".to_vec()));
    let shipment = shipment(sources);
    let (fake, channel) = Fake::start(State::default()).await;
    let known = Digest::of(&[3; 9]);
    fake.state().blobs.insert(known, vec![3; 9]);
    let mut calls = 0;
    let done = upload(channel.clone(), &shipment, |_| calls += 1).await.unwrap();
    assert_eq!((done.blobs, done.sent_blobs, calls), (42, 42, 43));
    assert_eq!(done.sent_bytes, done.bytes);
    assert_eq!(fake.state().blobs.len(), 43);
    assert_eq!(fake.state().blobs[&Digest::of(&large)], large);
    let again = upload(channel, &shipment, |_| {}).await.unwrap();
    assert_eq!((again.blobs, fake.state().puts), (0, 42));
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_hashed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for change in [&b"other content"[..], &b"CONTENT"[..]] {
        let shipment = shipment(vec![file(folder.path(), "file", b"content")]);
        fs::write(folder.path().join("file"), change).unwrap();
        let (_fake, channel) = Fake::start(State::default()).await;
        let error = upload(channel, &shipment, |_| {}).await.unwrap_err();
        assert!(
            matches!(&error, UploadError::Changed(path) if path.ends_with("file")),
            "{error}"
        );
    }
    let shipment = shipment(vec![file(folder.path(), "file", b"content")]);
    fs::remove_file(folder.path().join("file")).unwrap();
    let (_fake, channel) = Fake::start(State::default()).await;
    assert!(matches!(
        upload(channel, &shipment, |_| {}).await,
        Err(UploadError::Changed(_))
    ));
}
