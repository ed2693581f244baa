//! Pending cases in the order in which they are to be granted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BinaryIndex, CaseIndex};

/// Where a case stands: higher priority first, then the longer one (in microseconds), then the client's order.
pub(super) type Key = (Reverse<i8>, Reverse<u64>, CaseIndex);

/// The pending cases of a run that share a test group, or that have none.
///
/// Cases with a history stand by their own estimate, which does not change during a run. Those without stand
/// by what the run has learned of their binary, which does: only the binaries move then, not their cases. Cases
/// whose names are neighbours are alike, so those of a binary are tried far from each other: in the order of a
/// van der Corput sequence, shifted by the lane's salt.
#[derive(Debug)]
pub(super) struct Lane {
    salt: u32,
    known: BTreeSet<Key>,
    /// The known cases again by binary, where it matters which worker holds which binary.
    by_binary: Option<BTreeMap<BinaryIndex, BTreeSet<Key>>>,
    /// The time of the known cases together by their sizes: those that take less than 2^N microseconds and not
    /// less than half of that are at N.
    by_size: [u64; 65],
    unknown: BTreeMap<BinaryIndex, Unknown>,
    heads: BTreeSet<Head>,
    len: usize,
}

/// When a case without history is tried among those of its binary: its index, salted, with the bits reversed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn(u32);

/// The place of a binary's first unknown case.
type Head = (Reverse<i8>, Reverse<u64>, BinaryIndex);

#[derive(Debug, Default)]
struct Unknown {
    cases: BTreeSet<(Reverse<i8>, Turn)>,
    head: Option<Head>,
}

impl Lane {
    /// `by_binary`: it matters which worker holds which binary. Lanes of other salts try unknown cases in another
    /// order.
    pub(super) fn new(by_binary: bool, salt: u32) -> Self {
        Self {
            salt,
            known: BTreeSet::new(),
            by_binary: by_binary.then(BTreeMap::new),
            by_size: [0; 65],
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
        if self.known.insert(key) {
            self.len += 1;
            let sum = &mut self.by_size[size(key.1.0)];
            *sum = sum.saturating_add(key.1.0);
        }
        if let Some(by_binary) = &mut self.by_binary {
            by_binary.entry(binary).or_default().insert(key);
        }
    }

    pub(super) fn remove_known(&mut self, binary: BinaryIndex, key: Key) {
        if self.known.remove(&key) {
            self.len -= 1;
            let sum = &mut self.by_size[size(key.1.0)];
            *sum = sum.saturating_sub(key.1.0);
        }
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
        let turn = self.turn(case);
        let cases = &mut self.unknown.entry(binary).or_default().cases;
        self.len += usize::from(cases.insert((Reverse(priority), turn)));
        self.move_binary(binary, micros);
    }

    pub(super) fn remove_unknown(&mut self, binary: BinaryIndex, priority: i8, case: CaseIndex, micros: u64) {
        let turn = self.turn(case);
        let Some(unknown) = self.unknown.get_mut(&binary) else {
            return;
        };
        self.len -= usize::from(unknown.cases.remove(&(Reverse(priority), turn)));
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
        // What is unknown stays in the order of turns.
        keys.sort_by_key(|key| (key.0, key.1));
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
        // What is unknown stays in the order of turns.
        keys.sort_by_key(|key| (key.0, key.1));
        keys
    }

    /// The time of all cases; what is not known is taken to be as long as the first of that.
    pub(super) fn micros(&self) -> u64 {
        let unknown = (self.len - self.known.len()) as u64;
        let each = self.heads.first().map_or(0, |head| head.1.0);
        self.known_micros().saturating_add(unknown.saturating_mul(each))
    }

    /// The time of the known cases.
    pub(super) fn known_micros(&self) -> u64 {
        self.by_size.iter().fold(0, |sum, size| sum.saturating_add(*size))
    }

    /// The time of all known cases that take less than the power of two that `micros` reaches.
    pub(super) fn shorter_than(&self, micros: u64) -> u64 {
        let shorter = &self.by_size[..size(micros)];
        shorter.iter().fold(0, |sum, size| sum.saturating_add(*size))
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
            .map(move |(_, turn)| (priority, micros, self.case(*turn)))
    }

    fn turn(&self, case: CaseIndex) -> Turn {
        Turn((case.0 ^ self.salt).reverse_bits())
    }

    fn case(&self, turn: Turn) -> CaseIndex {
        CaseIndex(turn.0.reverse_bits() ^ self.salt)
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.by_binary.is_some(), self.salt);
    }

