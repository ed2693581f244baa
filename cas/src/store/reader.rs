//! How blobs are read.

use super::{BlobStore, READ_BYTES_MAX, StoreError, Variant};
use crate::hash::{fill, finish, update};
use crate::stamp::FileStamp;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use thresh_core::digest::Digest;

/// Reads a blob in chunks and verifies it on the way.
#[derive(Debug)]
pub struct BlobReader {
    store: BlobStore,
    digest: Digest,
    path: PathBuf,
    file: File,
    stamp: FileStamp,
    hasher: blake3::Hasher,
    done: bool,
}

impl BlobStore {
    /// Begins to read a blob.
    ///
    /// # Errors
    /// The blob is missing, or its file cannot be opened.
    pub fn reader(&self, digest: &Digest) -> Result<BlobReader, StoreError> {
        let path = self.path(digest, Variant::Plain);
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { digest: *digest },
            _ => StoreError::io("read", &path, cause),
        };
        let file = File::open(&path).map_err(failed)?;
        let stamp = FileStamp::from_metadata(&file.metadata().map_err(failed)?);
        self.touch(digest);
        let (store, hasher) = (self.clone(), blake3::Hasher::new());
        Ok(BlobReader {
            store,
            digest: *digest,
            path,
            file,
            stamp,
            hasher,
            done: false,
        })
    }
}

impl BlobReader {
    /// Length of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Returns the next chunk, of at most [`READ_BYTES_MAX`] bytes; none at the end. What was returned may be
    /// trusted only when the end was reached without an error.
    ///
    /// # Errors
    /// The file cannot be read; or, instead of the last chunk, it turns out to be damaged and was removed.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let left = self.stamp.size.saturating_sub(self.hasher.count());
        let mut chunk = vec![0; left.saturating_add(1).min(READ_BYTES_MAX as u64) as usize];
        let filled =
            fill(&mut self.file, &mut chunk).map_err(|cause| StoreError::io("read", &self.path, cause))?;
        update(&mut self.hasher, &chunk[..filled]);
        self.done = filled < chunk.len();
        if self.done && finish(&self.hasher) != self.digest {
            self.store.discard(&self.digest, Variant::Plain, &self.stamp);
            return Err(StoreError::Damaged { digest: self.digest });
        }
        chunk.truncate(filled);
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// Reads the whole blob into memory.
    ///
    /// # Errors
    /// As [`BlobReader::next_chunk`].
    pub fn read_all(mut self) -> Result<Vec<u8>, StoreError> {
        let mut content = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }
}
