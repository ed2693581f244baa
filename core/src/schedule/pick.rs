//! The best pending case of a run for a worker.

use std::cmp::Reverse;

use super::effect::GrantReason;
use super::lane::{Key, Lane};
use super::run::{Avoid, Run};
use super::worker::Worker;
use crate::id::{BinaryIndex, CaseIndex, WorkerId};
use crate::time::Timestamp;

/// How far behind the head of a lane a case is looked for when the head would rather go to another worker.
const LOOK: usize = 8;

/// Of so many binaries that a worker holds the first cases are considered.
const BINARIES_MAX: usize = 64;

/// A fetch that takes less than this part of the case's own time is not worth avoiding.
const FETCH_PART: u64 = 16;

/// For whom a case is wanted.
pub(super) struct Wanted<'a> {
    pub(super) id: WorkerId,
    pub(super) worker: &'a Worker,
    /// It is to wait there, so it may take no longer than this (in microseconds).
    pub(super) ahead: Option<u64>,
    /// The estimated time of all pending cases for each slot, in microseconds.
    pub(super) left_micros: u64,
    /// Of all workers that could take it.
    pub(super) slots: u64,
    /// Bytes a second that a worker fetches.
    pub(super) fetch_rate: u64,
    /// There are other workers that could take the run.
    pub(super) others: bool,
    pub(super) now: Timestamp,
}

/// A case for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picked {
    pub(super) case: CaseIndex,
    pub(super) reason: GrantReason,
}

/// What there is for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice<T> {
    This(T),
    /// The next case is not to wait at a worker, but to get the next free slot: nothing that comes after it may
    /// keep the slots busy.
    Waits,
    Nothing,
}

/// Picks the best pending case of a run that may go to the worker.
pub(super) fn pick(run: &Run, wanted: &Wanted<'_>) -> Choice<Picked> {
    let elsewhere = |case: CaseIndex| goes_elsewhere(run, wanted, case);
    let best = match wanted.ahead {
        Some(most) => best_ahead(run, wanted, most, elsewhere),
        None => best(run, wanted, elsewhere).map_or(Choice::Nothing, Choice::This),
    };
    let key = match best {
        Choice::This(key) => key,
        Choice::Waits => return Choice::Waits,
        Choice::Nothing => return Choice::Nothing,
    };
    let here = run
        .planned(key.2)
        .group
        .is_none()
        .then(|| at_hand(run, wanted, key, elsewhere))
        .flatten();
    let picked = here.unwrap_or(key);
    Choice::This(Picked {
        case: picked.2,
        reason: match wanted.ahead {
            Some(_) => GrantReason::Ahead,
            None if picked == key => GrantReason::First,
            None => GrantReason::Affinity,
        },
    })
}

/// Whether a case is not for this worker now: another is waited for, or a suspect is there already.
fn goes_elsewhere(run: &Run, wanted: &Wanted<'_>, case: CaseIndex) -> bool {
    let state = &run.cases[case.at()];
    let is_avoided = |avoid: Avoid| {
        let waits = avoid.until.is_none_or(|until| wanted.now < until);
        avoid.worker == wanted.id && wanted.others && waits
    };
    state.avoid.is_some_and(is_avoided) || (state.losses > 0 && wanted.worker.suspects > 0)
}

/// The first case in order over all lanes whose group has room, without those that `skip` names. A lane stands by
/// the longest chain of it: the cases of a test group follow each other, however short each is.
fn best(run: &Run, wanted: &Wanted<'_>, skip: impl Fn(CaseIndex) -> bool) -> Option<Key> {
    let heads = run.lanes.iter().enumerate().filter_map(|(at, lane)| {
        let head = startable(run, wanted, lane, &skip)?;
        Some((place(run, wanted, at, head), head))
    });
    heads.min().map(|(_, head)| head)
}

/// The first case of a lane whose group has room, without those that `skip` names, if it is near the front.
fn startable(run: &Run, wanted: &Wanted<'_>, lane: &Lane, skip: &impl Fn(CaseIndex) -> bool) -> Option<Key> {
    let suits = |key: &Key| !skip(key.2) && has_room(run, wanted.worker, key.2);
    let first = lane.first()?;
    if suits(&first) {
        return Some(first);
    }
    lane.front(look(run)).into_iter().find(suits)
}

fn look(run: &Run) -> usize {
    LOOK + run.suspects as usize
}

/// Where a lane's case stands among those of other lanes.
fn place(run: &Run, wanted: &Wanted<'_>, lane: usize, head: Key) -> Key {
    (head.0, Reverse(chain(run, wanted, lane).max(head.1.0)), head.2)
}

