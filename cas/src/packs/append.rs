//! How chunks come in.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::statvfs;
use thresh_core::chunk::{Codec, Frame};
use thresh_core::digest::{Digest, FieldHasher};

use super::place::Place;
use super::record::{BEGIN, HEADER_BYTES, Header, Kind, SEAL, checksum, encode_list};
use super::store::{Owner, Pack, State, now};
use super::{PACK_BYTES, PackError, PackStore};
use crate::chunk::{pack, unpack};

/// The part of a disk that is left free, and the most of it in bytes.
const RESERVED_SHARE: u64 = 16;
const RESERVED_BYTES_MAX: u64 = 256 << 20;

impl PackStore {
    /// Stores the chunk of a frame, after it was verified, and returns its content. One that was packed against others
    /// is packed anew, so that it can be had without them; how it came is kept besides, for those who have them, too.
    ///
    /// # Errors
    /// The frame is not what it says, chunks that it was packed against are missing, or the disk is full.
    pub fn put(&self, frame: &Frame) -> Result<Vec<u8>, PackError> {
        if frame.bases.is_empty() {
            let content = unpack(frame, &[])?;
            self.append(Kind::Chunk, frame.digest, frame)?;
            return Ok(content);
        }
        let content = unpack(frame, &self.base(&frame.bases)?)?;
        self.append(Kind::Chunk, frame.digest, &pack(frame.digest, &content))?;
        self.append(Kind::Delta, delta_digest(&frame.digest, &frame.bases), frame)?;
        Ok(content)
    }

    /// Writes a record behind the others, unless there is one already.
    pub(super) fn append(&self, kind: Kind, digest: Digest, frame: &Frame) -> Result<(), PackError> {
        let header = Header {
            kind,
            codec: frame.codec,
            digest,
            size: frame.size,
            stored: u32::try_from(frame.data.len()).unwrap_or(u32::MAX),
            sum: checksum(&frame.data),
        };
        let mut record = Vec::with_capacity(HEADER_BYTES + frame.data.len());
        record.extend_from_slice(&header.encode());
        record.extend_from_slice(&frame.data);
        let mut state = self.state();
        if state.touch(kind, &digest, now()) {
            return Ok(());
        }
        self.check_room(record.len() as u64)?;
        self.write_record(&mut state, &header, &record, now())
    }

    /// Leaves some of the disk to others: a coordinator's journal, which lies beside its blobs, must go on.
    fn check_room(&self, bytes: u64) -> Result<(), PackError> {
        let path = self.inner.dir.as_path();
        let disk = statvfs(path).map_err(|errno| PackError::io("look at the disk of", path)(errno.into()))?;
        let reserved = (disk.f_blocks.saturating_mul(disk.f_frsize) / RESERVED_SHARE).min(RESERVED_BYTES_MAX);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < bytes.saturating_add(reserved) {
            return Err(PackError::DiskFull {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    /// Writes a record behind the others, in the place of one that there may be.
    pub(super) fn write_record(
        &self,
        state: &mut State,
        header: &Header,
        record: &[u8],
        used: u32,
    ) -> Result<(), PackError> {
        let number = self.open_for(state)?;
        let pack = state.packs.get_mut(&number).expect("it has just been opened");
        let offset = write(pack, record).map_err(PackError::io("write", &self.path_of(number)))?;
        pack.records.push((offset, *header));
        let full = pack.bytes >= PACK_BYTES;
        state.note(number, offset, header, used);
        if full {
            self.seal(state, number)?;
        }
        Ok(())
    }

    /// The pack that is being written; a new one, where there is none.
    fn open_for(&self, state: &mut State) -> Result<u32, PackError> {
        if let Some(number) = state.open {
            return Ok(number);
        }
        let last = state.packs.last_key_value().map_or(0, |(last, _)| *last);
        let (number, file) = self.create_pack(last + 1)?;
        let pack = Pack {
            place: Place::Here(Arc::new(file)),
            bytes: BEGIN.len() as u64,
            name: None,
            records: Vec::new(),
            owner: Owner::Us,
        };
        state.packs.insert(number, pack);
        state.open = Some(number);
        Ok(number)
    }

    /// Makes a pack with the first number from `number` on that is free, and locks it.
    fn create_pack(&self, mut number: u32) -> Result<(u32, File), PackError> {
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        loop {
            let path = self.path_of(number);
            let file = match options.open(&path) {
                // Another process was faster.
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
                    number += 1;
                    continue;
                }
                created => created.map_err(PackError::io("create", &path))?,
            };
            match file.try_lock() {
                // Another process has just opened it and looks whether it is anybody's.
                Err(TryLockError::WouldBlock) => number += 1,
                locked => {
                    let cause = locked.map_err(std::io::Error::from);
                    let begun = cause
                        .and_then(|()| give_away(&file, &self.inner.dir))
                        .and_then(|()| file.write_all_at(BEGIN, 0));
                    return match begun {
                        Ok(()) => Ok((number, file)),
                        Err(cause) => {
                            let _ = std::fs::remove_file(&path);
                            Err(PackError::io("write", &path)(cause))
                        }
                    };
                }
            }
        }
    }

    pub(super) fn seal(&self, state: &mut State, number: u32) -> Result<(), PackError> {
        let pack = state.packs.get_mut(&number).expect("it is being written");
        let list = encode_list(&pack.records);
        let header = Header {
            kind: Kind::List,
            codec: Codec::Raw,
            digest: Digest::of(&list),
            size: u32::try_from(list.len()).unwrap_or(u32::MAX),
            stored: u32::try_from(list.len()).unwrap_or(u32::MAX),
            sum: checksum(&list),
        };
        let mut end = header.encode().to_vec();
        end.extend_from_slice(&list);
        end.extend_from_slice(SEAL);
        end.extend_from_slice(&pack.bytes.to_le_bytes());
        write(pack, &end).map_err(PackError::io("write", &self.path_of(number)))?;
        pack.records = Vec::new();
        pack.owner = Owner::Nobody;
        pack.name = Some(header.digest);
        if let Place::Here(file) = &pack.place {
            let _ = file.unlock();
        }
        if state.open == Some(number) {
            state.open = None;
        }
        Ok(())
    }
}

/// Writes behind the end of a pack, or leaves it as it was. Returns where.
fn write(pack: &mut Pack, bytes: &[u8]) -> std::io::Result<u32> {
    let offset = u32::try_from(pack.bytes).map_err(std::io::Error::other)?;
    let Place::Here(file) = &pack.place else {
        return Err(ErrorKind::ReadOnlyFilesystem.into());
    };
    match file.write_all_at(bytes, pack.bytes) {
        Ok(()) => {
            pack.bytes += bytes.len() as u64;
            Ok(offset)
        }
        Err(cause) => {
            // If this fails as well, the torn end is overwritten by the next record, or cut off at the next start.
            let _ = file.set_len(pack.bytes);
            Err(cause)
        }
    }
}

/// The name of a chunk packed against others.
pub(super) fn delta_digest(chunk: &Digest, bases: &[Digest]) -> Digest {
    let mut hasher = FieldHasher::new("thresh chunk against bases v2");
    hasher.field(chunk.as_bytes());
    for base in bases {
        hasher.field(base.as_bytes());
    }
    hasher.finish()
}

/// Gives a file that root has made to the owner of its folder, who could not open it otherwise: a coordinator whose blobs root has
/// looked after.
fn give_away(file: &File, folder: &Path) -> std::io::Result<()> {
    let owner = std::fs::metadata(folder)?;
    if !rustix::process::geteuid().is_root() || (owner.uid(), owner.gid()) == (0, 0) {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))
}
