//! From the content to a patch.

use super::WORD;
use super::columns::{Columns, Recent, put_number, zigzag};

/// Bytes by which places of the base are found.
const KEY: usize = 8;
/// 2 to the power of this is the length of the table of places.
const TABLE_LOG: u32 = 16;
/// Places that are looked at for one key.
const PLACES_MAX: usize = 8;
/// Two places are compared by so many bytes.
const WINDOW: usize = 32;
/// So many of them must be equal for a copy to begin or go on. Half of the bytes of a table of addresses differ.
const ALIKE_MIN: usize = 10;
/// With so many of them no better place is looked for.
const ALIKE_GOOD: usize = 24;
/// A place must be better than another by so many for a copy to end there.
const ALIKE_BETTER: usize = 8;
/// No place.
const NONE: u32 = u32::MAX;

/// A patch that makes `content` of `base`; `None` where it would be as long as the content.
pub(in crate::chunk) fn make(base: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let mut maker = Maker {
        base,
        content,
        places: Places::of(base),
        columns: Columns::default(),
        recent: Recent::default(),
        at: 0,
        literals: 0,
        copied: 0,
        corrected: 0,
    };
    while maker.at < content.len() {
        let copied = maker.begin_of_copy().is_some_and(|begin| maker.copy(begin));
        if !copied {
            maker.columns.literals.push(content[maker.at]);
            maker.literals += 1;
            maker.at += 1;
        }
    }
    if maker.literals > 0 {
        put_number(&mut maker.columns.runs, length(maker.literals));
    }
    let patch = maker.columns.join();
    (patch.len() < content.len()).then_some(patch)
}

struct Maker<'a> {
    base: &'a [u8],
    content: &'a [u8],
    places: Places,
    columns: Columns,
    recent: Recent,
    /// What of the content is described.
    at: usize,
    /// Literals since the last copy.
    literals: usize,
    /// Where the last copy ended in the base.
    copied: usize,
    /// Where the last correction ended in the content.
    corrected: usize,
}

impl Maker<'_> {
    /// Where a copy should begin in the base; `None` where nothing is alike.
    fn begin_of_copy(&self) -> Option<usize> {
        // Most often the literals stand for as many bytes of the base.
        let onward = self.copied + self.literals;
        let mut best = (self.alike(onward), onward);
        if best.0 < ALIKE_GOOD {
            for place in self.places.of_key(self.base, self.content, self.at) {
                let alike = self.alike(place);
                if alike > best.0 {
                    best = (alike, place);
                }
            }
        }
        self.is_enough(best.0).then_some(best.1)
    }

    /// Copies from `begin` on for as long as the bases stay alike. Returns whether that was anything.
    fn copy(&mut self, begin: usize) -> bool {
        let (start, mut from) = (self.at, begin);
        loop {
            let (base, content) = (&self.base[from..], &self.content[self.at..]);
            let same = base
                .iter()
                .zip(content)
                .take_while(|(base, content)| base == content);
            let same = same.count();
            from += same;
            self.at += same;
            if !self.correct(from) {
                break;
            }
            from += WORD;
        }
        let count = self.at - start;
        if count == 0 {
            return false;
        }
        // Chunks are short, so that no distance is too long.
        let jump = begin as i32 - self.copied as i32;
        for number in [length(self.literals), length(count), zigzag(jump)] {
            put_number(&mut self.columns.runs, number);
        }
        self.literals = 0;
        self.copied = from;
        true
    }

    /// Corrects the word at which content and base differ, unless they are not alike there.
    fn correct(&mut self, from: usize) -> bool {
        let alike = self.alike(from);
        let words = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().copied();
        let (Some(old), Some(new)) = (words(self.base, from), words(self.content, self.at)) else {
            return false;
        };
        let is_better = |place| self.alike(place) > alike + ALIKE_BETTER;
        let mut places = self.places.of_key(self.base, self.content, self.at);
        if !self.is_enough(alike) || alike < ALIKE_GOOD && places.any(is_better) {
            return false;
        }
        let addend = u32::from_le_bytes(new).wrapping_sub(u32::from_le_bytes(old));
        put_number(&mut self.columns.gaps, length(self.at - self.corrected));
        let rank = self.recent.rank(addend);
        self.columns.ranks.push(rank);
        if rank == super::NEW {
            self.columns.addends.extend_from_slice(&addend.to_le_bytes());
        }
        self.at += WORD;
        self.corrected = self.at;
        true
    }

    /// How many of the next bytes are equal to those at a place of the base.
    fn alike(&self, place: usize) -> usize {
        let content = &self.content[self.at..self.content.len().min(self.at + WINDOW)];
        let base = self.base.get(place..).unwrap_or_default();
        let equal = base.iter().zip(content).filter(|(base, content)| base == content);
        equal.count()
    }

    fn is_enough(&self, alike: usize) -> bool {
        let compared = WINDOW.min(self.content.len() - self.at);
        alike > 0 && alike * WINDOW >= ALIKE_MIN * compared
    }
}

/// Places of the base by the bytes that are there.
struct Places {
    /// By [`slot`]: the first place.
    first: Vec<u32>,
    /// By place: the next one in the same slot.
    next: Vec<u32>,
}

impl Places {
    fn of(base: &[u8]) -> Self {
        let mut places = Self {
            first: vec![NONE; 1 << TABLE_LOG],
            next: vec![NONE; base.len()],
        };
        for place in (0..base.len().saturating_sub(KEY - 1)).rev() {
            let slot = slot(base, place).expect("there are so many bytes");
            places.next[place] = std::mem::replace(&mut places.first[slot], length(place));
        }
        places
    }

    /// Places of the base that may hold what is in `content` at `at`.
    fn of_key(&self, base: &[u8], content: &[u8], at: usize) -> impl Iterator<Item = usize> {
        let first = slot(content, at).filter(|_| !base.is_empty());
        let first = first.map(|slot| self.first[slot]).filter(|place| *place != NONE);
        let next = |place: &u32| Some(self.next[*place as usize]).filter(|place| *place != NONE);
        let places = std::iter::successors(first, next);
        places.take(PLACES_MAX).map(|place| place as usize)
    }
}

/// The slot for the bytes at a place; `None` where there are too few.
fn slot(bytes: &[u8], at: usize) -> Option<usize> {
    let key: [u8; KEY] = *bytes.get(at..)?.first_chunk()?;
    let mixed = u64::from_le_bytes(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Some((mixed >> (u64::BITS - TABLE_LOG)) as usize)
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("chunks are short")
}
