//! Digests of files, many at once and only where the memo does not know them.

use crate::memo::DigestMemo;
use crate::stamp::FileStamp;
use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;

/// How often a file that changes under the reader is read before it is given up.
const ATTEMPTS_MAX: u32 = 3;
/// Bytes read at once from a large file.
const READ_BYTES: u64 = 2 << 20;
/// From this length on, hashing on several threads pays.
const PARALLEL_BYTES_MIN: usize = 128 << 10;

/// A file's digest could not be told.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The file is not there.
    #[error("read {}: no such file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("read {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A folder, socket, pipe or device where a file was expected.
    #[error("read {}: not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file was written to each time it was read.
    #[error("hash {}: it changes while it is read; stop what writes to it and try again", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
}

impl DigestError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NotAFile { .. } => Fault::Input,
            Self::Missing { .. } | Self::Unreadable { .. } | Self::Changing { .. } => Fault::Environment,
        }
    }

    /// The file it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing { path }
            | Self::Unreadable { path, .. }
            | Self::NotAFile { path }
            | Self::Changing { path } => path,
        }
    }

    fn io(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Unreadable { path, cause },
        }
    }
}

/// A file's digest, and the stamp that the file bore when it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// The file, as the caller named it.
    pub path: PathBuf,
    /// Digest of the content.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// The file's stamp.
    pub stamp: FileStamp,
}

/// Hashes one file, following symbolic links.
///
/// # Errors
/// The file cannot be read, or changes while it is read.
pub fn digest_file(path: &Path) -> Result<Digested, DigestError> {
    let found = hash_stable(path, OFlags::empty())?;
    Ok(Digested {
        path: path.to_owned(),
        digest: found.digest,
        size: found.stamp.size,
        stamp: found.stamp,
    })
}

/// Tells the digests of many files, following symbolic links, on all cores; in the order given. Files that
/// `memo` knows are not read, and it learns the others.
///
/// # Errors
/// One of the files cannot be read, or changes while it is read.
pub fn digest_many(paths: &[PathBuf], memo: &mut DigestMemo) -> Result<Vec<Digested>, DigestError> {
    digest_each(paths, memo).into_iter().collect()
}

/// As [`digest_many`], where each file may fail by itself.
pub fn digest_each(paths: &[PathBuf], memo: &mut DigestMemo) -> Vec<Result<Digested, DigestError>> {
    let known = &*memo;
    let found: Vec<Result<Found, DigestError>> = paths
        .par_iter()
        .map(|path| {
            let metadata = std::fs::metadata(path).map_err(|cause| DigestError::io(path, cause))?;
            find(path, &metadata, OFlags::empty(), known)
        })
        .collect();
    let digested = paths.iter().zip(found).map(|(path, found)| {
        let found = found?;
        found.teach(memo);
        Ok(Digested {
            path: path.clone(),
            digest: found.digest,
            size: found.stamp.size,
            stamp: found.stamp,
        })
    });
    digested.collect()
}

/// A digest, from the memo or from reading the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) digest: Digest,
    pub(crate) stamp: FileStamp,
    /// When reading began; none when the memo knew.
    began: Option<SystemTime>,
    pub(crate) executable: bool,
}

impl Found {
    /// Tells the memo that the digest was used, or what was learnt.
    pub(crate) fn teach(&self, memo: &mut DigestMemo) {
        match self.began {
            None => memo.mark_used(&self.stamp),
            Some(began) => memo.remember(self.stamp, self.digest, began),
        }
    }

    /// Whether every later write must show in the stamp.
    pub(crate) fn settled(&self) -> bool {
        self.began.is_none_or(|began| self.stamp.settled_before(began))
    }
}

/// Finds the digest of a file whose metadata was just read. `flags` are added when the file is opened.
pub(crate) fn find(
    path: &Path,
    metadata: &Metadata,
    flags: OFlags,
    memo: &DigestMemo,
) -> Result<Found, DigestError> {
    let stamp = FileStamp::from_metadata(metadata);
    match memo.get(&stamp) {
        Some(digest) if metadata.is_file() => Ok(Found {
            digest,
            stamp,
            began: None,
            executable: is_executable(metadata),
        }),
        _ => hash_stable(path, flags),
    }
}

