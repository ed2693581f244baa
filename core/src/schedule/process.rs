//! Worker processes over their connections: which is the newest, and what a process that went down ran.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{CaseIndex, RunId, WorkerId};

/// So many processes without a connection are remembered.
const GONE_MAX: usize = 16_384;

/// Names a worker's process and one of its connections. Messages of an old connection can come late, even the
/// first: it is no sign that the process is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerProcess {
    /// A random number.
    pub id: u64,
    /// Counts its connections.
    pub connection: u64,
}

#[derive(Debug, Default)]
pub(super) struct Processes {
    known: BTreeMap<u64, Known>,
    /// Those without a connection, the one that has been so for the longest first; also some that have come back.
    gone: VecDeque<u64>,
}

#[derive(Debug)]
struct Known {
    connection: u64,
    worker: Option<WorkerId>,
    /// What ran when its last connection ended without a good-bye.
    ran: Vec<(RunId, CaseIndex)>,
}

/// What is known of a process that connects.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Returned {
    /// Its older connection, which it has given up.
    pub(super) older: Option<WorkerId>,
    /// What ran when it was last thought to have gone down. It did not.
    pub(super) ran: Vec<(RunId, CaseIndex)>,
}

impl Processes {
    /// Whether a process has had this connection or a later one.
    pub(super) fn has_had(&self, process: WorkerProcess) -> bool {
        let known = self.known.get(&process.id);
        known.is_some_and(|known| known.connection >= process.connection)
    }

    /// A process connects.
    pub(super) fn joined(&mut self, process: WorkerProcess, worker: WorkerId) -> Returned {
        let now = Known {
            connection: process.connection,
            worker: Some(worker),
            ran: Vec::new(),
        };
        match self.known.insert(process.id, now) {
            Some(before) => Returned {
                older: before.worker,
                ran: before.ran,
            },
            None => Returned::default(),
        }
    }

    /// A connection of a process ended, while `ran` ran there. What ran on an older one says nothing.
    pub(super) fn left(&mut self, process: WorkerProcess, ran: Vec<(RunId, CaseIndex)>) {
        let known = self.known.get_mut(&process.id);
        let Some(known) = known.filter(|known| known.connection == process.connection) else {
            return;
        };
        (known.worker, known.ran) = (None, ran);
        self.gone.push_back(process.id);
        if self.gone.len() > GONE_MAX
            && let Some(oldest) = self.gone.pop_front()
            && self
                .known
                .get(&oldest)
                .is_some_and(|known| known.worker.is_none())
            && !self.gone.contains(&oldest)
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAN: (RunId, CaseIndex) = (RunId::from_u128(1), CaseIndex(0));

    fn process(id: u64, connection: u64) -> WorkerProcess {
        WorkerProcess { id, connection }
    }

    #[test]
    fn a_newer_connection_takes_the_place_of_an_older_one_but_not_the_other_way_round() {
        let mut processes = Processes::default();
        assert_eq!(processes.joined(process(7, 1), WorkerId(1)), Returned::default());
        let returned = processes.joined(process(7, 3), WorkerId(2));
        assert_eq!((returned.older, returned.ran), (Some(WorkerId(1)), vec![]));
        processes.left(process(7, 1), vec![(RunId::from_u128(2), CaseIndex(0))]);
        let had = [2, 3, 4].map(|connection| processes.has_had(process(7, connection)));
        assert_eq!(had, [true, true, false]);
        processes.left(process(7, 3), vec![RAN]);
        assert!(processes.has_had(process(7, 2)), "also once it is gone");
        let returned = processes.joined(process(7, 4), WorkerId(3));
        assert_eq!((returned.older, returned.ran), (None, vec![RAN]));
    }

    #[test]
    fn only_so_many_that_are_gone_are_remembered() {
        let mut processes = Processes::default();
        for id in 0..=GONE_MAX as u64 {
            processes.joined(process(id, 1), WorkerId(id));
            processes.left(process(id, 1), vec![RAN]);
        }
        assert_eq!(
            (processes.known.len(), processes.gone.len()),
            (GONE_MAX, GONE_MAX)
        );
        assert!(!processes.has_had(process(0, 1)));
    }
}
