//! How the keys of two links differ.

use std::collections::BTreeMap;

use thresh_core::digest::Digest;
use thresh_reach::{Analysis, Locations};

/// The key of each case, by its name.
pub(crate) fn keys(analysis: &Analysis, locations: Locations) -> BTreeMap<String, Digest> {
    assert_eq!(analysis.summary().whole(), None);
    let keys = analysis.summary().keys(locations);
    keys.map(|case| (case.name.to_owned(), case.key)).collect()
}

/// The cases that are in both and whose keys differ.
pub(crate) fn changed(old: &Analysis, new: &Analysis, locations: Locations) -> Vec<String> {
    let (old, new) = (keys(old, locations), keys(new, locations));
    let differ = new
        .iter()
        .filter(|(name, key)| old.get(*name).is_some_and(|old| old != *key));
    differ.map(|(name, _)| name.clone()).collect()
}
