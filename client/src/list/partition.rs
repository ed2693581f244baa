//! `--partition`: a fixed part of the cases.

use std::str::FromStr;

use twox_hash::XxHash64;

/// Part `shard` of `shards` of the cases that are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// How cases are dealt out.
    pub dealing: Dealing,
    /// Which part, from 1.
    pub shard: u64,
    /// How many parts.
    pub shards: u64,
}

/// How cases are dealt out to parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dealing {
    /// In turn within each binary.
    Count,
    /// By the hash of the name.
    Hash,
    /// In turn over all binaries.
    Slice,
}

/// The text is no partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read partition `{0}`: expected count:M/N, hash:M/N or slice:M/N, with M from 1 to N")]
pub struct InvalidPartition(String);

impl FromStr for Partition {
    type Err = InvalidPartition;

    fn from_str(text: &str) -> Result<Self, InvalidPartition> {
        let parse = || {
            let (dealing, rest) = text.split_once(':')?;
            let dealing = match dealing {
                "count" => Dealing::Count,
                "hash" => Dealing::Hash,
                "slice" => Dealing::Slice,
                _ => return None,
            };
            let (shard, shards) = rest.split_once('/')?;
            let (shard, shards) = (shard.parse().ok()?, shards.parse().ok()?);
            (1..=shards).contains(&shard).then_some(Self {
                dealing,
                shard,
                shards,
            })
        };
        parse().ok_or_else(|| InvalidPartition(text.to_owned()))
    }
}

/// Deals cases out, in the order in which they are listed. Ignored cases are dealt apart from the others.
#[derive(Debug)]
pub(crate) struct Dealer {
    partition: Partition,
    dealt: [u64; 2],
}

impl Dealer {
    pub(crate) fn new(partition: Partition) -> Self {
        Self {
            partition,
            dealt: [0; 2],
        }
    }

    /// Says that the cases of the next binary follow.
    pub(crate) fn next_binary(&mut self) {
        if self.partition.dealing == Dealing::Count {
            self.dealt = [0; 2];
        }
    }

    /// Whether the case is in the part.
    pub(crate) fn takes(&mut self, name: &str, ignored: bool) -> bool {
        let Partition {
            dealing,
            shard,
            shards,
        } = self.partition;
        let place = match dealing {
            Dealing::Hash => XxHash64::oneshot(0, name.as_bytes()),
            Dealing::Count | Dealing::Slice => {
                let dealt = &mut self.dealt[usize::from(ignored)];
                *dealt += 1;
                *dealt - 1
            }
        };
        place % shards == shard - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_and_bad_ones_refused() {
        assert_eq!(
            "slice:2/3".parse(),
            Ok(Partition {
                dealing: Dealing::Slice,
                shard: 2,
                shards: 3
            })
        );
        for bad in [
            "",
            "2/3",
            "count:0/3",
            "count:4/3",
            "count:1",
            "split:1/2",
            "hash:-1/2",
            "hash:1/0",
        ] {
            assert_eq!(bad.parse::<Partition>(), Err(InvalidPartition(bad.to_owned())));
        }
    }

    /// Deals three cases, of which the second is ignored, in each of two binaries.
    fn deal(partition: &str) -> Vec<bool> {
        let mut dealer = Dealer::new(partition.parse().unwrap());
        let mut taken = Vec::new();
        for _ in 0..2 {
            dealer.next_binary();
            taken.extend(
                [("a", false), ("b", true), ("c", false)].map(|(name, ignored)| dealer.takes(name, ignored)),
            );
        }
        taken
    }

    #[test]
    fn count_restarts_at_each_binary_and_slice_does_not() {
        assert_eq!(deal("count:1/2"), [true, true, false, true, true, false]);
        assert_eq!(deal("slice:1/3"), [true, true, false, false, false, true]);
        let parts = [deal("hash:1/2"), deal("hash:2/2")];
        assert!(
            parts[0]
                .iter()
                .zip(&parts[1])
                .all(|(first, second)| first != second)
        );
    }
}
