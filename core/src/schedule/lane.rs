//! Pending cases in the order in which they are to be granted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BinaryIndex, CaseIndex};

/// Where a case stands: higher priority first, then the longer one (in microseconds), then the client's order.
pub(super) type Key = (Reverse<i8>, Reverse<u64>, CaseIndex);

/// The pending cases of a run that share a test group, or that have none.
///
/// Cases with a history stand by their own estimate, which does not change during a run. Those without stand
/// by what the run has learned of their binary, which does: only the binaries move then, not their cases.
#[derive(Debug)]
pub(super) struct Lane {
    known: BTreeSet<Key>,
    /// The known cases again by binary, where it matters which worker holds which binary.
    by_binary: Option<BTreeMap<BinaryIndex, BTreeSet<Key>>>,
    unknown: BTreeMap<BinaryIndex, Unknown>,
    heads: BTreeSet<Head>,
    len: usize,
}

/// The place of a binary's first unknown case.
type Head = (Reverse<i8>, Reverse<u64>, BinaryIndex);

#[derive(Debug, Default)]
struct Unknown {
    cases: BTreeSet<(Reverse<i8>, CaseIndex)>,
    head: Option<Head>,
}

impl Lane {
    pub(super) fn new(by_binary: bool) -> Self {
        Self {
            known: BTreeSet::new(),
            by_binary: by_binary.then(BTreeMap::new),
            unknown: BTreeMap::new(),
            heads: BTreeSet::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn insert_known(&mut self, binary: BinaryIndex, key: Key) {
        self.len += usize::from(self.known.insert(key));
        if let Some(by_binary) = &mut self.by_binary {
            by_binary.entry(binary).or_default().insert(key);
        }
    }

    pub(super) fn remove_known(&mut self, binary: BinaryIndex, key: Key) {
        self.len -= usize::from(self.known.remove(&key));
        if let Some(by_binary) = &mut self.by_binary
            && let Some(keys) = by_binary.get_mut(&binary)
        {
            keys.remove(&key);
            if keys.is_empty() {
                by_binary.remove(&binary);
            }
        }
    }

    /// `micros` is where the binary's unknown cases stand now.
    pub(super) fn insert_unknown(&mut self, binary: BinaryIndex, priority: i8, case: CaseIndex, micros: u64) {
        let cases = &mut self.unknown.entry(binary).or_default().cases;
        self.len += usize::from(cases.insert((Reverse(priority), case)));
        self.move_binary(binary, micros);
    }

    pub(super) fn remove_unknown(&mut self, binary: BinaryIndex, priority: i8, case: CaseIndex, micros: u64) {
        let Some(unknown) = self.unknown.get_mut(&binary) else {
            return;
        };
        self.len -= usize::from(unknown.cases.remove(&(Reverse(priority), case)));
        self.move_binary(binary, micros);
    }

    /// Gives a binary's unknown cases a new place.
    pub(super) fn move_binary(&mut self, binary: BinaryIndex, micros: u64) {
        let Some(unknown) = self.unknown.get_mut(&binary) else {
            return;
        };
        let head = unknown
            .cases
            .first()
            .map(|(priority, _)| (*priority, Reverse(micros), binary));
        if head == unknown.head {
            return;
        }
        if let Some(before) = unknown.head.take() {
            self.heads.remove(&before);
        }
        match head {
            Some(head) => {
                unknown.head = Some(head);
                self.heads.insert(head);
            }
            None => {
                self.unknown.remove(&binary);
            }
        }
    }

    /// The first case.
    pub(super) fn first(&self) -> Option<Key> {
        let known = self.known.first().copied();
        let unknown = self.heads.first().and_then(|head| self.unknown_keys(head).next());
        known.into_iter().chain(unknown).min()
    }

    /// About `most` cases from the front, in order.
    pub(super) fn front(&self, most: usize) -> Vec<Key> {
        let known = self.known.iter().take(most).copied();
        let unknown = self
            .heads
            .iter()
            .take(most)
            .flat_map(|head| self.unknown_keys(head).take(most));
        let mut keys: Vec<Key> = known.chain(unknown.take(most)).collect();
        keys.sort_unstable();
        keys
    }

    /// About `most` cases from the front of those of a priority that take at most `micros`, in order.
    pub(super) fn at_most(&self, priority: Reverse<i8>, micros: u64, most: usize) -> Vec<Key> {
        let known = self
            .known
            .range((priority, Reverse(micros), CaseIndex(0))..)
            .take_while(|key| key.0 == priority)
            .take(most)
            .copied();
        let unknown = self
            .heads
            .range((priority, Reverse(micros), BinaryIndex(0))..)
            .take_while(|head| head.0 == priority)
            .take(most)
            .flat_map(|head| self.unknown_keys(head).take(most));
        let mut keys: Vec<Key> = known.chain(unknown.take(most)).collect();
        keys.sort_unstable();
        keys
    }

    /// The first case of a binary; `None` also where it is not kept which binary a case is of.
    pub(super) fn first_of(&self, binary: BinaryIndex) -> Option<Key> {
        let by_binary = self.by_binary.as_ref()?;
        let known = by_binary.get(&binary).and_then(BTreeSet::first).copied();
        let head = self.unknown.get(&binary).and_then(|unknown| unknown.head);
        let unknown = head.and_then(|head| self.unknown_keys(&head).next());
        known.into_iter().chain(unknown).min()
    }

    /// The unknown cases of the highest priority of a binary.
    fn unknown_keys<'a>(&'a self, head: &Head) -> impl Iterator<Item = Key> + use<'a> {
        let (priority, micros, binary) = *head;
        let cases = self
            .unknown
            .get(&binary)
            .into_iter()
            .flat_map(|unknown| &unknown.cases);
        cases
            .take_while(move |(of, _)| *of == priority)
            .map(move |(_, case)| (priority, micros, *case))
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.by_binary.is_some());
    }

    /// Every case, in no particular order, with how it is filed.
    pub(super) fn cases(&self) -> impl Iterator<Item = CaseIndex> {
        let unknown = self.unknown.values().flat_map(|unknown| &unknown.cases);
        self.known
            .iter()
            .map(|key| key.2)
            .chain(unknown.map(|(_, case)| *case))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BinaryIndex = BinaryIndex(1);
    const TWO: BinaryIndex = BinaryIndex(2);

    fn order(lane: &Lane) -> Vec<u32> {
        lane.front(9).into_iter().map(|key| key.2.0).collect()
    }

    #[test]
    fn unknown_cases_move_with_their_binary() {
        let mut lane = Lane::new(true);
        lane.insert_known(ONE, (Reverse(0), Reverse(50), CaseIndex(0)));
        for case in 1..3 {
            lane.insert_unknown(ONE, 0, CaseIndex(case), 100);
            lane.insert_unknown(TWO, 0, CaseIndex(case + 2), 100);
        }
        assert_eq!(order(&lane), [1, 2, 3, 4, 0]);
        lane.move_binary(ONE, 10);
        assert_eq!(order(&lane), [3, 4, 0, 1, 2]);
        lane.remove_unknown(TWO, 0, CaseIndex(3), 60);
        assert_eq!(
            (lane.first(), lane.len()),
            (Some((Reverse(0), Reverse(60), CaseIndex(4))), 4)
        );
        assert_eq!(lane.first_of(ONE).map(|key| key.2), Some(CaseIndex(0)));
        lane.remove_unknown(TWO, 0, CaseIndex(4), 60);
        lane.remove_known(ONE, (Reverse(0), Reverse(50), CaseIndex(0)));
        assert_eq!((order(&lane), lane.first_of(TWO)), (vec![1, 2], None));
    }

    #[test]
    fn priority_goes_before_what_is_known() {
        let mut lane = Lane::new(false);
        lane.insert_known(ONE, (Reverse(0), Reverse(500), CaseIndex(0)));
        lane.insert_unknown(ONE, 3, CaseIndex(1), 1);
        lane.insert_unknown(ONE, 0, CaseIndex(2), 1);
        assert_eq!(order(&lane), [1, 0]);
        lane.remove_unknown(ONE, 3, CaseIndex(1), 1);
        assert_eq!(order(&lane), [0, 2]);
    }
}
