//! Results that were lately asked for or stored, in memory. Only the coordinator that leads writes results, so that
//! what it remembers is what is stored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thresh_core::digest::Digest;

/// The most bytes of results in each generation.
const GENERATION_BYTES_MAX: usize = 32 << 20;
/// What an entry takes beside its result, roughly.
const ENTRY_BYTES: usize = 128;
/// After this an entry is asked for again, so that its use is noted where it is stored.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// Results by their keys. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    generations: Arc<Mutex<Generations>>,
}

/// What is used moves to the young generation; when that is full, the old one is forgotten and the young one is old.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Entry>,
    young_bytes: usize,
    old: HashMap<Digest, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    result: Arc<[u8]>,
    since: Instant,
}

impl Recent {
    pub(super) fn get(&self, key: &Digest) -> Option<Arc<[u8]>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match generations.young.get(key) {
            Some(entry) => entry.clone(),
            None => {
                let entry = generations.old.remove(key)?;
                generations.put(*key, entry.clone());
                entry
            }
        };
        (entry.since.elapsed() < FRESH).then_some(entry.result)
    }

    pub(super) fn put(&self, key: Digest, result: &[u8]) {
        let entry = Entry {
            result: result.into(),
            since: Instant::now(),
        };
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.old.remove(&key);
        generations.put(key, entry);
    }
}

impl Generations {
    fn put(&mut self, key: Digest, entry: Entry) {
        if self.young_bytes > GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += entry.result.len() + ENTRY_BYTES;
        if let Some(before) = self.young.insert(key, entry) {
            self.young_bytes -= before.result.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_counts_and_what_is_unused_goes() {
        let recent = Recent::default();
        let key = |number: u32| Digest::of(&number.to_le_bytes());
        let large = vec![7; GENERATION_BYTES_MAX / 4];
        recent.put(key(0), b"first");
        recent.put(key(0), b"second");
        assert_eq!(recent.get(&key(0)).as_deref(), Some(&b"second"[..]));
        recent.put(key(1), b"unused");
        for number in 2..14 {
            recent.put(key(number), &large);
            assert!(recent.get(&key(0)).is_some());
        }
        assert_eq!(recent.get(&key(1)), None);
        let generations = recent.generations.lock().unwrap();
        assert!(generations.young_bytes <= 2 * GENERATION_BYTES_MAX);
    }
}
