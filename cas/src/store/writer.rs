//! How blobs come in.

use super::{BlobStore, StoreError, Variant};
use crate::hash::{digest_reader, finish, update};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::NamedTempFile;
use thresh_core::digest::Digest;

/// So many zeros at least, written at once, become a hole in the file.
const HOLE_BYTES_MIN: usize = 4 << 10;

/// A blob being written. It becomes visible by [`BlobWriter::commit`]; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    expected: Digest,
    size: u64,
    staged: Staged,
}

impl BlobWriter {
    /// Adds the next bytes of the blob.
    ///
    /// # Errors
    /// More bytes came than announced, or the disk cannot take them.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let actual = self.staged.hasher.count() + chunk.len() as u64;
        if actual > self.size {
            return Err(StoreError::WrongSize {
                digest: self.expected,
                expected: self.size,
                actual,
            });
        }
        self.staged.write(chunk)
    }

    /// Makes the blob visible, if it is complete and its digest right.
    ///
    /// # Errors
    /// The length or the digest is not the announced one, or the disk cannot take it.
    pub fn commit(self) -> Result<(), StoreError> {
        let (expected, actual) = (self.expected, finish(&self.staged.hasher));
        let count = self.staged.hasher.count();
        if count != self.size {
            return Err(StoreError::WrongSize {
                digest: expected,
                expected: self.size,
                actual: count,
            });
        }
        if actual != expected {
            return Err(StoreError::WrongDigest { expected, actual });
        }
        // What is nothing but zeros was passed over; at the end of a file that leaves it too short.
        let file = self.staged.file.as_file();
        file.set_len(self.size)
            .map_err(|cause| StoreError::io("write", self.staged.file.path(), cause))?;
        self.store.publish(self.staged.file, &expected, Variant::Plain)
    }
}

impl BlobStore {
    /// Begins to write the blob `expected` of `size` bytes.
    ///
    /// # Errors
    /// The disk is full or cannot be written to.
    pub fn writer(&self, expected: Digest, size: u64) -> Result<BlobWriter, StoreError> {
        Ok(BlobWriter {
            store: self.clone(),
            expected,
            size,
            staged: self.stage()?,
        })
    }

    /// Stores `content`, unless it is there and sound, and returns its digest.
    ///
    /// # Errors
    /// The disk is full or cannot be written to.
    pub fn put_bytes(&self, content: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(content);
        match self.path_verified(&digest) {
            Ok(_) => return Ok(digest),
            Err(StoreError::Missing { .. } | StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut writer = self.writer(digest, content.len() as u64)?;
        writer.write(content)?;
        writer.commit()?;
        Ok(digest)
    }

    /// Begins a temporary file, locked so that no other process takes it for a dead writer's.
    pub(super) fn stage(&self) -> Result<Staged, StoreError> {
        let failed = |cause| StoreError::io("create a file in", &self.inner.tmp, cause);
        let file = tempfile::Builder::new()
            .prefix("")
            .tempfile_in(&self.inner.tmp)
            .map_err(failed)?;
        file.as_file().lock_shared().map_err(failed)?;
        Ok(Staged {
            file,
            hasher: blake3::Hasher::new(),
        })
    }

    /// Moves a finished temporary file, whose content was verified, into its place. A file already there is
    /// replaced: its content is the same, or it is damaged.
    pub(super) fn publish(
        &self,
        file: NamedTempFile,
        digest: &Digest,
        variant: Variant,
    ) -> Result<(), StoreError> {
        let path = self.path(digest, variant);
        let failed = |cause| StoreError::io("write", &path, cause);
        file.as_file()
            .set_modified(super::verify::blob_time())
            .map_err(failed)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(variant.mode()))
            .map_err(failed)?;
        let folder = path.parent().expect("a blob's path has a folder");
        match fs::create_dir(folder) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(failed(cause)),
            _ => {}
        }
        file.persist(&path).map_err(|error| failed(error.error))?;
        self.vouch(digest, variant, &path);
        Ok(())
    }
}

/// A temporary file and the hash of what was written to it.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) file: NamedTempFile,
    pub(super) hasher: blake3::Hasher,
}

impl Staged {
    fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let file = self.file.as_file_mut();
        let written = if chunk.len() >= HOLE_BYTES_MIN && chunk.iter().all(|byte| *byte == 0) {
            file.seek_relative(chunk.len() as i64)
        } else {
            file.write_all(chunk)
        };
        written.map_err(|cause| StoreError::io("write", self.file.path(), cause))?;
        update(&mut self.hasher, chunk);
        Ok(())
    }

    /// Copies a file whole, sharing its blocks where the file system can, and hashes the copy.
    pub(super) fn copy_of(mut self, source: &Path) -> Result<(Self, Digest), StoreError> {
        let unreadable = |cause| StoreError::io("read", source, cause);
        let mut from = File::open(source).map_err(unreadable)?;
        let target = self.file.path().to_owned();
        let failed = |cause| StoreError::io("write", &target, cause);
        io::copy(&mut from, self.file.as_file_mut()).map_err(failed)?;
        let mut copy = self.file.reopen().map_err(failed)?;
        let length = from.metadata().map_err(unreadable)?.len();
        let (digest, _) = digest_reader(&mut copy, length).map_err(failed)?;
        Ok((self, digest))
    }
}
