//! The state machine.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::SpreadPolicy;
use crate::digest::Digest;
use crate::time::Timestamp;

/// Where someone is to take a blob from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Where blobs are kept.
    Store,
    /// Another worker of the site, by its address.
    Peer(String),
}

/// Someone wants a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Names the wish; no other that goes on has this number.
    pub number: u64,
    /// The site of who wants it.
    pub site: String,
    /// The blob.
    pub digest: Digest,
    /// The address of who wants it.
    pub address: String,
    /// Addresses that were found unable to give it.
    pub unable: BTreeSet<String>,
}

/// A wish is answered. It goes on until [`Spread::end`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The wish's number.
    pub number: u64,
    /// Where the blob is to be taken from.
    pub source: Source,
}

type Key = (String, Digest);

/// Who has what, who gives what, and who waits.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    policy: SpreadPolicy,
    blobs: BTreeMap<Key, Blob>,
    /// Those of which someone waits for a copy.
    waited_for: BTreeSet<Key>,
    /// How many blobs each address gives.
    gives: BTreeMap<String, u32>,
    /// Wishes that are answered, and go on.
    answered: BTreeMap<u64, (Key, Source)>,
    /// Those who could not give something, and when: what they had said before is doubted.
    doubted: BTreeMap<String, u64>,
    /// Counts what is said, to know what is older.
    age: u64,
}

#[derive(Clone, Debug, Default)]
struct Blob {
    /// Those who have it, and when they said so.
    holders: BTreeMap<String, u64>,
    from_store: u32,
    waiting: VecDeque<(Timestamp, Wish)>,
    age: u64,
}

impl Blob {
    fn is_idle(&self) -> bool {
        self.from_store == 0 && self.waiting.is_empty()
    }
}

impl Spread {
    /// Knows nobody yet.
    pub fn new(policy: SpreadPolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Someone wants a blob.
    pub fn want(&mut self, now: Timestamp, wish: Wish, out: &mut Vec<Assigned>) {
        let key = (wish.site.clone(), wish.digest);
        let age = self.next_age();
        let blob = self.blobs.entry(key.clone()).or_insert_with(|| Blob {
            age,
            ..Blob::default()
        });
        for unable in &wish.unable {
            if blob.holders.remove(unable).is_some() {
                self.doubted.insert(unable.clone(), age);
            }
        }
        blob.waiting.push_back((now, wish));
        self.waited_for.insert(key.clone());
        self.serve(&key, out);
        self.forget_oldest();
    }

    /// A wish is over, whatever came of it.
    pub fn end(&mut self, number: u64, out: &mut Vec<Assigned>) {
        let Some((key, source)) = self.answered.remove(&number) else {
            self.withdraw(number);
            return;
        };
        match source {
            Source::Store => {
                if let Some(blob) = self.blobs.get_mut(&key) {
                    blob.from_store = blob.from_store.saturating_sub(1);
                }
                self.serve(&key, out);
            }
            Source::Peer(address) => {
                if let Some(gives) = self.gives.get_mut(&address) {
                    *gives -= 1;
                    if *gives == 0 {
                        self.gives.remove(&address);
                    }
                }
                self.serve_waiting(out);
            }
        }
    }

    /// A worker has a blob, and gives it to others of its site.
    pub fn hold(&mut self, site: &str, digest: Digest, address: &str, out: &mut Vec<Assigned>) {
        let key = (site.to_owned(), digest);
        let age = self.next_age();
        let blob = self.blobs.entry(key.clone()).or_insert_with(|| Blob {
            age,
            ..Blob::default()
        });
        blob.holders.insert(address.to_owned(), age);
        if blob.holders.len() > self.policy.holders_max {
            let oldest = blob.holders.iter().min_by_key(|(_, age)| **age);
            if let Some(oldest) = oldest.map(|(address, _)| address.clone()) {
                blob.holders.remove(&oldest);
            }
        }
        self.serve(&key, out);
        self.forget_oldest();
    }

    /// Time has passed: who has waited long enough is sent to the store.
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<Assigned>) {
        let keys: Vec<Key> = self.waited_for.iter().cloned().collect();
        for key in keys {
            let Some(blob) = self.blobs.get_mut(&key) else {
                continue;
            };
            while let Some((_, wish)) = blob
                .waiting
                .pop_front_if(|(since, _)| now.since(*since) >= self.policy.patience)
            {
                blob.from_store += 1;
                self.answered.insert(wish.number, (key.clone(), Source::Store));
                out.push(Assigned {
                    number: wish.number,
                    source: Source::Store,
                });
            }
            if blob.waiting.is_empty() {
                self.waited_for.remove(&key);
            }
        }
    }

