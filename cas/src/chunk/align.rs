//! Which chunks of an older blob resemble one of a newer.

use std::ops::Range;

use thresh_core::chunk::{BASE_BYTES_MAX, BASES_MAX, Recipe};

use super::CHUNK_BYTES_AVERAGE;

/// How far to look before and behind the place where a chunk is expected.
const REACH: u64 = CHUNK_BYTES_AVERAGE as u64 / 2;

/// Finds, for the chunks of a blob, those of an older version of it that hold about the same.
///
/// After an edit the linker moves what follows and changes the addresses in it: few bytes of a chunk differ, but
/// some differ in nearly every one. So a chunk is compressed against what was about there: at the same share of
/// the blob's length.
#[derive(Debug)]
pub struct Alignment<'a> {
    old: &'a Recipe,
    new: &'a Recipe,
}

impl<'a> Alignment<'a> {
    /// Aligns `new` with `old`.
    pub fn new(new: &'a Recipe, old: &'a Recipe) -> Self {
        Self { old, new }
    }

    /// The parts of the old recipe that the part at `index` of the new one is likely to resemble.
    pub fn bases(&self, index: usize) -> Range<usize> {
        let (Some(last), false) = (self.old.parts().len().checked_sub(1), self.new.size() == 0) else {
            return 0..0;
        };
        let [begin, end] = [self.new.offset(index), self.new.offset(index + 1)];
        let share = |offset: u64| {
            let scaled = u128::from(offset) * u128::from(self.old.size()) / u128::from(self.new.size());
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        let first = self.old.part_at(share(begin).saturating_sub(REACH)).min(last);
        let until = share(end).saturating_add(REACH);
        let mut bytes = 0;
        let fits = |part: &usize| {
            bytes += self.old.parts()[*part].size as usize;
            self.old.offset(*part) < until && bytes <= BASE_BYTES_MAX
        };
        let count = (first..=last).take(BASES_MAX).take_while(fits).count();
        first..first + count
    }
}
