//! The names in a folder, as one digest.

use super::entry::Kind;
use crate::digest::{Digest, FieldHasher};

/// Returns the digest of a folder's names, each with what is there; their order does not matter.
pub fn names_digest(mut names: Vec<(Vec<u8>, Kind)>) -> Digest {
    names.sort();
    let mut hasher = FieldHasher::new("thresh names v1");
    for (name, kind) in names {
        let kind = match kind {
            Kind::File => b"f",
            Kind::Folder => b"d",
            Kind::Link => b"l",
            Kind::Other => b"o",
        };
        hasher.field(&name).field(kind);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_count_and_order_does_not() {
        let digest = |names: &[(&str, Kind)]| {
            let names = names.iter().map(|(name, kind)| (name.as_bytes().to_vec(), *kind));
            names_digest(names.collect())
        };
        let base = digest(&[("a", Kind::File), ("b", Kind::Folder)]);
        assert_eq!(base, digest(&[("b", Kind::Folder), ("a", Kind::File)]));
        assert_ne!(base, digest(&[("a", Kind::Link), ("b", Kind::Folder)]));
        assert_ne!(base, digest(&[("a", Kind::File)]));
    }
}
