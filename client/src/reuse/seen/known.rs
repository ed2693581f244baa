//! Which records are kept for a case whose key is the same but for its files.

use thresh_core::digest::Digest;

/// So many passes of a case with one code, environment and so on are kept: to and fro between branches finds all of them.
const PASSES_MAX: usize = 8;
const DIGEST_BYTES: usize = 32;

/// The digests of records, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownInputs(Vec<Digest>);

impl KnownInputs {
    /// Reads what is kept; what is damaged reads as none.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let digests = bytes.chunks(DIGEST_BYTES).map(Digest::try_from);
        Self(digests.collect::<Result<_, _>>().unwrap_or_default())
    }

    /// The bytes to keep.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|digest| *digest.as_bytes()).collect()
    }

    /// Goes through them, newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Digest> {
        self.0.iter().copied()
    }

    /// Puts a record first. Returns whether anything changed.
    pub(crate) fn add(&mut self, digest: Digest) -> bool {
        if self.0.first() == Some(&digest) {
            return false;
        }
        self.0.retain(|other| *other != digest);
        self.0.insert(0, digest);
        self.0.truncate(PASSES_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first_and_the_oldest_go() {
        let digest = |number: u8| Digest::of(&[number]);
        let mut known = KnownInputs::default();
        for number in 0..10 {
            assert!(known.add(digest(number)));
        }
        assert!(!known.add(digest(9)));
        assert!(known.add(digest(5)));
        let expected = [5, 9, 8, 7, 6, 4, 3, 2].map(digest);
        assert_eq!(known.iter().collect::<Vec<_>>(), expected);
        assert_eq!(KnownInputs::decode(&known.encode()), known);
        assert_eq!(KnownInputs::decode(&[1, 2, 3]), KnownInputs::default());
    }
}