    /// Every case, in no particular order, with how it is filed.
    pub(super) fn cases(&self) -> impl Iterator<Item = CaseIndex> {
        let unknown = self.unknown.values().flat_map(|unknown| &unknown.cases);
        self.known
            .iter()
            .map(|key| key.2)
            .chain(unknown.map(|(_, turn)| self.case(*turn)))
    }
}

fn size(micros: u64) -> usize {
    (u64::BITS - micros.leading_zeros()) as usize
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
        let mut lane = Lane::new(true, 0);
        lane.insert_known(ONE, (Reverse(0), Reverse(50), CaseIndex(0)));
        for case in 1..3 {
            lane.insert_unknown(ONE, 0, CaseIndex(case), 100);
            lane.insert_unknown(TWO, 0, CaseIndex(case + 2), 100);
        }
        assert_eq!(order(&lane), [2, 1, 4, 3, 0]);
        lane.move_binary(ONE, 10);
        assert_eq!(order(&lane), [4, 3, 0, 2, 1]);
        lane.remove_unknown(TWO, 0, CaseIndex(4), 60);
        assert_eq!(
            (lane.first(), lane.len()),
            (Some((Reverse(0), Reverse(60), CaseIndex(3))), 4)
        );
        assert_eq!(lane.first_of(ONE).map(|key| key.2), Some(CaseIndex(0)));
        lane.remove_unknown(TWO, 0, CaseIndex(3), 60);
        lane.remove_known(ONE, (Reverse(0), Reverse(50), CaseIndex(0)));
        assert_eq!((order(&lane), lane.first_of(TWO)), (vec![2, 1], None));
    }

    #[test]
    fn unknown_cases_of_a_binary_are_tried_far_from_each_other() {
        let first_of = |salt| {
            let mut lane = Lane::new(false, salt);
            for case in 100..116 {
                lane.insert_unknown(ONE, 0, CaseIndex(case), 100);
            }
            let mut first: Vec<u32> = lane.front(4).into_iter().map(|key| key.2.0).collect();
            first.sort_unstable();
            first
        };
        for salt in [0, 1, 9, 0xdead_beef] {
            let gaps: Vec<u32> = first_of(salt).windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().all(|gap| *gap >= 2), "{gaps:?} with salt {salt}");
        }
        assert_ne!(first_of(0), first_of(9));
    }

    #[test]
    fn short_cases_are_summed_up() {
        let mut lane = Lane::new(false, 0);
        for (case, micros) in [0, 1, 3, 4, 7, 8, 1_000].into_iter().enumerate() {
            lane.insert_known(ONE, (Reverse(0), Reverse(micros), CaseIndex(case as u32)));
        }
        assert_eq!(
            [1, 4, 8, 15].map(|micros| lane.shorter_than(micros)),
            [0, 4, 15, 15]
        );
        lane.remove_known(ONE, (Reverse(0), Reverse(3), CaseIndex(2)));
        assert_eq!(lane.shorter_than(u64::MAX), 1_020);
    }

    #[test]
    fn priority_goes_before_what_is_known() {
        let mut lane = Lane::new(false, 0);
        lane.insert_known(ONE, (Reverse(0), Reverse(500), CaseIndex(0)));
        lane.insert_unknown(ONE, 3, CaseIndex(1), 1);
        lane.insert_unknown(ONE, 0, CaseIndex(2), 1);
        assert_eq!(order(&lane), [1, 0]);
        lane.remove_unknown(ONE, 3, CaseIndex(1), 1);
        assert_eq!(order(&lane), [0, 2]);
    }
}
