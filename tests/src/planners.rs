//! Reference planners: how suites are dealt out to machines in advance, where no scheduler deals them out as
//! they run.

use std::time::Duration;

use twox_hash::XxHash64;

/// A way of `cargo nextest run --partition` to deal cases out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// `count:M/N`: in turn, from the first machine again for each binary.
    Count,
    /// `hash:M/N`: by the XXH64 hash of the name.
    Hash,
    /// `slice:M/N`: in turn over all binaries.
    Slice,
}

impl Partition {
    /// All.
    pub const ALL: [Self; 3] = [Self::Count, Self::Hash, Self::Slice];

    /// The word before the colon.
    pub fn word(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Hash => "hash",
            Self::Slice => "slice",
        }
    }

    /// Returns the machine of each case, from 0. Cases are (binary, name) in nextest's order, without those that
    /// are ignored or left out by a filter.
    pub fn deal<'a, B: Copy + PartialEq>(
        self,
        cases: impl IntoIterator<Item = (B, &'a str)>,
        machines: usize,
    ) -> Vec<usize> {
        let mut place = 0;
        let mut present = None;
        let machine = |(binary, name): (B, &'a str)| {
            if self == Self::Count && present.replace(binary) != Some(binary) {
                place = 0;
            }
            place += 1;
            match self {
                Self::Hash => (XxHash64::oneshot(0, name.as_bytes()) % machines as u64) as usize,
                Self::Count | Self::Slice => (place - 1) % machines,
            }
        };
        cases.into_iter().map(machine).collect()
    }
}

/// Longest first (Graham 1969): takes the cases by their estimates, the longest first, and gives each to the
/// machine with the least so far. Returns the cases of each machine, in that order.
pub fn longest_first(estimates: &[Duration], machines: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..estimates.len()).collect();
    order.sort_by_key(|&case| std::cmp::Reverse(estimates[case]));
    let mut load = vec![Duration::ZERO; machines];
    let mut dealt = vec![Vec::new(); machines];
    for case in order {
        let least = (0..machines)
            .min_by_key(|&machine| load[machine])
            .expect("there is a machine");
        load[least] += estimates[case];
        dealt[least].push(case);
    }
    dealt
}

/// How long a machine takes for cases with these durations when each of its slots takes the next one as soon as
/// it is free, as nextest does.
pub fn makespan(durations: impl IntoIterator<Item = Duration>, slots: usize) -> Duration {
    let mut free_at = vec![Duration::ZERO; slots];
    for duration in durations {
        let first = free_at.iter_mut().min().expect("there is a slot");
        *first += duration;
    }
    free_at.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(&str, &str); 5] = [("p", "a"), ("p", "b"), ("p", "c"), ("q", "a"), ("q", "b")];

    fn secs(durations: &[u64]) -> Vec<Duration> {
        durations.iter().copied().map(Duration::from_secs).collect()
    }

    #[test]
    fn count_starts_again_at_each_binary_and_slice_does_not() {
        assert_eq!(Partition::Count.deal(CASES, 2), [0, 1, 0, 0, 1]);
        assert_eq!(Partition::Slice.deal(CASES, 2), [0, 1, 0, 1, 0]);
        let hashed = Partition::Hash.deal(CASES, 2);
        assert_eq!(hashed[..2], hashed[3..], "the binary does not count");
    }

    #[test]
    fn the_longest_goes_first_to_the_least_loaded() {
        assert_eq!(
            longest_first(&secs(&[1, 5, 2, 4]), 2),
            [vec![1, 0], vec![3, 2]],
            "5 + 1 and 4 + 2"
        );
    }

    #[test]
    fn slots_take_what_comes_next() {
        assert_eq!(makespan(secs(&[1, 4, 2]), 2), Duration::from_secs(4));
        assert_eq!(makespan(secs(&[1, 4, 2]), 1), Duration::from_secs(7));
        assert_eq!(makespan([], 3), Duration::ZERO);
    }
}
