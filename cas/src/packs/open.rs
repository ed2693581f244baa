//! Opening the folder: what is in the packs, and what a crash left.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use thresh_core::digest::Digest;

use super::ahead::Sharers;
use super::place::Place;
use super::record::{BEGIN, HEADER_BYTES, Header, Kind, TRAILER_BYTES, list_offset, read_list};
use super::store::{Inner, Owner, Pack, State, path_of};
use super::{PACK_BYTES, PackError, PackStore};

impl PackStore {
    /// Opens the folder, which is made if absent, and cuts off what a crash left unfinished. What other processes
    /// store from now on is not seen.
    ///
    /// # Errors
    /// The folder cannot be made, read or written.
    pub fn open(dir: &Path) -> Result<Self, PackError> {
        Self::open_as(dir, File::try_lock_shared)
    }

    /// Opens the folder for as long as no other process may use it.
    ///
    /// # Errors
    /// Another process uses it, or it cannot be made, read or written.
    pub fn open_alone(dir: &Path) -> Result<Self, PackError> {
        Self::open_as(dir, File::try_lock)
    }

    fn open_as(dir: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Self, PackError> {
        fs::create_dir_all(dir).map_err(PackError::io("create folder", dir))?;
        let path = dir.join("lock");
        let mut options = File::options();
        let users = options.write(true).create(true).truncate(false).open(&path);
        let users = users.map_err(PackError::io("open", &path))?;
        match lock(&users) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PackError::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(cause)) => return Err(PackError::io("lock", &path)(cause)),
        }
        let mut state = State::default();
        for number in packs_in(dir)? {
            let Some(pack) = open_pack(&path_of(dir, number))? else {
                continue;
            };
            let used = used_at(&pack.file);
            for (offset, header) in &pack.records {
                state.note(number, *offset, header, used);
            }
            state.open = (pack.owner == Owner::Us && pack.bytes < PACK_BYTES).then_some(number);
            let pack = Pack {
                place: Place::Here(Arc::new(pack.file)),
                bytes: pack.bytes,
                name: pack.name,
                records: if pack.owner == Owner::Us {
                    pack.records
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
            sharers: Sharers::default(),
            _users: users,
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
    records: Vec<(u32, Header)>,
    /// Of the list of a sealed one.
    name: Option<Digest>,
}

/// Opens a pack; `None` when it is gone meanwhile.
fn open_pack(path: &Path) -> Result<Option<Opened>, PackError> {
    let failed = |cause| PackError::io("open", path)(cause);
    let file = match File::options().read(true).write(true).open(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    // Whoever writes to it has it locked; its end may be in the making. What it is, is looked at only then.
    let locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(cause)) => return Err(failed(cause)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.nlink() == 0 {
        return Ok(None);
    }
    if let Some((records, name)) = list_of(&file, metadata.len()) {
        file.unlock().map_err(failed)?;
        let opened = Opened {
            file,
            bytes: metadata.len(),
            owner: Owner::Nobody,
            records,
            name: Some(name),
        };
        return Ok(Some(opened));
    }
    let (records, mut bytes) = scan(&file, metadata.len());
    if locked && bytes < metadata.len() {
        file.set_len(bytes)
            .map_err(PackError::io("cut off the torn end of", path))?;
    }
    if locked && bytes == 0 {
        file.write_all_at(BEGIN, 0)
            .map_err(PackError::io("write", path))?;
        bytes = BEGIN.len() as u64;
    }
    let owner = if locked { Owner::Us } else { Owner::Another };
    Ok(Some(Opened {
        file,
        bytes,
        owner,
        records,
        name: None,
    }))
}

/// The records of a sealed pack and its name; `None` where it is not sealed, or its list is damaged.
fn list_of(file: &File, length: u64) -> Option<(Vec<(u32, Header)>, Digest)> {
    let at = length.checked_sub(TRAILER_BYTES)?;
    let mut trailer = [0; TRAILER_BYTES as usize];
    file.read_exact_at(&mut trailer, at).ok()?;
    let offset = list_offset(&trailer, length)?;
    let mut end = vec![0; usize::try_from(at - offset).ok()?];
    file.read_exact_at(&mut end, offset).ok()?;
    read_list(&end)
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
