//! A run that is under way, as the scheduler sees it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::class::ClassIndex;
use super::effect::{GrantReason, StopReason};
use super::lane::Lane;
use super::learned::Learned;
use super::request::{PlannedCase, RunRequest};
use super::share::Queue;
use crate::case::ThreadsRequired;
use crate::id::{BinaryIndex, CaseIndex, Generation, GroupIndex, WorkerId};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Run {
    pub(super) request: RunRequest,
    pub(super) class: ClassIndex,
    pub(super) cases: Vec<CaseState>,
    /// The second leases of cases that have two.
    pub(super) hedges: BTreeMap<CaseIndex, Leased>,
    /// One lane for the cases without a group, then one for each group.
    pub(super) lanes: Vec<Lane>,
    pub(super) delayed: BTreeSet<(Timestamp, CaseIndex)>,
    /// Running cases with one copy, by the time from when a second is worth it.
    pub(super) hedge_from: BTreeSet<(Timestamp, CaseIndex)>,
    pub(super) groups: Vec<GroupUse>,
    /// When cases that wait for another worker need no longer.
    pub(super) avoids: BTreeSet<Timestamp>,
    /// How many cases were running when their worker went down, and are not settled.
    pub(super) suspects: u32,
    pub(super) settled: u32,
    pub(super) failures: u32,
    pub(super) stopping: Option<Stopping>,
    pub(super) ends_at: Option<Timestamp>,
    pub(super) deadline: Option<Deadline>,
    pub(super) detached_at: Option<Timestamp>,
    pub(super) stranded_at: Option<Timestamp>,
    pub(super) first_grant_at: Option<Timestamp>,
    /// Since when the slots are counted: its first grant, here.
    pub(super) slots_from: Option<Timestamp>,
    /// Slots × microseconds that were there for it since then, up to `slot_micros_to`.
    pub(super) slot_micros: u128,
    pub(super) slot_micros_to: Timestamp,
    /// How many leases each worker holds.
    pub(super) held_by: BTreeMap<WorkerId, u32>,
    /// Every worker that ever held a case of it and is still connected, with the binaries that it holds.
    pub(super) known_to: BTreeMap<WorkerId, BTreeSet<BinaryIndex>>,
    pub(super) learned: Learned,
}

/// When a run's verdict is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) at: Timestamp,
    /// Whether it could be met when the first slots were there. One that never could presses nobody.
    pub(super) feasible: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopping {
    pub(super) reason: StopReason,
    pub(super) kill_running: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct CaseState {
    pub(super) phase: Phase,
    /// Of its latest copy.
    pub(super) generation: Generation,
    /// The present or next attempt, from 1.
    pub(super) attempt: u32,
    /// How often it ran on a worker that went.
    pub(super) losses: u32,
    /// How often it was lost otherwise: before its worker said that it ran, or with one that fell silent.
    pub(super) other_losses: u32,
    /// How often a worker that is not leaving gave it back unstarted.
    pub(super) returns: u32,
    /// Where it is not to be tried now.
    pub(super) avoid: Option<Avoid>,
    /// Why it is pending once more; `None` before its first grant.
    pub(super) again: Option<GrantReason>,
    /// Where it stands in its run's `hedge_from`.
    pub(super) hedge_from: Option<Timestamp>,
}

impl CaseState {
    fn new(generation: Generation) -> Self {
        Self {
            phase: Phase::Settled,
            generation,
            attempt: 1,
            losses: 0,
            other_losses: 0,
            returns: 0,
            avoid: None,
            again: None,
            hedge_from: None,
        }
    }
}

/// A worker where a case failed, or that gave it back: while there are others, they are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avoid {
    pub(super) worker: WorkerId,
    /// How long; `None`: as long as there are others.
    pub(super) until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Delayed(Timestamp),
    Leased(Leased),
    Settled,
}

/// One copy of a case at a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leased {
    pub(super) worker: WorkerId,
    pub(super) generation: Generation,
    pub(super) weight: u32,
    pub(super) group_slot: Option<u32>,
    /// What it adds to the worker's `held_micros`, and what its submitter was charged.
    pub(super) micros: u64,
    pub(super) granted_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    /// The worker was asked to give it back unstarted.
    pub(super) recalled: bool,
    /// A worker went down while the case ran there.
    pub(super) suspect: bool,
}