/// How long what is pending in a lane takes at least, in microseconds, because of its group's limit.
fn chain(run: &Run, wanted: &Wanted<'_>, lane: usize) -> u64 {
    lane.checked_sub(1).map_or(0, |group| {
        let side_by_side = u64::from(run.groups[group].max).clamp(1, wanted.slots);
        run.lanes[lane].micros() / side_by_side
    })
}

/// The first case that may wait at the worker until a slot is free, and holds nothing back meanwhile.
fn best_ahead(run: &Run, wanted: &Wanted<'_>, most: u64, skip: impl Fn(CaseIndex) -> bool) -> Choice<Key> {
    let lane = &run.lanes[0];
    if group_waits(run, wanted, lane.first(), &skip) {
        return Choice::Waits;
    }
    let Some(first) = lane.first() else {
        return Choice::Nothing;
    };
    // What is given ahead must not get there before a case of higher priority.
    let top_priority = run.lanes.iter().filter_map(Lane::first).map(|key| key.0).min();
    if Some(first.0) != top_priority {
        return Choice::Nothing;
    }
    let suits = |key: &Key| key.0 == first.0 && !skip(key.2) && may_wait(run, wanted.worker, key.2, most);
    if suits(&first) {
        return Choice::This(first);
    }
    // A long case waits for a free slot: there has to be one in time. How long a case without history takes
    // is not known well enough to say.
    let found = if run.planned(first.2).estimate.is_none() {
        lane.front(look(run)).into_iter().find(suits)
    } else if is_urgent(first.1.0, wanted.left_micros)
        || is_urgent(first.1.0, lane.shorter_than(most) / wanted.slots)
    {
        None
    } else {
        lane.at_most(first.0, most, look(run)).into_iter().find(suits)
    };
    match found {
        Some(found) => Choice::This(found),
        None if skip(first.2) => Choice::Nothing,
        None => Choice::Waits,
    }
}

/// Whether a case of a test group is to have the next free slot. Such cases do not wait at workers, so they need
/// one when it is their turn before `first`, and as soon as their group has room where the run would wait for them
/// in the end.
fn group_waits(
    run: &Run,
    wanted: &Wanted<'_>,
    first: Option<Key>,
    skip: &impl Fn(CaseIndex) -> bool,
) -> bool {
    let mut groups = run.lanes.iter().enumerate().skip(1);
    groups.any(|(at, lane)| {
        let is_first = |head| first.is_none_or(|first| place(run, wanted, at, head) < first);
        (!lane.is_empty() && is_urgent(chain(run, wanted, at), wanted.left_micros))
            || startable(run, wanted, lane, skip).is_some_and(is_first)
    })
}

/// Whether a case that takes so long has to start before so much else (a slot's part of it; both in microseconds),
/// so that the run does not wait for it in the end.
fn is_urgent(micros: u64, left_micros: u64) -> bool {
    micros.saturating_add(micros / 2) >= left_micros
}

fn has_room(run: &Run, worker: &Worker, case: CaseIndex) -> bool {
    let planned = run.planned(case);
    let weight = worker.weight(planned.threads_required);
    planned
        .group
        .is_none_or(|group| run.group_has_room(group, weight))
}

fn may_wait(run: &Run, worker: &Worker, case: CaseIndex, most: u64) -> bool {
    let planned = run.planned(case);
    planned.group.is_none()
        && worker.weight(planned.threads_required) == 1
        && run.present_micros(case) <= most
}

/// The best case whose binary the worker holds, where it does not hold that of `head` and `head` can wait:
/// so much is left that another slot will start it in time.
fn at_hand(run: &Run, wanted: &Wanted<'_>, head: Key, skip: impl Fn(CaseIndex) -> bool) -> Option<Key> {
    let holds = |binary: BinaryIndex| {
        let planned = &run.request.binaries[binary.at()];
        wanted.worker.holds.contains(&planned.digest)
    };
    let binary = run.planned(head.2).binary;
    // A binary of which nothing is known may hold the longest case of all.
    if run.planned(head.2).estimate.is_none() && !run.learned.knows(binary) {
        return None;
    }
    let bytes = run.request.binaries[binary.at()].bytes;
    if bytes == 0 || holds(binary) {
        return None;
    }
    let micros = run.present_micros(head.2);
    let fetch = bytes.saturating_mul(1_000_000) / wanted.fetch_rate.max(1);
    if is_urgent(micros.saturating_add(fetch), wanted.left_micros) || fetch < micros / FETCH_PART {
        return None;
    }
    let lane = &run.lanes[0];
    let known = run.known_to.get(&wanted.id)?;
    let firsts = known
        .iter()
        .take(BINARIES_MAX)
        .filter_map(|binary| lane.first_of(*binary))
        .filter(|key| key.0 == head.0 && !skip(key.2));
    let most = wanted.ahead.unwrap_or(u64::MAX);
    firsts
        .filter(|key| wanted.ahead.is_none() || may_wait(run, wanted.worker, key.2, most))
        .min()
}