    /// When time alone changes something next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let waiting = self.waited_for.iter().filter_map(|key| self.blobs.get(key));
        let oldest = waiting
            .filter_map(|blob| blob.waiting.front())
            .map(|(since, _)| *since);
        oldest.min().map(|since| since.after(self.policy.patience))
    }

    fn next_age(&mut self) -> u64 {
        self.age += 1;
        self.age
    }

    /// Whoever waited no longer does.
    fn withdraw(&mut self, number: u64) {
        let keys: Vec<Key> = self.waited_for.iter().cloned().collect();
        for key in keys {
            if let Some(blob) = self.blobs.get_mut(&key) {
                blob.waiting.retain(|(_, wish)| wish.number != number);
                if blob.waiting.is_empty() {
                    self.waited_for.remove(&key);
                }
            }
        }
    }

    fn serve_waiting(&mut self, out: &mut Vec<Assigned>) {
        let keys: Vec<Key> = self.waited_for.iter().cloned().collect();
        for key in keys {
            self.serve(&key, out);
        }
    }

    /// Answers those who wait for a blob, in order, as far as someone can give it.
    fn serve(&mut self, key: &Key, out: &mut Vec<Assigned>) {
        let Some(blob) = self.blobs.get_mut(key) else {
            return;
        };
        let mut left = VecDeque::new();
        while let Some((since, wish)) = blob.waiting.pop_front() {
            let gives = |address: &String| self.gives.get(address).copied().unwrap_or(0);
            let able = blob.holders.iter().filter(|(address, said)| {
                **address != wish.address
                    && !wish.unable.contains(*address)
                    && self.doubted.get(*address).is_none_or(|since| since < *said)
                    && gives(address) < self.policy.gives_max
            });
            // Who has said so last is the likeliest to be still there.
            let source = match able.min_by_key(|(address, said)| (gives(address), Reverse(**said))) {
                Some((address, _)) => {
                    *self.gives.entry(address.clone()).or_default() += 1;
                    Source::Peer(address.clone())
                }
                None if blob.from_store < self.policy.from_store_max => {
                    blob.from_store += 1;
                    Source::Store
                }
                None => {
                    left.push_back((since, wish));
                    // Those behind may exclude others; the first ones stand for nearly all.
                    if left.len() > LOOKED_AT_MAX {
                        break;
                    }
                    continue;
                }
            };
            self.answered.insert(wish.number, (key.clone(), source.clone()));
            out.push(Assigned {
                number: wish.number,
                source,
            });
        }
        left.append(&mut blob.waiting);
        blob.waiting = left;
        if blob.waiting.is_empty() {
            self.waited_for.remove(key);
        }
    }

    fn forget_oldest(&mut self) {
        // Rarely, and then many at once.
        if self.blobs.len() <= self.policy.blobs_max + self.policy.blobs_max / 8 {
            return;
        }
        let mut ages: Vec<u64> = self.blobs.values().map(|blob| blob.age).collect();
        ages.sort_unstable();
        let oldest_kept = ages[ages.len() - self.policy.blobs_max];
        self.blobs
            .retain(|_, blob| blob.age >= oldest_kept || !blob.is_idle());
        // What they had said is forgotten by then.
        self.doubted.retain(|_, since| *since >= oldest_kept);
    }
}

/// How many that cannot be answered are looked at before the others behind them wait, too.
const LOOKED_AT_MAX: usize = 8;
