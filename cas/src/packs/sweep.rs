//! The limit on what is kept: what was longest unused goes first.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use thresh_core::chunk::Frame;
use thresh_core::digest::Digest;

use super::record::{HEADER_BYTES, Header, Kind};
use super::store::{Owner, Slot, State};
use super::{PackError, PackStore};

/// Records of a pack, and where they are.
type Records = Vec<(Kind, Digest, Slot)>;

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

impl PackStore {
    /// Drops what was longest unused from packs that no other process writes, and nothing that was used since `keep_since` (seconds since the Unix epoch),
    /// until the packs have at most `bytes_max` bytes. What is left of packs that lose much moves to the last one.
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
            let packs = self.state().by_loss();
            for (number, records) in packs {
                if self.bytes() <= bytes_max {
                    break;
                }
                self.move_away(number, &records)?;
            }
        }
        swept.bytes_after = self.bytes();
        Ok(swept)
    }

    fn bytes(&self) -> u64 {
        self.state().packs.values().map(|pack| pack.bytes).sum()
    }

    /// Moves what a pack holds to the last one, and removes it.
    fn move_away(&self, number: u32, records: &[(Kind, Digest, Slot)]) -> Result<(), PackError> {
        for (kind, digest, slot) in records {
            let file = self.state().packs.get(&number).map(|pack| pack.file.clone());
            let mut record = vec![0; HEADER_BYTES + slot.stored as usize];
            let read = file.map(|file| file.read_exact_at(&mut record, u64::from(slot.offset)));
            let header = record.first_chunk().and_then(Header::decode);
            // What cannot be read is damaged: nothing of it is worth moving.
            self.state().forget(*kind, digest, *slot);
            let (Some(Ok(())), Some(header)) = (read, header) else {
                continue;
            };
            let frame = Frame {
                digest: *digest,
                size: header.size,
                bases: Vec::new(),
                codec: header.codec,
                data: record.split_off(HEADER_BYTES),
            };
            self.append(*kind, *digest, &frame)?;
            if let Some(moved) = self.state().slots.get_mut(&(*kind, *digest)) {
                moved.used = slot.used;
            }
        }
        let mut state = self.state();
        // What was stored in it meanwhile, if it is still written to, keeps it.
        if state.open == Some(number) || state.slots.values().any(|slot| slot.pack == number) {
            return Ok(());
        }
        state.packs.remove(&number);
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

    /// The packs that hold what nobody needs, with what is needed of them; first those that hold least of it.
    fn by_loss(&mut self) -> Vec<(u32, Records)> {
        // The last one is moved like the others, to a new one.
        self.open = None;
        let mut needed: BTreeMap<u32, Records> = BTreeMap::new();
        for ((kind, digest), slot) in &self.slots {
            needed.entry(slot.pack).or_default().push((*kind, *digest, *slot));
        }
        let mut loss: HashMap<u32, u64> = HashMap::new();
        for (number, pack) in &self.packs {
            let bytes: u64 = (needed.get(number).into_iter().flatten())
                .map(|(_, _, slot)| slot.record_bytes())
                .sum();
            loss.insert(*number, pack.bytes.saturating_sub(bytes));
        }
        let ours = self.packs.iter().filter(|(_, pack)| pack.owner != Owner::Another);
        let mut packs: Vec<u32> = ours.map(|(number, _)| *number).collect();
        packs.sort_by_key(|number| std::cmp::Reverse(loss[number]));
        let with_records = |number: u32| {
            let mut records = needed.remove(&number).unwrap_or_default();
            records.sort_unstable_by_key(|(_, _, slot)| slot.offset);
            (number, records)
        };
        packs.into_iter().map(with_records).collect()
    }
}