fn hash_stable(path: &Path, flags: OFlags) -> Result<Found, DigestError> {
    let failed = |cause| DigestError::io(path, cause);
    for _ in 0..ATTEMPTS_MAX {
        let began = SystemTime::now();
        let mut file = open(path, flags).map_err(failed)?;
        let before = file.metadata().map_err(failed)?;
        if !before.is_file() {
            return Err(DigestError::NotAFile {
                path: path.to_owned(),
            });
        }
        let (digest, size) = digest_reader(&mut file, before.len()).map_err(failed)?;
        let stamp = FileStamp::from_metadata(&before);
        let after = FileStamp::from_metadata(&file.metadata().map_err(failed)?);
        if stamp == after && size == stamp.size {
            return Ok(Found {
                digest,
                stamp,
                began: Some(began),
                executable: is_executable(&before),
            });
        }
    }
    Err(DigestError::Changing {
        path: path.to_owned(),
    })
}

/// Opens a file for reading. Non-blocking, so that a pipe put in its place cannot hold the caller up.
fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// Whether the owner may execute the file: the one mode bit that git, too, keeps.
fn is_executable(metadata: &Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0
}

/// Hashes all of `source`; returns the digest and the bytes read. `size_hint` only sizes the buffer.
///
/// # Errors
/// It cannot be read.
pub fn digest_reader(source: &mut impl Read, size_hint: u64) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; size_hint.saturating_add(1).clamp(4 << 10, READ_BYTES) as usize];
    loop {
        let filled = fill(source, &mut buffer)?;
        update(&mut hasher, &buffer[..filled]);
        if filled < buffer.len() {
            return Ok((finish(&hasher), hasher.count()));
        }
    }
}

/// Adds bytes to a hash, on several threads when there are enough of them.
pub(crate) fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    if bytes.len() < PARALLEL_BYTES_MIN {
        hasher.update(bytes);
    } else {
        hasher.update_rayon(bytes);
    }
}

/// The digest of what was hashed so far.
pub(crate) fn finish(hasher: &blake3::Hasher) -> Digest {
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Reads until the buffer is full or the source ends; returns the bytes read.
pub(crate) fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn digests_are_those_of_the_content_at_every_size() {
        let dir = tempfile::tempdir().unwrap();
        for size in [
            0,
            1,
            4095,
            4096,
            4097,
            200_000,
            READ_BYTES as usize,
            READ_BYTES as usize + 1,
        ] {
            let content: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let path = dir.path().join(size.to_string());
            fs::write(&path, &content).unwrap();
            let digested = digest_file(&path).unwrap();
            assert_eq!(
                (digested.digest, digested.size),
                (Digest::of(&content), size as u64)
            );
        }
    }

    #[test]
    fn many_files_come_back_in_order_and_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..100).map(|i| dir.path().join(i.to_string())).collect();
        for (i, path) in paths.iter().enumerate() {
            fs::write(path, i.to_string()).unwrap();
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("7", &link).unwrap();
        let mut memo = DigestMemo::default();
        let asked: Vec<PathBuf> = paths.iter().cloned().chain([link]).collect();
        let found = digest_many(&asked, &mut memo).unwrap();
        assert_eq!(found.len(), 101);
        for (i, digested) in found[..100].iter().enumerate() {
            assert_eq!(digested.path, paths[i]);
            assert_eq!(digested.digest, Digest::of(i.to_string().as_bytes()));
        }
        assert_eq!(found[100].digest, Digest::of(b"7"));
    }

    #[test]
    fn what_is_no_readable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        let error = digest_many(std::slice::from_ref(&absent), &mut DigestMemo::default()).unwrap_err();
        assert!(
            matches!(&error, DigestError::Missing { path } if *path == absent),
            "{error}"
        );
        assert!(matches!(
            digest_file(dir.path()),
            Err(DigestError::NotAFile { .. })
        ));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(matches!(digest_file(&fifo), Err(DigestError::NotAFile { .. })));
    }

    #[test]
    fn a_file_that_never_rests_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = File::options().append(true).open(&path).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    io::Write::write_all(&mut &file, &[1]).unwrap();
                }
            });
            let changing = (0..1000).any(|_| matches!(digest_file(&path), Err(DigestError::Changing { .. })));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(changing);
        });
    }
}