/// The use of a test group. `max` is `u32::MAX` where the group is bound only by the workers' slots.
#[derive(Debug)]
pub(super) struct GroupUse {
    pub(super) max: u32,
    pub(super) used: u32,
    pub(super) slots: BTreeSet<u32>,
}

impl Run {
    pub(super) fn new(
        request: RunRequest,
        class: ClassIndex,
        generation: Generation,
        unknown_estimate: Duration,
        now: Timestamp,
        submitted: Timestamp,
        salt: u32,
    ) -> Self {
        let groups = request.groups.iter().map(|group| GroupUse {
            max: match group.max_threads {
                ThreadsRequired::Count(count) => count.max(1),
                ThreadsRequired::NumCpus | ThreadsRequired::NumTestThreads => u32::MAX,
            },
            used: 0,
            slots: BTreeSet::new(),
        });
        let shipped = request.binaries.iter().any(|binary| binary.bytes > 0);
        let lanes = 0..=request.groups.len();
        Self {
            class,
            cases: vec![CaseState::new(generation); request.cases.len()],
            hedges: BTreeMap::new(),
            lanes: lanes.map(|at| Lane::new(shipped && at == 0, salt)).collect(),
            delayed: BTreeSet::new(),
            hedge_from: BTreeSet::new(),
            groups: groups.collect(),
            avoids: BTreeSet::new(),
            suspects: 0,
            settled: 0,
            failures: 0,
            stopping: None,
            ends_at: request.global_timeout.map(|timeout| submitted.after(timeout)),
            deadline: request.deadline.map(|within| Deadline {
                at: submitted.after(within),
                feasible: None,
            }),
            detached_at: None,
            stranded_at: None,
            first_grant_at: None,
            slots_from: None,
            slot_micros: 0,
            slot_micros_to: now,
            held_by: BTreeMap::new(),
            known_to: BTreeMap::new(),
            learned: Learned::new(micros(unknown_estimate)),
            request,
        }
    }

    /// With whom it waits for slots.
    pub(super) fn queue(&self) -> Queue {
        (self.class, self.request.priority)
    }

    pub(super) fn planned(&self, case: CaseIndex) -> &PlannedCase {
        &self.request.cases[case.at()]
    }

    pub(super) fn is_over(&self) -> bool {
        self.settled as usize == self.cases.len()
    }

    /// Whether a pending case is not held up by its test group.
    pub(super) fn has_grantable(&self) -> bool {
        let mut lanes = self.lanes.iter();
        let free = lanes.next().is_some_and(|lane| !lane.is_empty());
        let room = |(lane, group): (&Lane, &GroupUse)| !lane.is_empty() && group.used < group.max;
        free || lanes.zip(&self.groups).any(room)
    }

    /// The estimated time of all pending cases together, in microseconds.
    pub(super) fn pending_micros(&self) -> u64 {
        let known = self.lanes.iter().map(Lane::known_micros);
        known.fold(self.learned.pending_micros(), u64::saturating_add)
    }

    /// The best estimate at hand: from history, else from what this run has seen of the binary.
    pub(super) fn present_micros(&self, case: CaseIndex) -> u64 {
        let planned = self.planned(case);
        planned
            .estimate
            .map_or_else(|| self.learned.estimate(planned.binary), micros)
    }

    /// Learns how long a case took, and moves the cases of its binary that have no history.
    pub(super) fn observe(&mut self, case: CaseIndex, took: Duration) {
        let binary = self.planned(case).binary;
        self.learned.observe(binary, micros(took));
        self.move_unknown(binary);
    }

    pub(super) fn lane_of(&self, case: CaseIndex) -> usize {
        self.planned(case).group.map_or(0, |group| group.at() + 1)
    }

    /// Puts a case into its lane.
    pub(super) fn enqueue(&mut self, case: CaseIndex) {
        self.cases[case.at()].phase = Phase::Pending;
        let lane = self.lane_of(case);
        let planned = &self.request.cases[case.at()];
        let (binary, priority) = (planned.binary, planned.priority);
        match planned.estimate.map(micros) {
            Some(micros) => {
                self.lanes[lane].insert_known(binary, (Reverse(priority), Reverse(micros), case));
            }
            None => {
                self.learned.pending(binary, 1);
                let place = self.learned.place(binary);
                self.lanes[lane].insert_unknown(binary, priority, case, place);
            }
        }
    }

