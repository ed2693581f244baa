//! A connected worker, as the scheduler sees it.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use super::class::ClassIndex;
use super::event::CordonReason;
use super::policy::Policy;
use super::process::WorkerProcess;
use super::run::micros;
use crate::case::ThreadsRequired;
use crate::digest::Digest;
use crate::id::{CaseIndex, RunId, WorkerId};
use crate::time::Timestamp;

/// Of so many binaries it is remembered that a worker holds them.
const HOLDS_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slots: u32,
    pub(super) cpus: u32,
    pub(super) process: Option<WorkerProcess>,
    pub(super) class: ClassIndex,
    pub(super) cordoned: Option<CordonReason>,
    pub(super) heard_at: Timestamp,
    /// Where it stands in the scheduler's `heard`: at most `heard_at`.
    pub(super) listed_at: Timestamp,
    /// How long a message and its answer take.
    pub(super) round_trip: Duration,
    /// The cases of which a copy is leased to it.
    pub(super) held: BTreeSet<(RunId, CaseIndex)>,
    /// Those of them that could be taken back: not started, not asked for, of no test group.
    pub(super) waiting: BTreeSet<(RunId, CaseIndex)>,
    /// The slots that the held cases take together; more than `slots` when it holds cases ahead.
    pub(super) held_weight: u32,
    /// The estimated time of the held cases together, in microseconds of one slot.
    pub(super) held_micros: u64,
    /// That of those that have not started.
    pub(super) unstarted_micros: u64,
    /// How many of the held cases are suspects: at most one at a time, so that it is known which of two took the
    /// worker down.
    pub(super) suspects: u32,
    /// The binaries that it was sent.
    pub(super) holds: BTreeSet<Digest>,
    /// Where it stands in its class's indexes.
    pub(super) place: Place,
}

/// Where a worker stands in the indexes of its class; `None`: not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// By free slots, the most first.
    pub(super) idle: Option<(Reverse<u32>, WorkerId)>,
    /// Little waits there for its slots.
    pub(super) hungry: bool,
    /// By how long its waiting cases wait, in microseconds, the longest first.
    pub(super) loaded: Option<(Reverse<u64>, WorkerId)>,
}

impl Worker {
    pub(super) fn free(&self) -> u32 {
        self.slots.saturating_sub(self.held_weight)
    }

    /// The slots that a case takes here.
    pub(super) fn weight(&self, required: ThreadsRequired) -> u32 {
        match required {
            ThreadsRequired::Count(count) => count.clamp(1, self.slots),
            ThreadsRequired::NumCpus => self.cpus.clamp(1, self.slots),
            ThreadsRequired::NumTestThreads => self.slots,
        }
    }

    /// What each slot is to have ahead at least, in microseconds.
    pub(super) fn lookahead(&self, policy: &Policy) -> u64 {
        micros(policy.lookahead).max(micros(self.round_trip).saturating_mul(2))
    }

    /// How long what waits here waits, in microseconds, to about a millisecond: finer, its place among the others
    /// would change with every outcome.
    pub(super) fn wait_micros(&self) -> u64 {
        const ABOUT: u64 = 1 << 10;
        self.held_micros / u64::from(self.slots.max(1)) / ABOUT * ABOUT
    }

    /// Notes that it was sent a binary.
    pub(super) fn sent(&mut self, binary: Digest) {
        if self.holds.len() >= HOLDS_MAX {
            self.holds.pop_first();
        }
        self.holds.insert(binary);
    }

    /// Where it should stand.
    pub(super) fn place(&self, id: WorkerId, policy: &Policy) -> Place {
        if self.cordoned.is_some() {
            // What waits at a worker that takes nothing new may still be taken from it.
            return Place {
                loaded: self.loaded(id),
                ..Place::default()
            };
        }
        let slots = u64::from(self.slots);
        let lookahead = self.lookahead(policy);
        // A refill at half the level, not at every outcome, keeps leases big and few.
        let level = lookahead.saturating_mul(slots) / 2;
        // What came behind longer cases would wait for long, and is worth more elsewhere than a round trip is here.
        let longest = micros(policy.lookahead_max).max(lookahead).saturating_mul(slots);
        let running = self.held_micros.saturating_sub(self.unstarted_micros);
        Place {
            idle: (self.free() > 0).then_some((Reverse(self.free()), id)),
            hungry: self.unstarted_micros <= level
                && running <= longest
                && self.held.len() < policy.held_cases_max as usize,
            loaded: self.loaded(id),
        }
    }

    fn loaded(&self, id: WorkerId) -> Option<(Reverse<u64>, WorkerId)> {
        let has = self.held_weight > self.slots && !self.waiting.is_empty();
        has.then(|| (Reverse(self.wait_micros()), id))
    }
}
