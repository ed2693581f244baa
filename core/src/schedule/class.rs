//! Workers that can stand in for each other.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::scheduler::Scheduler;
use super::worker::Place;
use crate::id::WorkerId;

/// The position of a class in the scheduler's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassIndex(usize);

impl ClassIndex {
    #[cfg(test)]
    pub(super) const FIRST: Self = Self(0);

    pub(super) fn at(self) -> usize {
        self.0
    }
}

/// The workers that can take the same runs, indexed by what is asked of them, so that no decision looks at all
/// of them.
#[derive(Debug)]
pub(super) struct Class {
    in_place: bool,
    platform: String,
    /// Workers that are not cordoned.
    pub(super) workers: u32,
    /// Their slots.
    pub(super) slots: u64,
    /// Those with free slots, the most first.
    pub(super) idle: BTreeSet<(Reverse<u32>, WorkerId)>,
    /// Those with little waiting for their slots.
    pub(super) hungry: BTreeSet<WorkerId>,
    /// Those with more than they can start, by how long it waits, the longest first.
    pub(super) loaded: BTreeSet<(Reverse<u64>, WorkerId)>,
    /// How many cases were asked back and are not yet answered for.
    pub(super) recalled: u32,
}

impl Class {
    fn change(&mut self, id: WorkerId, from: Place, to: Place) {
        if from.idle != to.idle {
            from.idle.map(|key| self.idle.remove(&key));
            self.idle.extend(to.idle);
        }
        if from.hungry != to.hungry {
            if to.hungry {
                self.hungry.insert(id);
            } else {
                self.hungry.remove(&id);
            }
        }
        if from.loaded != to.loaded {
            from.loaded.map(|key| self.loaded.remove(&key));
            self.loaded.extend(to.loaded);
        }
    }
}

impl Scheduler {
    pub(super) fn class(&self, at: ClassIndex) -> &Class {
        &self.classes[at.0]
    }

    pub(super) fn class_mut(&mut self, at: ClassIndex) -> &mut Class {
        &mut self.classes[at.0]
    }

    pub(super) fn class_indexes(&self) -> impl Iterator<Item = ClassIndex> + use<> {
        (0..self.classes.len()).map(ClassIndex)
    }

    /// The class of workers for a platform. Workers that share the client's files are one for all platforms:
    /// each is its client's own.
    pub(super) fn class_of(&mut self, in_place: bool, platform: &str) -> ClassIndex {
        let platform = if in_place { "" } else { platform };
        let found = self
            .classes
            .iter()
            .position(|class| class.in_place == in_place && class.platform == platform);
        ClassIndex(found.unwrap_or_else(|| {
            self.classes.push(Class {
                in_place,
                platform: platform.to_owned(),
                workers: 0,
                slots: 0,
                idle: BTreeSet::new(),
                hungry: BTreeSet::new(),
                loaded: BTreeSet::new(),
                recalled: 0,
            });
            self.classes.len() - 1
        }))
    }

    /// Puts a worker where it belongs in its class. To be called after every change to a worker.
    pub(super) fn reindex(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let to = worker.place(id, &self.policy);
        let from = std::mem::replace(&mut worker.place, to);
        if from != to {
            self.classes[worker.class.0].change(id, from, to);
        }
    }

    /// Takes a worker that is going out of its class.
    pub(super) fn unindex(&mut self, id: WorkerId, class: ClassIndex, from: Place) {
        self.class_mut(class).change(id, from, Place::default());
    }
}
