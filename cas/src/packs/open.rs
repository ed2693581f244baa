//! Opening the folder: what is in the packs, and what a crash left.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use thresh_core::digest::Digest;

use super::ahead::Sharers;
use super::place::Place;
use super::record::{BEGIN, HEADER_BYTES, Header, Kind, TRAILER_BYTES, checksum, list_offset, read_list};
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
            state.lost += pack.lost;
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
    /// Places where a record can no longer be told.
    lost: u64,
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
            lost: 0,
            name: Some(name),
        };
        return Ok(Some(opened));
    }
    let Scanned {
        records,
        end: mut bytes,
        lost,
    } = scan(&file, metadata.len());
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
        lost,
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

/// What is found in a pack that has no list. The data of its records is verified when it is used.
#[derive(Default)]
struct Scanned {
    records: Vec<(u32, Header)>,
    /// Where the last one ends.
    end: u64,
    /// How many times there was none where one should be, and others behind it.
    lost: u64,
}

/// Looks for the records of a pack. What is torn at the end is not among them, and what has a damaged header is passed over.
fn scan(file: &File, length: u64) -> Scanned {
    let mut found = Scanned::default();
    let mut begin = [0; BEGIN.len()];
    if file.read_exact_at(&mut begin, 0).is_err() || begin != *BEGIN {
        return found;
    }
    found.end = BEGIN.len() as u64;
    loop {
        let header = header_at(file, found.end);
        if header.is_some_and(|header| header.kind == Kind::List) {
            return found;
        }
        let here = header.and_then(|header| whole_record(found.end, header, length));
        let next = here.or_else(|| {
            let mut behind = headers_from(file, found.end + 1);
            let next = behind.find_map(|at| record_behind(file, at, length));
            found.lost += u64::from(next.is_some());
            next
        });
        let Some((offset, header)) = next else {
            return found;
        };
        found.end = u64::from(offset) + header.record_bytes();
        found.records.push((offset, header));
    }
}

/// A record that ends within the pack.
fn whole_record(at: u64, header: Header, length: u64) -> Option<(u32, Header)> {
    let is_whole = at + header.record_bytes() <= length;
    Some((u32::try_from(at).ok()?, header)).filter(|_| is_whole)
}

/// A record behind something damaged: its data has to be its own, as a list holds headers, too, and blobs may.
fn record_behind(file: &File, at: u64, length: u64) -> Option<(u32, Header)> {
    let (offset, header) = whole_record(at, header_at(file, at)?, length)?;
    let mut data = vec![0; header.stored as usize];
    file.read_exact_at(&mut data, at + HEADER_BYTES as u64).ok()?;
    let is_its_own = header.kind != Kind::List && header.stored > 0 && checksum(&data) == header.sum;
    is_its_own.then_some((offset, header))
}

/// Where a header may begin, from a place of a file on.
fn headers_from(file: &File, from: u64) -> impl Iterator<Item = u64> {
    const TOGETHER: usize = 1 << 20;
    let mut window = vec![0; TOGETHER + HEADER_BYTES];
    let windows = (from..).step_by(TOGETHER).map_while(move |start| {
        let mut filled = 0;
        while filled < window.len() {
            match file.read_at(&mut window[filled..], start + filled as u64) {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
        let places = 0..(filled + 1).saturating_sub(HEADER_BYTES).min(TOGETHER);
        let found: Vec<u64> = places
            .filter(|at| Header::may_begin(&window[*at..]))
            .map(|at| start + at as u64)
            .collect();
        (filled > 0).then_some(found)
    });
    windows.flatten()
}

/// What of a pack was last used is not kept: the time of its last change stands for it.
fn used_at(file: &File) -> u32 {
    let changed = file.metadata().map_or(0, |metadata| metadata.mtime());
    u32::try_from(changed).unwrap_or(0)
}
