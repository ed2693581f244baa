//! How files are called by other digest functions than our own, remembered between runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use thresh_cas::{BlobName, DigestFunction};
use thresh_core::digest::Digest;

/// What the file begins with.
const MARK: &[u8] = b"thresh names v1\n";
/// A digest, another one, and the length.
const RECORD_BYTES: usize = 72;

/// Reads what is remembered. What cannot be read is not.
pub(super) fn load(path: &Path, function: DigestFunction) -> BTreeMap<Digest, BlobName> {
    let bytes = fs::read(path).unwrap_or_default();
    let records = bytes.strip_prefix(MARK).unwrap_or_default();
    let record = |record: &[u8]| {
        let (digest, rest) = record.split_first_chunk::<32>()?;
        let (hash, size) = rest.split_first_chunk::<32>()?;
        let name = BlobName {
            function,
            hash: *hash,
            size: u64::from_le_bytes(size.try_into().ok()?),
        };
        Some((Digest::from_bytes(*digest), name))
    };
    records.chunks_exact(RECORD_BYTES).filter_map(record).collect()
}

/// Remembers these instead.
pub(super) fn save(path: &Path, names: &BTreeMap<Digest, BlobName>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(MARK.len() + names.len() * RECORD_BYTES);
    bytes.extend_from_slice(MARK);
    for (digest, name) in names {
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(&name.hash);
        bytes.extend_from_slice(&name.size.to_le_bytes());
    }
    // Others read it meanwhile.
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        assert!(load(&path, DigestFunction::Sha256).is_empty());
        let names = [&b"one"[..], b"two"]
            .map(|content| (Digest::of(content), BlobName::of(DigestFunction::Sha256, content)));
        let names = BTreeMap::from(names);
        save(&path, &names).unwrap();
        assert_eq!(load(&path, DigestFunction::Sha256), names);
        // Cut off: the whole records count.
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(load(&path, DigestFunction::Sha256).len(), 1);
        fs::write(&path, b"something else").unwrap();
        assert!(load(&path, DigestFunction::Sha256).is_empty());
    }
}
