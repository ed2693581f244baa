//! The limit on what is kept: what was longest unused goes first.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;

use thresh_core::digest::Digest;

use super::place::{Place, is_gone};
use super::record::{HEADER_BYTES, Header, Kind, checksum};
use super::store::{Owner, Slot, State};
use super::{PACK_BYTES, PackError, PackStore};

/// Records of a pack, and where they are.
type Records = Vec<(Kind, Digest, Slot)>;

/// A pack that holds what nobody needs.
struct Losing {
    number: u32,
    bytes: u64,
    /// Bytes of it that nobody needs.
    lost: u64,
    needed: Records,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Chunks and recipes that were dropped.
    pub dropped: u64,
    /// Bytes of packs before.
    pub bytes_before: u64,
    /// Bytes of packs after.
    pub bytes_after: u64,
}

/// A sealed pack that is shorter than this is a small one.
const SMALL_BYTES: u64 = PACK_BYTES / 8;

impl PackStore {
    /// Puts small packs together, once there are more than `small_max` of them: each is an open file, and what is
    /// copied elsewhere is sealed long before it is full.
    ///
    /// # Errors
    /// A pack cannot be read, written or removed.
    pub fn merge(&self, small_max: usize) -> Result<(), PackError> {
        let small: Vec<Losing> = {
            let state = self.state();
            let packs = state.by_loss();
            let sealed = |pack: &Losing| {
                state
                    .packs
                    .get(&pack.number)
                    .is_some_and(|pack| pack.name.is_some())
            };
            let small = packs
                .into_iter()
                .filter(|pack| pack.bytes < SMALL_BYTES && sealed(pack));
            small.collect()
        };
        if small.len() <= small_max {
            return Ok(());
        }
        small.iter().try_for_each(|pack| self.move_away(pack))
    }

    /// Drops what was longest unused from packs that no other process writes, and nothing that was used since
    /// `keep_since` (seconds since the Unix epoch), until the packs have at most `bytes_max` bytes. What is left of packs
    /// that lose a tenth or more moves to the last one.
    ///
    /// # Errors
    /// A pack cannot be read, written or removed.
    pub fn sweep(&self, bytes_max: u64, keep_since: u32) -> Result<Swept, PackError> {
        let mut swept = Swept {
            bytes_before: self.bytes(),
            ..Swept::default()
        };
        if swept.bytes_before > bytes_max {
            // Room to grow, so that not every chunk that comes in moves others.
            swept.dropped = self.state().drop_unused(bytes_max - bytes_max / 10, keep_since);
            // The last one is moved like the others, to a new one.
            self.state().open = None;
            let packs = self.state().by_loss();
            for pack in packs {
                // To move nearly everything gains nearly nothing.
                if self.bytes() <= bytes_max || pack.lost < pack.bytes / 10 {
                    break;
                }
                self.move_away(&pack)?;
            }
        }
        swept.bytes_after = self.bytes();
        Ok(swept)
    }

    fn bytes(&self) -> u64 {
        self.state().packs.values().map(|pack| pack.bytes).sum()
    }

    /// Moves what a pack holds to the last one, and removes it.
    fn move_away(&self, losing: &Losing) -> Result<(), PackError> {
        let number = losing.number;
        for (kind, digest, slot) in &losing.needed {
            let place = self.state().packs.get(&number).map(|pack| pack.place.clone());
            let Some(place) = place else { return Ok(()) };
            let mut record = vec![0; HEADER_BYTES + slot.stored as usize];
            // What cannot be read now is not lost: it stays where it is.
            let is_there = match place.read_exact_at(&mut record, u64::from(slot.offset)) {
                Err(cause) if !is_gone(&cause) => {
                    return Err(PackError::io("read", &self.path_of(number))(cause));
                }
                read => read.is_ok(),
            };
            let header = record.first_chunk().and_then(Header::decode).filter(|header| {
                (header.kind, header.digest) == (*kind, *digest)
                    && header.sum == checksum(&record[HEADER_BYTES..])
            });
            let mut state = self.state();
            let now = state.slots.get(&(*kind, *digest)).copied();
            // It was dropped or stored again since.
            let Some(now) = now.filter(|now| (now.pack, now.offset) == (slot.pack, slot.offset)) else {
                continue;
            };
            match header.filter(|_| is_there) {
                Some(header) => self.write_record(&mut state, &header, &record, now.used)?,
                // It is damaged: nothing of it is worth moving.
                None => drop(state.slots.remove(&(*kind, *digest))),
            }
        }
        let mut state = self.state();
        // What was stored in it meanwhile, if it is still written to, keeps it.
        if state.open == Some(number) || state.slots.values().any(|slot| slot.pack == number) {
            return Ok(());
        }
        let removed = state.packs.remove(&number);
        if removed.is_some_and(|pack| matches!(pack.place, Place::Elsewhere(..))) {
            return Ok(());
        }
        let path = self.path_of(number);
        match fs::remove_file(&path) {
            // Another process was faster.
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(PackError::io("remove", &path)),
        }
    }
}

impl State {
    fn drop_unused(&mut self, bytes_max: u64, keep_since: u32) -> u64 {
        let mut live: u64 = self.slots.values().map(Slot::record_bytes).sum();
        let old = self.slots.iter().filter(|(_, slot)| slot.used < keep_since);
        let mut oldest_first: Vec<_> = old
            .map(|(key, slot)| (slot.used, slot.record_bytes(), *key))
            .collect();
        oldest_first.sort_unstable_by_key(|(used, _, (_, digest))| (*used, *digest));
        let mut dropped = 0;
        for (_, bytes, key) in oldest_first {
            if live <= bytes_max {
                break;
            }
            self.slots.remove(&key);
            live -= bytes;
            dropped += 1;
        }
        dropped
    }

    /// The packs that this process may remove, those that lose most first.
    fn by_loss(&self) -> Vec<Losing> {
        let mut needed: HashMap<u32, Records> = HashMap::new();
        for ((kind, digest), slot) in &self.slots {
            needed.entry(slot.pack).or_default().push((*kind, *digest, *slot));
        }
        let ours = self.packs.iter().filter(|(_, pack)| pack.owner != Owner::Another);
        let losing = ours.map(|(number, pack)| {
            let mut needed = needed.remove(number).unwrap_or_default();
            needed.sort_unstable_by_key(|(_, _, slot)| slot.offset);
            let kept: u64 = needed.iter().map(|(_, _, slot)| slot.record_bytes()).sum();
            Losing {
                number: *number,
                bytes: pack.bytes,
                lost: pack.bytes.saturating_sub(kept),
                needed,
            }
        });
        let mut losing: Vec<Losing> = losing.collect();
        losing.sort_by_key(|pack| {
            std::cmp::Reverse(u128::from(pack.lost) * 1_000 / u128::from(pack.bytes.max(1)))
        });
        losing
    }
}
