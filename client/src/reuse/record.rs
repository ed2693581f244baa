//! The record behind a part of a key: what went into it, by name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thresh_cas::replace_file;
use thresh_core::digest::{Digest, FieldHasher};

/// Records that the folder keeps; the longest unused go first.
const RECORDS_MAX: usize = 512;

/// Named values, sorted by name. Values are digests or short texts; a value that may be secret is a digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What the values are of, for example `environment v1`: equal values of two kinds differ.
    kind: &'static str,
    values: BTreeMap<String, String>,
}

impl Record {
    /// Starts a record.
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            values: BTreeMap::new(),
        }
    }

    /// A record of a kind with these values.
    pub(super) fn with_values(kind: &'static str, values: BTreeMap<String, String>) -> Self {
        Self { kind, values }
    }

    /// Adds a value; one name has one value.
    pub(super) fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// The digest of the record: the part of the key.
    pub fn digest(&self) -> Digest {
        let mut hasher = FieldHasher::new("thresh key part v1");
        hasher.field(self.kind.as_bytes());
        for (name, value) in &self.values {
            hasher.field(name.as_bytes()).field(value.as_bytes());
        }
        hasher.finish()
    }

    /// Its values as bytes; the kind is not among them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.values {
            for text in [name, value] {
                bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        bytes
    }

    /// Reads the values of [`Record::encode`].
    pub(super) fn decode(mut bytes: &[u8]) -> Option<BTreeMap<String, String>> {
        let mut take = || {
            let (length, rest) = bytes.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            let (text, rest) = rest.split_at_checked(length)?;
            bytes = rest;
            String::from_utf8(text.to_vec()).ok()
        };
        let mut values = BTreeMap::new();
        while let Some(name) = take() {
            values.insert(name, take()?);
        }
        bytes.is_empty().then_some(values)
    }
}

/// How one named value changed.
pub(super) fn changes(then: &BTreeMap<String, String>, now: &Record) -> Vec<String> {
    let mut changed = Vec::new();
    for (name, value) in &now.values {
        match then.get(name) {
            None => changed.push(format!("{name} (new)")),
            Some(before) if before != value => changed.push(name.clone()),
            Some(_) => {}
        }
    }
    changed.extend(
        then.keys()
            .filter(|name| !now.values.contains_key(*name))
            .map(|name| format!("{name} (gone)")),
    );
    changed.sort();
    changed
}

/// A folder of records and manifests by digest. It is a cache: what is missing only shortens an explanation.
#[derive(Clone, Debug)]
pub struct RecordFolder {
    path: PathBuf,
}

impl RecordFolder {
    /// Uses the folder at `path`, which exists.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Keeps a record.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn keep(&self, record: &Record) -> io::Result<()> {
        self.keep_bytes(record.digest(), || record.encode())
    }

    /// Keeps bytes under a digest.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn keep_bytes(&self, digest: Digest, bytes: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        let path = self.path_of(digest);
        if let Ok(file) = fs::File::options().append(true).open(&path) {
            // It is used again, so it must not be the next to go.
            return file.set_modified(SystemTime::now());
        }
        // Two runs at once may write the same file: each writes its own and renames it.
        replace_file(&path, &bytes())
    }

    pub(super) fn values(&self, digest: Digest) -> Option<BTreeMap<String, String>> {
        Record::decode(&self.bytes(digest)?)
    }

    pub(super) fn bytes(&self, digest: Digest) -> Option<Vec<u8>> {
        fs::read(self.path_of(digest)).ok()
    }

    /// Removes the longest unused records beyond the limit.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn trim(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        if files.len() > RECORDS_MAX {
            files.sort();
            let excess = files.len() - RECORDS_MAX;
            files.iter().take(excess).try_for_each(|(_, path)| remove(path))?;
        }
        Ok(())
    }

    fn path_of(&self, digest: Digest) -> PathBuf {
        self.path.join(digest.to_string())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(values: &[(&str, &str)]) -> Record {
        let mut record = Record::new("test v1");
        values.iter().for_each(|(name, value)| record.add(*name, *value));
        record
    }

    #[test]
    fn a_kept_record_tells_what_changed() {
        let folder = tempfile::tempdir().unwrap();
        let records = RecordFolder::new(folder.path().to_owned());
        let then = record(&[("a", "1"), ("b", "2"), ("c", "3")]);
        records.keep(&then).unwrap();
        records.keep(&then).unwrap();
        let values = records.values(then.digest()).unwrap();
        assert_eq!(
            changes(&values, &record(&[("a", "1"), ("b", "x"), ("d", "4")])),
            ["b", "c (gone)", "d (new)"]
        );
        assert_eq!(records.values(Digest::of(b"other")), None);
        records.trim().unwrap();
    }

    #[test]
    fn the_folder_stays_within_its_limit_and_keeps_what_was_used_last() {
        let folder = tempfile::tempdir().unwrap();
        let records = RecordFolder::new(folder.path().to_owned());
        for number in 0..RECORDS_MAX + 3 {
            let digest = Digest::of(&number.to_le_bytes());
            records.keep_bytes(digest, || vec![1]).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            fs::File::options()
                .append(true)
                .open(records.path_of(digest))
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        let first = Digest::of(&0usize.to_le_bytes());
        records.keep_bytes(first, Vec::new).unwrap();
        records.trim().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), RECORDS_MAX);
        assert!(records.bytes(first).is_some());
        assert!(records.bytes(Digest::of(&1usize.to_le_bytes())).is_none());
    }

    #[test]
    fn damaged_records_read_as_none() {
        let whole = record(&[("name", "value")]).encode();
        assert!(Record::decode(&whole).is_some());
        for length in 1..whole.len() {
            assert_eq!(Record::decode(&whole[..length]), None, "{length}");
        }
    }
}
