//! What differs between two manifests.

use super::check::bytes;
use super::{Entry, Manifest};
use std::cmp::Ordering;
use std::path::PathBuf;

/// Paths that differ between two manifests, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestDiff {
    /// Only in the newer manifest.
    pub added: Vec<PathBuf>,
    /// Only in the older manifest.
    pub removed: Vec<PathBuf>,
    /// In both, with different content, kind or executable bit.
    pub changed: Vec<PathBuf>,
}

impl ManifestDiff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Manifest {
    /// Tells what must be added, removed and changed to get from `older` to `newer`.
    pub fn diff(older: &Self, newer: &Self) -> ManifestDiff {
        let mut diff = ManifestDiff::default();
        let (mut old, mut new) = (older.entries.as_slice(), newer.entries.as_slice());
        loop {
            match (old, new) {
                ([], []) => return diff,
                ([], [added, rest @ ..]) => {
                    diff.added.push(added.path.clone());
                    new = rest;
                }
                ([removed, rest @ ..], []) => {
                    diff.removed.push(removed.path.clone());
                    old = rest;
                }
                ([before, old_rest @ ..], [after, new_rest @ ..]) => {
                    let order = bytes(&before.path).cmp(bytes(&after.path));
                    diff.note(order, before, after);
                    old = if order.is_le() { old_rest } else { old };
                    new = if order.is_ge() { new_rest } else { new };
                }
            }
        }
    }
}

impl ManifestDiff {
    fn note(&mut self, order: Ordering, before: &Entry, after: &Entry) {
        match order {
            Ordering::Less => self.removed.push(before.path.clone()),
            Ordering::Greater => self.added.push(after.path.clone()),
            Ordering::Equal if before.kind != after.kind => self.changed.push(after.path.clone()),
            Ordering::Equal => {}
        }
    }
}