    /// Takes a pending case out of its lane.
    pub(super) fn dequeue(&mut self, case: CaseIndex) {
        let lane = self.lane_of(case);
        let planned = &self.request.cases[case.at()];
        let (binary, priority) = (planned.binary, planned.priority);
        match planned.estimate.map(micros) {
            Some(micros) => {
                self.lanes[lane].remove_known(binary, (Reverse(priority), Reverse(micros), case));
            }
            None => {
                self.learned.pending(binary, -1);
                let place = self.learned.place(binary);
                self.lanes[lane].remove_unknown(binary, priority, case, place);
            }
        }
    }

    /// Notes that a case without history is tried now.
    pub(super) fn tried(&mut self, case: CaseIndex) {
        let planned = self.planned(case);
        if planned.estimate.is_none() {
            let binary = planned.binary;
            self.learned.tried(binary);
            self.move_unknown(binary);
        }
    }

    fn move_unknown(&mut self, binary: BinaryIndex) {
        let place = self.learned.place(binary);
        for lane in &mut self.lanes {
            lane.move_binary(binary, place);
        }
    }

    /// Forgets what is pending or delayed.
    pub(super) fn clear_pending(&mut self) {
        self.lanes.iter_mut().for_each(Lane::clear);
        self.delayed.clear();
        self.learned.nothing_pending();
    }

    /// What a case of such a weight takes of its group: a heavy case alone may fill it.
    pub(super) fn group_weight(&self, group: GroupIndex, weight: u32) -> u32 {
        weight.min(self.groups[group.at()].max)
    }

    pub(super) fn group_has_room(&self, group: GroupIndex, weight: u32) -> bool {
        let state = &self.groups[group.at()];
        state.used.saturating_add(self.group_weight(group, weight)) <= state.max
    }

    /// The copy of a case that a worker holds under a generation.
    pub(super) fn copy(&self, case: CaseIndex, worker: WorkerId, generation: Generation) -> Option<&Leased> {
        let is_it = |leased: &&Leased| leased.worker == worker && leased.generation == generation;
        let first = match &self.cases.get(case.at())?.phase {
            Phase::Leased(leased) => Some(leased),
            _ => None,
        };
        first
            .filter(is_it)
            .or_else(|| self.hedges.get(&case).filter(is_it))
    }

    /// The one or two copies of a case that are out.
    pub(super) fn copies(&self, case: CaseIndex) -> impl Iterator<Item = Leased> + use<> {
        let first = match self.cases.get(case.at()).map(|state| state.phase) {
            Some(Phase::Leased(leased)) => Some(leased),
            _ => None,
        };
        first.into_iter().chain(self.hedges.get(&case).copied())
    }

    /// Forgets a copy of a case. Where another is out, that one is the case's lease from now on. Returns
    /// whether there is another; else the caller gives the case its next phase.
    pub(super) fn drop_copy(&mut self, case: CaseIndex, generation: Generation) -> bool {
        if let Phase::Leased(first) = self.cases[case.at()].phase
            && first.generation != generation
        {
            self.hedges.remove(&case);
            return true;
        }
        if let Some(other) = self.hedges.remove(&case) {
            self.cases[case.at()].phase = Phase::Leased(other);
            return true;
        }
        if let Some(at) = self.cases[case.at()].hedge_from.take() {
            self.hedge_from.remove(&(at, case));
        }
        false
    }

    /// The same as [`copy`](Self::copy), to change it.
    pub(super) fn copy_mut(
        &mut self,
        case: CaseIndex,
        worker: WorkerId,
        generation: Generation,
    ) -> Option<&mut Leased> {
        let is_it = |leased: &&mut Leased| leased.worker == worker && leased.generation == generation;
        let first = match &mut self.cases.get_mut(case.at())?.phase {
            Phase::Leased(leased) => Some(leased),
            _ => None,
        };
        first
            .filter(is_it)
            .or_else(|| self.hedges.get_mut(&case).filter(is_it))
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

/// Longer than any case takes: 30 days. With it the sums over all cases of a run, and over all that a worker holds,
/// stay far from the end of their range, whatever durations somebody claims.
const MICROS_MAX: u128 = 30 * 24 * 60 * 60 * 1_000_000;

pub(super) fn micros(duration: Duration) -> u64 {
    let micros = duration.as_micros().min(MICROS_MAX);
    u64::try_from(micros).expect("the limit is far below the type's")
}
