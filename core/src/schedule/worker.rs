//! A connected worker, as the scheduler sees it.

use std::collections::BTreeSet;

use super::event::{CordonReason, RunRequest};
use crate::case::ThreadsRequired;
use crate::id::{CaseIndex, RunId};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slots: u32,
    pub(super) cpus: u32,
    pub(super) platform: String,
    pub(super) in_place: bool,
    pub(super) cordoned: Option<CordonReason>,
    pub(super) heard_at: Timestamp,
    /// The cases that are leased to it and not settled.
    pub(super) held: BTreeSet<(RunId, CaseIndex)>,
    /// The slots that the held cases take together; more than `slots` when it holds cases ahead.
    pub(super) held_weight: u32,
    /// The estimated time of the held cases together, in microseconds of one slot.
    pub(super) held_micros: u64,
}

impl Worker {
    pub(super) fn free(&self) -> u32 {
        self.slots.saturating_sub(self.held_weight)
    }

    /// Whether it may be given cases of such a run.
    pub(super) fn can_take(&self, request: &RunRequest) -> bool {
        self.cordoned.is_none() && self.suits(request)
    }

    /// Whether it could run such a run's binaries, cordoned or not.
    pub(super) fn suits(&self, request: &RunRequest) -> bool {
        self.in_place == request.in_place && (self.in_place || self.platform == request.platform)
    }

    /// The slots that a case takes here.
    pub(super) fn weight(&self, required: ThreadsRequired) -> u32 {
        match required {
            ThreadsRequired::Count(count) => count.clamp(1, self.slots),
            ThreadsRequired::NumCpus => self.cpus.clamp(1, self.slots),
            ThreadsRequired::NumTestThreads => self.slots,
        }
    }
}
