//! Which run is served next.
//!
//! Higher priority first, always. Within a priority: first the runs that a deadline presses, least laxity
//! first (laxity: the time left beyond what the remaining cases need on all slots); then by fair shares between
//! submitters, and for one submitter by laxity again, then in the order of submission. A deadline that could
//! not be met from the start presses nobody, so that naming an absurd one gains nothing.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::class::ClassIndex;
use super::request::RunPriority;
use super::run::{Run, micros};
use super::scheduler::Scheduler;
use crate::id::RunId;

/// Where a run stands among those of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    priority: Reverse<RunPriority>,
    urgency: Urgency,
    /// Its place in the order of submission.
    submitted: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Pressed {
        laxity: i64,
    },
    Shared {
        /// What its submitter has been given.
        service: u64,
        laxity: i64,
    },
}

/// The runs of a class that have something to grant, in order.
#[derive(Debug)]
pub(super) struct Ready {
    order: BTreeMap<Rank, RunId>,
    /// Estimated time of all pending cases, in microseconds of one slot.
    pub(super) pending_micros: u64,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Rank, RunId)> {
        self.order.iter().map(|(rank, run)| (*rank, *run))
    }
}

impl Scheduler {
    /// The runs of a class that have something to grant now.
    pub(super) fn ready(&mut self, class: ClassIndex) -> Ready {
        self.judge_deadlines(class);
        let mut ready = Ready {
            order: BTreeMap::new(),
            pending_micros: 0,
        };
        for (submitted, id) in self.order.iter().enumerate() {
            let run = &self.runs[id];
            if run.class == class && run.stopping.is_none() && run.has_grantable() {
                ready.order.insert(self.rank(run, submitted), *id);
                ready.pending_micros = ready.pending_micros.saturating_add(run.pending_micros());
            }
        }
        ready
    }

    /// Puts things right after a case of a run was granted: its submitter has been given something.
    pub(super) fn rerank(&self, ready: &mut Ready, rank: Rank, id: RunId, granted_micros: u64) {
        ready.pending_micros = ready.pending_micros.saturating_sub(granted_micros);
        let Some(run) = self.runs.get(&id) else { return };
        if ready.order.len() == 1 {
            if !run.has_grantable() {
                ready.order.clear();
            }
            return;
        }
        let submitter = &run.request.submitter;
        let moved: Vec<(Rank, RunId)> = ready
            .iter()
            .filter(|(of, other)| {
                of.priority == rank.priority
                    && (*other == id || self.runs[other].request.submitter == *submitter)
            })
            .collect();
        for (rank, id) in moved {
            ready.order.remove(&rank);
            let run = &self.runs[&id];
            if run.has_grantable() {
                ready.order.insert(self.rank(run, rank.submitted), id);
            }
        }
    }

    fn rank(&self, run: &Run, submitted: usize) -> Rank {
        let request = &run.request;
        let laxity = self.laxity(run);
        let pressed = run
            .deadline
            .is_some_and(|deadline| deadline.feasible == Some(true))
            && laxity <= signed(micros(self.policy.laxity_min));
        let urgency = if pressed {
            Urgency::Pressed { laxity }
        } else {
            Urgency::Shared {
                service: self.shares.service(run.queue(), &request.submitter),
                laxity,
            }
        };
        Rank {
            priority: Reverse(request.priority),
            urgency,
            submitted,
        }
    }

    /// The time left until a run's deadline beyond what its pending cases need on all slots of its class, in
    /// microseconds; negative when it is late.
    fn laxity(&self, run: &Run) -> i64 {
        let Some(deadline) = run.deadline else {
            return i64::MAX;
        };
        let slots = self.class(run.class).slots.max(1);
        let needs = signed(run.pending_micros() / slots);
        let left = signed(deadline.at.as_micros()).saturating_sub(signed(self.now.as_micros()));
        left.saturating_sub(needs)
    }

    /// Decides, when the first slots are there, whether a run's deadline can be met.
    fn judge_deadlines(&mut self, class: ClassIndex) {
        if self.class(class).slots == 0 {
            return;
        }
        let undecided = |run: &Run| {
            run.class == class && run.deadline.is_some_and(|deadline| deadline.feasible.is_none())
        };
        let ids: Vec<RunId> = self
            .runs
            .iter()
            .filter(|(_, run)| undecided(run))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let feasible = self.laxity(&self.runs[&id]) >= 0;
            if let Some(deadline) = self.runs.get_mut(&id).and_then(|run| run.deadline.as_mut()) {
                deadline.feasible = Some(feasible);
            }
        }
    }
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}
