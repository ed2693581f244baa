//! Blobs as files: verified before anyone executes them or links them into a tree.

use super::{BlobStore, StoreError, Variant, is_disk_full};
use crate::hash::digest_reader;
use crate::stamp::FileStamp;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thresh_core::digest::Digest;

/// The modification time of every blob, in seconds since the Unix epoch (9 September 2001).
const BLOB_TIME_S: u64 = 1_000_000_000;

pub(crate) fn blob_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(BLOB_TIME_S)
}

impl BlobStore {
    /// Returns the path of the blob's file (mode 0644), after its content was verified: by reading it, once in
    /// the life of the process as long as its stamp stays the same.
    ///
    /// # Errors
    /// The blob is missing, was damaged (then it has been removed), or cannot be read.
    pub fn path_verified(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        self.verified(digest, Variant::Plain)
    }

    /// As [`BlobStore::path_verified`], for the blob as an executable file (mode 0755), which is made from the
    /// plain one when it is absent or damaged.
    ///
    /// # Errors
    /// The blob is missing, was damaged, or cannot be read; or the disk is full.
    pub fn executable_verified(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        match self.verified(digest, Variant::Executable) {
            Err(StoreError::Missing { .. } | StoreError::Damaged { .. }) => self.make_executable(digest),
            done => done,
        }
    }

    fn make_executable(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let plain = self.verified(digest, Variant::Plain)?;
        let (copy, actual) = self.stage()?.copy_of(&plain)?;
        if actual != *digest {
            let stamp = FileStamp::of(&plain).map_err(|cause| StoreError::io("read", &plain, cause))?;
            self.discard(digest, Variant::Plain, &stamp);
            return Err(StoreError::Damaged { digest: *digest });
        }
        self.publish(copy.file, digest, Variant::Executable)?;
        Ok(self.path(digest, Variant::Executable))
    }

    /// Puts a hard link to the verified blob at `to`. What is there already stays as it is. `false` when the system has no
    /// such links there: another device, too many links, not permitted.
    ///
    /// # Errors
    /// The blob is missing, was damaged, or cannot be read; or the disk is full.
    pub fn link(&self, digest: &Digest, executable: bool, to: &Path) -> Result<bool, StoreError> {
        let variant = Variant::of(executable);
        let blob = self.verified_as(digest, variant)?;
        match fs::hard_link(&blob, to) {
            Ok(()) => self.renew(digest, variant, &blob),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            Err(cause) if is_disk_full(&cause) => {
                return Err(StoreError::DiskFull { path: to.to_owned() });
            }
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn verified_as(&self, digest: &Digest, variant: Variant) -> Result<PathBuf, StoreError> {
        match variant {
            Variant::Plain => self.path_verified(digest),
            Variant::Executable => self.executable_verified(digest),
        }
    }

    fn verified(&self, digest: &Digest, variant: Variant) -> Result<PathBuf, StoreError> {
        let path = self.path(digest, variant);
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { digest: *digest },
            _ => StoreError::io("read", &path, cause),
        };
        let stamp = FileStamp::of(&path).map_err(failed)?;
        if !self.is_vouched(digest, variant, &stamp) {
            let mut file = File::open(&path).map_err(failed)?;
            // Older versions kept blobs read-only, and whoever is given a link to one sees its mode. It counts for nothing else.
            let mode = file.metadata().map_err(failed)?.permissions().mode();
            if mode & 0o777 != variant.mode() {
                let _ = file.set_permissions(fs::Permissions::from_mode(variant.mode()));
            }
            // The stamp is taken before reading: a write that comes later shows against it.
            let stamp = FileStamp::from_metadata(&file.metadata().map_err(failed)?);
            let (actual, _) = digest_reader(&mut file, stamp.size).map_err(failed)?;
            if actual != *digest {
                self.discard(digest, variant, &stamp);
                return Err(StoreError::Damaged { digest: *digest });
            }
            self.record(digest, variant, stamp);
        }
        self.touch(digest);
        Ok(path)
    }

    fn is_vouched(&self, digest: &Digest, variant: Variant, stamp: &FileStamp) -> bool {
        self.records()
            .get(digest)
            .is_some_and(|record| record.verified[variant as usize] == Some(*stamp))
    }

    /// Records that the content behind this stamp was verified. A file that lacks the blobs' modification time
    /// (a restored backup, say) is verified at each use: its next change might not show in the stamp.
    fn record(&self, digest: &Digest, variant: Variant, stamp: FileStamp) {
        let ours = stamp.mtime_ns == BLOB_TIME_S as i64 * 1_000_000_000;
        let mut records = self.records();
        records.entry(*digest).or_default().verified[variant as usize] = ours.then_some(stamp);
    }

    /// Records a file whose content was verified while it was written.
    pub(super) fn vouch(&self, digest: &Digest, variant: Variant, path: &Path) {
        if let Ok(stamp) = FileStamp::of(path) {
            self.record(digest, variant, stamp);
        }
        self.touch(digest);
    }

    /// Takes over the stamp of a verified file after hard links to it were made, which changes its inode (and
    /// so its ctime) and not its content.
    fn renew(&self, digest: &Digest, variant: Variant, path: &Path) {
        let Ok(now) = FileStamp::of(path) else { return };
        let mut records = self.records();
        let verified = &mut records.entry(*digest).or_default().verified[variant as usize];
        *verified = verified
            .filter(|old| {
                FileStamp {
                    ctime_ns: now.ctime_ns,
                    ..*old
                } == now
            })
            .and(Some(now));
    }

    /// Removes a damaged file, unless a sound one has taken its place.
    pub(super) fn discard(&self, digest: &Digest, variant: Variant, damaged: &FileStamp) {
        let path = self.path(digest, variant);
        let same = FileStamp::of(&path).is_ok_and(|now| (now.dev, now.ino) == (damaged.dev, damaged.ino));
        if same {
            // If it cannot be removed, it is found damaged again at its next use.
            let _ = fs::remove_file(&path);
        }
        self.records().entry(*digest).or_default().verified[variant as usize] = None;
    }
}
