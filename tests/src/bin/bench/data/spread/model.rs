//! Links with a rate each, that all who use them share evenly, and workers that fetch four blobs at a time.

use super::Way;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use thresh_core::digest::Digest;
use thresh_core::spread::{Assigned, Source, Spread, SpreadPolicy, Wish};
use thresh_core::time::Timestamp;

/// What a worker fetches at once.
const AT_ONCE: usize = 4;
/// Fetches that end within this time of the first end with it.
const TOGETHER: f64 = 1e-3;

/// Who fetches what.
#[derive(Clone, Debug)]
pub(super) struct Farm {
    pub(super) workers: usize,
    /// The length of each blob on the wire, in bytes.
    pub(super) blobs: Vec<f64>,
}

/// Rates in bytes a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) coordinator_up: f64,
    /// By which blobs are copied into an object store.
    pub(super) into_objects: f64,
    /// All that an object store gives.
    pub(super) objects: f64,
    /// A worker's, each way.
    pub(super) worker: f64,
}

/// What is varied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    pub(super) uplink: f64,
}

/// A fetch that goes on.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    to: usize,
    blob: usize,
    /// `None`: from where blobs are kept.
    from: Option<usize>,
    left: f64,
    number: u64,
}

/// How long it takes until every worker has every blob, in seconds.
pub(super) fn seconds(way: Way, farm: &Farm, links: Links) -> f64 {
    let (store, before) = match way {
        Way::Coordinator | Way::Peers => (links.coordinator_up, 0.0),
        // They have to be there first.
        Way::Objects => (links.objects, farm.blobs.iter().sum::<f64>() / links.into_objects),
    };
    let mut play = Play::new(farm, way == Way::Peers);
    let mut now = before;
    while !play.fetches.is_empty() {
        now += play.step(store, links.worker, now);
    }
    assert!(
        play.queues.iter().all(VecDeque::is_empty),
        "everybody has everything"
    );
    now
}

struct Play<'a> {
    farm: &'a Farm,
    fetches: Vec<Fetch>,
    /// What each worker still has to begin with.
    queues: Vec<VecDeque<usize>>,
    /// Absent: everything comes from where blobs are kept.
    spread: Option<Spread>,
    /// Wishes that wait for an answer: of whom, for what.
    wishes: BTreeMap<u64, (usize, usize)>,
    last: u64,
}

impl<'a> Play<'a> {
    fn new(farm: &'a Farm, peers: bool) -> Self {
        let blobs = farm.blobs.len();
        // As real workers do, each begins elsewhere.
        let queue = |worker: usize| (0..blobs).map(|blob| (blob + worker) % blobs).collect();
        let mut play = Self {
            farm,
            fetches: Vec::new(),
            queues: (0..farm.workers).map(queue).collect(),
            spread: peers.then(|| Spread::new(SpreadPolicy::default())),
            wishes: BTreeMap::new(),
            last: 0,
        };
        for worker in 0..farm.workers {
            for _ in 0..AT_ONCE {
                play.begin_next(worker, 0.0);
            }
        }
        play
    }

    fn begin_next(&mut self, worker: usize, now: f64) {
        let Some(blob) = self.queues[worker].pop_front() else {
            return;
        };
        self.last += 1;
        let number = self.last;
        self.wishes.insert(number, (worker, blob));
        let mut out = Vec::new();
        match &mut self.spread {
            None => out.push(Assigned {
                number,
                source: Source::Store,
            }),
            Some(spread) => {
                let wish = Wish {
                    number,
                    site: String::new(),
                    digest: name(blob),
                    address: worker.to_string(),
                    unable: BTreeSet::new(),
                };
                spread.want(at(now), wish, &mut out);
            }
        }
        self.begin(out);
    }

    fn begin(&mut self, assigned: Vec<Assigned>) {
        for Assigned { number, source } in assigned {
            let (to, blob) = self.wishes.remove(&number).expect("it was wished for");
            let from = match source {
                Source::Store => None,
                Source::Peer(address) => Some(address.parse().expect("addresses are numbers")),
            };
            let left = self.farm.blobs[blob];
            self.fetches.push(Fetch {
                to,
                blob,
                from,
                left,
                number,
            });
        }
    }

    /// Goes on until a fetch ends, and returns how long that takes.
    fn step(&mut self, store: f64, worker: f64, now: f64) -> f64 {
        let mut takers = vec![0_u32; self.farm.workers];
        let mut givers = vec![0_u32; self.farm.workers];
        let mut of_store = 0_u32;
        for fetch in &self.fetches {
            takers[fetch.to] += 1;
            match fetch.from {
                Some(from) => givers[from] += 1,
                None => of_store += 1,
            }
        }
        let rate = |fetch: &Fetch| {
            let given = match fetch.from {
                Some(from) => worker / f64::from(givers[from]),
                None => store / f64::from(of_store),
            };
            given.min(worker / f64::from(takers[fetch.to]))
        };
        let first = self.fetches.iter().map(|fetch| fetch.left / rate(fetch));
        let passed = first.fold(f64::INFINITY, f64::min) + TOGETHER;
        let mut ended = Vec::new();
        self.fetches = std::mem::take(&mut self.fetches)
            .into_iter()
            .filter_map(|fetch| {
                let left = fetch.left - rate(&fetch) * passed;
                if left <= 0.0 {
                    ended.push(fetch);
                    return None;
                }
                Some(Fetch { left, ..fetch })
            })
            .collect();
        for fetch in ended {
            let mut out = Vec::new();
            if let Some(spread) = &mut self.spread {
                spread.hold("", name(fetch.blob), &fetch.to.to_string(), &mut out);
                spread.end(fetch.number, &mut out);
                spread.advance(at(now + passed), &mut out);
            }
            self.begin(out);
            self.begin_next(fetch.to, now + passed);
        }
        passed
    }
}

fn name(blob: usize) -> Digest {
    Digest::of(&blob.to_le_bytes())
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::default().after(Duration::from_secs_f64(seconds))
}
