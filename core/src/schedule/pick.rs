//! The best pending case of a run for a worker.

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

/// Picks the best pending case of a run that may go to the worker.
pub(super) fn pick(run: &Run, wanted: &Wanted<'_>) -> Option<Picked> {
    let elsewhere = |case: CaseIndex| goes_elsewhere(run, wanted, case);
    let key = best(run, wanted, elsewhere)?;
    let here = run
        .planned(key.2)
        .group
        .is_none()
        .then(|| at_hand(run, wanted, key, elsewhere))
        .flatten();
    let picked = here.unwrap_or(key);
    Some(Picked {
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

/// The first case in order over all lanes whose group has room, without those that `skip` names.
fn best(run: &Run, wanted: &Wanted<'_>, skip: impl Fn(CaseIndex) -> bool) -> Option<Key> {
    // What is given ahead waits at its worker: it must not get there before a case of higher priority.
    let look = LOOK + run.suspects as usize;
    let top_priority = run.lanes.iter().filter_map(Lane::first).map(|key| key.0).min();
    if let Some(most) = wanted.ahead {
        let suits = |key: &Key| {
            Some(key.0) == top_priority && !skip(key.2) && may_wait(run, wanted.worker, key.2, most)
        };
        let first = run.lanes[0].first()?;
        if suits(&first) {
            return Some(first);
        }
        // A long case waits for a free slot: there has to be one in time. How long a case without history takes
        // is not known well enough to say.
        return if run.planned(first.2).estimate.is_none() {
            run.lanes[0].front(look).into_iter().find(suits)
        } else if is_urgent(first.1.0, wanted.left_micros)
            || is_urgent(first.1.0, run.lanes[0].shorter_than(most) / wanted.slots)
        {
            None
        } else {
            run.lanes[0].at_most(first.0, most, look).into_iter().find(suits)
        };
    }
    let suits = |key: &Key| !skip(key.2) && has_room(run, wanted.worker, key.2);
    let heads = run.lanes.iter().filter_map(|lane| {
        let first = lane.first()?;
        if suits(&first) {
            return Some(first);
        }
        lane.front(look).into_iter().find(|key| suits(key))
    });
    heads.min()
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
