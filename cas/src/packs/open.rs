//! Opening the folder: what is in the packs, and what a crash left.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use thresh_core::digest::Digest;

use super::record::{BEGIN, HEADER_BYTES, Header, Kind, SEAL, TRAILER_BYTES, decode_list};
use super::store::{Inner, Owner, Pack, State, path_of};
use super::{PACK_BYTES, PackError, PackStore};

impl PackStore {
    /// Opens the folder, which is made if absent, and cuts off what a crash left unfinished. What other processes
    /// store from now on is not seen.
    ///
    /// # Errors
    /// The folder cannot be made, read or written.
    pub fn open(dir: &Path) -> Result<Self, PackError> {
        fs::create_dir_all(dir).map_err(PackError::io("create folder", dir))?;
        let mut state = State::default();
        for number in packs_in(dir)? {
            let (pack, records) = open_pack(&path_of(dir, number))?;
            let used = used_at(&pack.file);
            for (offset, header) in &records {
                state.note(number, *offset, header, used);
            }
            state.open = (pack.owner == Owner::Us && pack.bytes < PACK_BYTES).then_some(number);
            let pack = Pack {
                file: Arc::new(pack.file),
                bytes: pack.bytes,
                records: if pack.owner == Owner::Us {
                    records
                } else {
                    Vec::new()
                },
                owner: pack.owner,
            };
            state.packs.insert(number, pack);
        }
        let inner = Inner {
            dir: dir.to_owned(),
            state: Mutex::new(state),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

/// The numbers of the packs in the folder, in order.
fn packs_in(dir: &Path) -> Result<Vec<u32>, PackError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(PackError::io("read folder", dir))? {
        let name = entry.map_err(PackError::io("read folder", dir))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".pack"));
        numbers.extend(number.and_then(|number| u32::from_str_radix(number, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

struct Opened {
    file: File,
    bytes: u64,
    owner: Owner,
}

fn open_pack(path: &Path) -> Result<(Opened, Vec<(u32, Header)>), PackError> {
    let failed = |cause| PackError::io("open", path)(cause);
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if let Some(records) = list_of(&file, length) {
        let opened = Opened {
            file,
            bytes: length,
            owner: Owner::Nobody,
        };
        return Ok((opened, records));
    }
    // Whoever writes to it has it locked; its end may be in the making.
    let owner = match file.try_lock() {
        Ok(()) => Owner::Us,
        Err(TryLockError::WouldBlock) => Owner::Another,
        Err(TryLockError::Error(cause)) => return Err(failed(cause)),
    };
    let (records, mut bytes) = scan(&file, length);
    if owner == Owner::Us && bytes < length {
        file.set_len(bytes)
            .map_err(PackError::io("cut off the torn end of", path))?;
    }
    if owner == Owner::Us && bytes == 0 {
        file.write_all_at(BEGIN, 0)
            .map_err(PackError::io("write", path))?;
        bytes = BEGIN.len() as u64;
    }
    Ok((Opened { file, bytes, owner }, records))
}

/// The records of a sealed pack; `None` where it is not sealed, or its list is damaged.
fn list_of(file: &File, length: u64) -> Option<Vec<(u32, Header)>> {
    let at = length.checked_sub(TRAILER_BYTES)?;
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.read_exact_at(&mut trailer, at).ok()?;
    let (seal, offset) = trailer.split_first_chunk()?;
    let offset = u64::from_le_bytes(offset.try_into().ok()?);
    let header = (seal == SEAL).then(|| header_at(file, offset)).flatten()?;
    let fits = header.kind == Kind::List && offset.checked_add(header.record_bytes()) == Some(at);
    let mut list = vec![0; fits.then_some(header.stored)? as usize];
    file.read_exact_at(&mut list, offset + HEADER_BYTES as u64).ok()?;
    (Digest::of(&list) == header.digest)
        .then(|| decode_list(&list))
        .flatten()
}

fn header_at(file: &File, offset: u64) -> Option<Header> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, offset).ok()?;
    Header::decode(&header)
}

/// The records of a pack up to the first that is torn, and where they end. The data of the others is verified
/// when it is used.
fn scan(file: &File, length: u64) -> (Vec<(u32, Header)>, u64) {
    let mut begin = [0; BEGIN.len()];
    if file.read_exact_at(&mut begin, 0).is_err() || begin != *BEGIN {
        return (Vec::new(), 0);
    }
    let (mut records, mut at) = (Vec::new(), BEGIN.len() as u64);
    while let Some(header) = header_at(file, at) {
        let end = at + header.record_bytes();
        let (Ok(offset), true) = (u32::try_from(at), end <= length && header.kind != Kind::List) else {
            break;
        };
        records.push((offset, header));
        at = end;
    }
    (records, at)
}

/// What of a pack was last used is not kept: the time of its last change stands for it.
fn used_at(file: &File) -> u32 {
    let changed = file.metadata().map_or(0, |metadata| metadata.mtime());
    u32::try_from(changed).unwrap_or(0)
}
