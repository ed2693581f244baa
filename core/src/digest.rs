//! The name of content: a BLAKE3 digest.

use std::fmt;
use std::str::FromStr;

/// A BLAKE3 digest (256 bits) of some content. Printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the 32 raw bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// Returns the 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The text is not 64 hexadecimal digits, or the bytes are not 32.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a BLAKE3 digest: expected 32 bytes or 64 hexadecimal digits")]
pub struct InvalidDigest;

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| InvalidDigest)
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = InvalidDigest;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidDigest> {
        bytes.try_into().map(Self).map_err(|_| InvalidDigest)
    }
}

/// Hashes a sequence of fields so that no two different sequences collide by concatenation: every field is
/// preceded by its length.
#[derive(Debug)]
pub struct FieldHasher(blake3::Hasher);

impl FieldHasher {
    /// Starts a hash in its own domain. `context` is a fixed string, unique to one use in the program, with a
    /// version in it (BLAKE3 `derive_key` mode).
    pub fn new(context: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// Adds one field.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Returns the digest of the fields so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

/// Hashes many short lists of fields in one domain, one after the other, as [`FieldHasher`] hashes one: the context is
/// worked out once, and nothing is set up for each. A list is held in memory until it is hashed. The digests differ from
/// those of a [`FieldHasher`].
#[derive(Clone, Debug)]
pub struct ShortHasher {
    key: [u8; 32],
    bytes: Vec<u8>,
}

impl ShortHasher {
    /// Starts hashes in their own domain, as [`FieldHasher::new`] does (BLAKE3 `keyed_hash`, by a key that is derived
    /// from `context`).
    pub fn new(context: &str) -> Self {
        Self {
            key: blake3::derive_key(context, b""),
            bytes: Vec::new(),
        }
    }

    /// Adds one field.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.fixed(&(bytes.len() as u64).to_le_bytes()).fixed(bytes)
    }

    /// Adds bytes whose number follows from what was added before.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Returns the digest of the fields so far, and begins with the next list.
    pub fn finish(&mut self) -> Digest {
        let digest = Digest(*blake3::keyed_hash(&self.key, &self.bytes).as_bytes());
        self.bytes.clear();
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let digest = Digest::of(b"content");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("abc".parse::<Digest>(), Err(InvalidDigest));
        assert_eq!(Digest::try_from(&[0u8; 31][..]), Err(InvalidDigest));
    }

    #[test]
    fn field_borders_are_part_of_the_hash() {
        let hash = |fields: &[&str]| {
            let mut hasher = FieldHasher::new("thresh test v1");
            fields.iter().for_each(|field| {
                hasher.field(field.as_bytes());
            });
            hasher.finish()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["abc"]), hash(&["abc", ""]));
    }

    #[test]
    fn short_lists_are_hashed_one_after_the_other() {
        let mut hasher = ShortHasher::new("thresh test v1");
        let mut hash = |fields: &[&str]| {
            fields.iter().for_each(|field| {
                hasher.field(field.as_bytes());
            });
            hasher.finish()
        };
        let first = hash(&["ab", "c"]);
        assert_ne!(first, hash(&["a", "bc"]));
        assert_eq!(first, hash(&["ab", "c"]));
        assert_ne!(ShortHasher::new("thresh other v1").finish(), hash(&[]));
    }
}
