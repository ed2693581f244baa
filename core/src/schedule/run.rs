//! A run that is under way, as the scheduler sees it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::effect::StopReason;
use super::event::{PlannedCase, RunRequest};
use crate::case::ThreadsRequired;
use crate::id::{BinaryIndex, CaseIndex, Generation, GroupIndex, WorkerId};
use crate::time::Timestamp;

/// Pending cases in the order in which they are to be granted.
pub(super) type QueueKey = (Reverse<i8>, Reverse<u64>, CaseIndex);

#[derive(Debug)]
pub(super) struct Run {
    pub(super) request: RunRequest,
    pub(super) cases: Vec<CaseState>,
    /// One queue for the cases without a group, then one for each group.
    pub(super) queues: Vec<BTreeSet<QueueKey>>,
    pub(super) delayed: BTreeSet<(Timestamp, CaseIndex)>,
    pub(super) groups: Vec<GroupUse>,
    pub(super) settled: u32,
    pub(super) failures: u32,
    pub(super) stopping: Option<Stopping>,
    pub(super) deadline: Option<Timestamp>,
    pub(super) detached_at: Option<Timestamp>,
    pub(super) stranded_at: Option<Timestamp>,
    pub(super) first_grant_at: Option<Timestamp>,
    /// Slots × microseconds that were there for it since its first grant, up to `slot_micros_to`.
    pub(super) slot_micros: u128,
    pub(super) slot_micros_to: Timestamp,
    /// How many cases each worker holds.
    pub(super) held_by: BTreeMap<WorkerId, u32>,
    /// Every worker that ever held a case of it and is still connected.
    pub(super) known_to: BTreeSet<WorkerId>,
    pub(super) observed: BTreeMap<BinaryIndex, Observed>,
    /// The estimates of all pending cases together, in microseconds.
    pub(super) pending_micros: u64,
    unknown_micros: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopping {
    pub(super) reason: StopReason,
    pub(super) kill_running: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct CaseState {
    pub(super) phase: Phase,
    pub(super) generation: Generation,
    /// The present or next attempt, from 1.
    pub(super) attempt: u32,
    /// How often it ran on a worker that went.
    pub(super) losses: u32,
    /// How often a worker that is not leaving gave it back unstarted.
    pub(super) returns: u32,
    /// The worker where its last attempt failed, or that gave it back: another is preferred.
    pub(super) avoid: Option<WorkerId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Delayed(Timestamp),
    Leased(Leased),
    Settled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leased {
    pub(super) worker: WorkerId,
    pub(super) weight: u32,
    pub(super) group_slot: Option<u32>,
    /// What it adds to the worker's `held_micros`.
    pub(super) micros: u64,
    pub(super) started: bool,
}

/// The use of a test group. `max` is `u32::MAX` where the group is bound only by the workers' slots.
#[derive(Debug)]
pub(super) struct GroupUse {
    pub(super) max: u32,
    pub(super) used: u32,
    pub(super) slots: BTreeSet<u32>,
}

/// What this run itself has seen of a binary's cases.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observed {
    count: u64,
    micros: u64,
}

impl Run {
    pub(super) fn new(request: RunRequest, unknown_estimate: Duration, now: Timestamp) -> Self {
        let case = CaseState {
            phase: Phase::Settled,
            generation: Generation::default(),
            attempt: 1,
            losses: 0,
            returns: 0,
            avoid: None,
        };
        let groups = request.groups.iter().map(|group| GroupUse {
            max: match group.max_threads {
                ThreadsRequired::Count(count) => count.max(1),
                ThreadsRequired::NumCpus | ThreadsRequired::NumTestThreads => u32::MAX,
            },
            used: 0,
            slots: BTreeSet::new(),
        });
        Self {
            cases: vec![case; request.cases.len()],
            queues: vec![BTreeSet::new(); request.groups.len() + 1],
            delayed: BTreeSet::new(),
            groups: groups.collect(),
            settled: 0,
            failures: 0,
            stopping: None,
            deadline: request.global_timeout.map(|timeout| now.after(timeout)),
            detached_at: None,
            stranded_at: None,
            first_grant_at: None,
            slot_micros: 0,
            slot_micros_to: now,
            held_by: BTreeMap::new(),
            known_to: BTreeSet::new(),
            observed: BTreeMap::new(),
            pending_micros: 0,
            unknown_micros: micros(unknown_estimate),
            request,
        }
    }

    pub(super) fn planned(&self, case: CaseIndex) -> &PlannedCase {
        &self.request.cases[case.at()]
    }

    pub(super) fn is_over(&self) -> bool {
        self.settled as usize == self.cases.len()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.queues.iter().any(|queue| !queue.is_empty())
    }

    pub(super) fn leased_count(&self) -> u32 {
        self.held_by.values().sum()
    }

    /// The estimate that orders the queue: fixed for the run, so that a case finds its own place again.
    fn queue_micros(&self, case: CaseIndex) -> u64 {
        self.planned(case).estimate.map_or(self.unknown_micros, micros)
    }

    /// The best estimate at hand: from history, else from what this run has seen of the binary, half as much
    /// again to stay on the pessimistic side.
    pub(super) fn present_micros(&self, case: CaseIndex) -> u64 {
        let planned = self.planned(case);
        match (planned.estimate, self.observed.get(&planned.binary)) {
            (Some(estimate), _) => micros(estimate),
            (None, Some(seen)) => (seen.micros / seen.count.max(1)).saturating_mul(3) / 2,
            (None, None) => self.unknown_micros,
        }
    }

    pub(super) fn observe(&mut self, binary: BinaryIndex, took: Duration) {
        let seen = self.observed.entry(binary).or_default();
        seen.count += 1;
        seen.micros = seen.micros.saturating_add(micros(took));
    }

    pub(super) fn queue_of(&self, case: CaseIndex) -> usize {
        self.planned(case).group.map_or(0, |group| group.at() + 1)
    }

    fn queue_key(&self, case: CaseIndex) -> QueueKey {
        (
            Reverse(self.planned(case).priority),
            Reverse(self.queue_micros(case)),
            case,
        )
    }

    /// Puts a case into its queue.
    pub(super) fn enqueue(&mut self, case: CaseIndex) {
        self.cases[case.at()].phase = Phase::Pending;
        let (queue, key) = (self.queue_of(case), self.queue_key(case));
        self.queues[queue].insert(key);
        self.pending_micros = self.pending_micros.saturating_add(self.queue_micros(case));
    }

    /// Takes a pending case out of its queue.
    pub(super) fn dequeue(&mut self, case: CaseIndex) {
        let (queue, key) = (self.queue_of(case), self.queue_key(case));
        self.queues[queue].remove(&key);
        self.pending_micros = self.pending_micros.saturating_sub(self.queue_micros(case));
    }

    /// What a case of such a weight takes of its group: a heavy case alone may fill it.
    pub(super) fn group_weight(&self, group: GroupIndex, weight: u32) -> u32 {
        weight.min(self.groups[group.at()].max)
    }

    pub(super) fn group_has_room(&self, group: GroupIndex, weight: u32) -> bool {
        let state = &self.groups[group.at()];
        state.used.saturating_add(self.group_weight(group, weight)) <= state.max
    }
}

impl GroupUse {
    /// Takes the lowest free slot number.
    pub(super) fn take_slot(&mut self) -> u32 {
        let slot = (0..)
            .find(|slot| !self.slots.contains(slot))
            .expect("there are more numbers than cases");
        self.slots.insert(slot);
        slot
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
