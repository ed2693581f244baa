//! Which slots of a worker are taken.

use std::collections::BTreeSet;

/// The slots of a worker, numbered from 0. The lowest free numbers are taken first.
#[derive(Clone, Debug)]
pub struct Slots {
    count: u32,
    taken: BTreeSet<u32>,
}

impl Slots {
    /// Starts with `count` free slots.
    pub fn new(count: u32) -> Self {
        Self {
            count,
            taken: BTreeSet::new(),
        }
    }

    /// How many are free.
    pub fn free(&self) -> u32 {
        self.count - u32::try_from(self.taken.len()).unwrap_or(self.count)
    }

    /// Takes `weight` slots (at most all there are), or none when not so many are free.
    pub fn take(&mut self, weight: u32) -> Option<Vec<u32>> {
        let weight = weight.clamp(1, self.count);
        if weight > self.free() {
            return None;
        }
        let numbers: Vec<u32> = (0..self.count)
            .filter(|slot| !self.taken.contains(slot))
            .take(weight as usize)
            .collect();
        self.taken.extend(&numbers);
        Some(numbers)
    }

    /// Gives slots back.
    pub fn give_back(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.taken.remove(number);
        }
    }
}
