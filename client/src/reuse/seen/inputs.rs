//! What a case was seen to read, as the record that stands for its files in a key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use thresh_cas::DigestMemo;
use thresh_core::digest::Digest;
use thresh_core::observe::{Access, Accesses, Entry, Observation};

use super::place::{Place, Shipped};
use super::state::{States, Wanted, accesses_of};
use super::text::{path_of, text_of};
use crate::reuse::record::Record;

/// Records that are longer than this are not kept: to compare them would take longer than most cases.
pub(super) const BYTES_MAX: usize = 512 << 10;

/// A record of an earlier pass.
#[derive(Clone, Debug)]
pub(crate) struct SeenInputs(BTreeMap<String, String>);

impl SeenInputs {
    /// Reads what is kept under `digest`; `None`: it is damaged, of another version, or was seen in another place.
    pub(crate) fn decode(digest: Digest, bytes: &[u8], place: Place) -> Option<Self> {
        let values = Record::decode(bytes)?;
        (Record::with_values(place.kind(), values.clone()).digest() == digest).then_some(Self(values))
    }

    /// Adds what it depends on.
    pub(super) fn want(&self, wanted: &mut Wanted) {
        for (path, words) in &self.0 {
            if let (Some(path), Some(accesses)) = (path_of(path), accesses_of(words)) {
                want(wanted, path, accesses);
            }
        }
    }

    /// Whether all of it is still so.
    pub(super) fn holds(&self, states: &States<'_>) -> bool {
        self.different(states).next().is_none()
    }

    /// What is not so any more: paths, with what was there and what is there now.
    pub(super) fn different<'a>(
        &'a self,
        states: &'a States<'_>,
    ) -> impl Iterator<Item = (&'a str, &'a str, Option<String>)> {
        self.0.iter().filter_map(|(text, words)| {
            let now = path_of(text).and_then(|path| states.words(&path, accesses_of(words)?));
            (now.as_ref() != Some(words)).then_some((text.as_str(), words.as_str(), now))
        })
    }
}

/// Adds the paths of an observation.
pub(super) fn want_observed(observation: &Observation, shipped: Option<&Shipped>, wanted: &mut Wanted) {
    for (path, entry) in counted(observation, shipped) {
        want(wanted, path.clone(), entry.accesses);
    }
}

/// Makes the record of an observation. `shipped`: it was made on a worker, and what that has of its own does not count, as it
/// never does on a farm.
///
/// # Errors
/// What was met cannot be told from what is there now.
pub(super) fn record_of(
    observation: &Observation,
    shipped: Option<&Shipped>,
    states: &States<'_>,
    memo: &DigestMemo,
) -> Result<Record, String> {
    let place = shipped.map_or(Place::Here, |_| Place::Workers);
    let mut record = Record::new(place.kind());
    let outside = shipped.and_then(|shipped| {
        let mut paths = observation.entries.keys();
        paths.find(|path| shipped.leads_outside(path))
    });
    if let Some(path) = outside {
        return Err(format!("{} is outside of the workspace", path.display()));
    }
    for (path, entry) in counted(observation, shipped) {
        let words = match shipped {
            None => states.words_met(path, entry, memo),
            Some(shipped) if shipped.changed.contains(path) => None,
            Some(_) => states.words_shown(path, entry),
        };
        let unclear = || match shipped {
            None => format!("{} changed meanwhile", path.display()),
            Some(_) => format!("{} was not on the worker as it is here", path.display()),
        };
        record.add(text_of(path), words.ok_or_else(unclear)?);
    }
    Ok(record)
}

fn counted<'o>(
    observation: &'o Observation,
    shipped: Option<&Shipped>,
) -> impl Iterator<Item = (&'o PathBuf, &'o Entry)> {
    let entries = observation.entries.iter();
    entries.filter(move |(path, _)| shipped.is_none_or(|shipped| shipped.shows(path)))
}

fn want(wanted: &mut Wanted, path: PathBuf, accesses: Accesses) {
    let ways = wanted.entry(path).or_default();
    accesses.iter().for_each(|access: Access| ways.insert(access));
}
