//! Which part of a key differs from the last pass.

use super::key::{KeyPart, KeyParts};
use crate::digest::Digest;

/// One part of a key that is not what it was at the last pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartDifference {
    /// Which part.
    pub part: KeyPart,
    /// Its digest at the last pass.
    pub then: Digest,
    /// Its digest now.
    pub now: Digest,
}

/// Returns the parts of `now` that differ from `then`, in the order of [`KeyPart::ALL`].
pub fn differing_parts(then: &KeyParts, now: &KeyParts) -> Vec<PartDifference> {
    KeyPart::ALL
        .into_iter()
        .filter(|&part| then.part(part) != now.part(part))
        .map(|part| PartDifference {
            part,
            then: then.part(part),
            now: now.part(part),
        })
        .collect()
}
