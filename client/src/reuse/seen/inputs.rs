//! What a case was seen to read, as the record that stands for its files in a key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thresh_cas::DigestMemo;
use thresh_core::digest::Digest;
use thresh_core::observe::{Access, Accesses, Observation};

use super::state::{States, Wanted, accesses_of};
use super::text::{path_of, text_of};
use crate::reuse::record::Record;

/// The kind of such a record. The number rises with the meaning of its words.
const KIND: &str = "seen v3";

/// Records that are longer than this are not kept: to compare them would take longer than most cases.
pub(super) const BYTES_MAX: usize = 512 << 10;

/// A record of an earlier pass.
#[derive(Clone, Debug)]
pub(crate) struct SeenInputs(BTreeMap<String, String>);

impl SeenInputs {
    /// Reads what is kept under `digest`; `None`: it is damaged, or of another version.
    pub(crate) fn decode(digest: Digest, bytes: &[u8]) -> Option<Self> {
        let values = Record::decode(bytes)?;
        (Record::with_values(KIND, values.clone()).digest() == digest).then_some(Self(values))
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
pub(super) fn want_observed(observation: &Observation, wanted: &mut Wanted) {
    for (path, entry) in &observation.entries {
        want(wanted, path.clone(), entry.accesses);
    }
}

/// Makes the record of an observation.
///
/// # Errors
/// What was met at the returned path cannot be told any more: somebody changed it meanwhile.
pub(super) fn record_of<'o>(
    observation: &'o Observation,
    states: &States<'_>,
    memo: &DigestMemo,
) -> Result<Record, &'o Path> {
    let mut record = Record::new(KIND);
    for (path, entry) in &observation.entries {
        let words = states.words_met(path, entry, memo).ok_or(path.as_path())?;
        record.add(text_of(path), words);
    }
    Ok(record)
}

fn want(wanted: &mut Wanted, path: PathBuf, accesses: Accesses) {
    let ways = wanted.entry(path).or_default();
    accesses.iter().for_each(|access: Access| ways.insert(access));
}
