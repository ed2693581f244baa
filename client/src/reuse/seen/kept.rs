//! Which of the kept records still hold, and records of new passes.

use std::collections::BTreeMap;

use thresh_cas::DigestMemo;
use thresh_core::digest::Digest;
use thresh_core::observe::Observation;

use super::inputs::{BYTES_MAX, record_of, want_observed};
use super::state::{States, Wanted};
use super::{KnownInputs, Programs, SeenInputs, Shipped};

/// What is kept of earlier passes.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// By the key without files.
    pub(crate) known: BTreeMap<Digest, KnownInputs>,
    /// By digest.
    pub(crate) records: BTreeMap<Digest, SeenInputs>,
}

impl Kept {
    /// For each key the newest record of which everything is still so.
    pub(crate) fn holding(
        &self,
        keys: &[Option<Digest>],
        programs: &Programs,
        memo: &mut DigestMemo,
    ) -> Vec<Option<Digest>> {
        let all = self.all_holding(keys, programs, memo);
        all.into_iter().map(|of_key| of_key.first().copied()).collect()
    }

    /// For each key all records of which everything is still so, newest first.
    pub(crate) fn all_holding(
        &self,
        keys: &[Option<Digest>],
        programs: &Programs,
        memo: &mut DigestMemo,
    ) -> Vec<Vec<Digest>> {
        let mut wanted = Wanted::new();
        self.records.values().for_each(|record| record.want(&mut wanted));
        let states = States::look(&wanted, programs, memo);
        let holding: BTreeMap<Digest, bool> = self
            .records
            .iter()
            .map(|(digest, record)| (*digest, record.holds(&states)))
            .collect();
        let of_key = |key: &Option<Digest>| {
            let known = key.and_then(|key| self.known.get(&key));
            let records = known.into_iter().flat_map(KnownInputs::iter);
            records
                .filter(|digest| holding.get(digest) == Some(&true))
                .collect()
        };
        keys.iter().map(of_key).collect()
    }

    /// What of a record is not so any more, in words.
    pub(crate) fn different(record: &SeenInputs, programs: &Programs, memo: &mut DigestMemo) -> Vec<String> {
        let mut wanted = Wanted::new();
        record.want(&mut wanted);
        let states = States::look(&wanted, programs, memo);
        let words = |(path, then, now): (&str, &str, Option<String>)| {
            let now = now.unwrap_or_else(|| "cannot be told".to_owned());
            format!("{path} (was: {then}; is: {now})")
        };
        record.different(&states).map(words).collect()
    }
}

/// Records to keep of a run's passes.
#[derive(Debug, Default)]
pub(crate) struct Learnt {
    /// By case.
    pub(crate) of_case: BTreeMap<u32, Digest>,
    /// By digest, encoded.
    pub(crate) records: BTreeMap<Digest, Vec<u8>>,
    /// How many passes hold only as long as nothing changes in the workspace, by why.
    pub(crate) unfit: BTreeMap<String, usize>,
}

/// Makes records of what cases were seen to read: here or, with `shipped`, on workers. What `memo` knows is not read again. Cases for which `unfit`
/// has a reason get none.
pub(crate) fn learn(
    observations: &BTreeMap<u32, Observation>,
    unfit: &BTreeMap<u32, String>,
    shipped: Option<&Shipped>,
    programs: &Programs,
    memo: &mut DigestMemo,
) -> Learnt {
    let mut learnt = Learnt::default();
    let mut wanted = Wanted::new();
    let fit = |observation: &Observation| observation.fitness().map_err(|why| why.to_string());
    for observation in observations.values().filter(|seen| fit(seen).is_ok()) {
        want_observed(observation, shipped, &mut wanted);
    }
    let states = States::look(&wanted, programs, memo);
    for (case, observation) in observations {
        let known = unfit.get(case).map_or(Ok(()), |why| Err(why.clone()));
        let made = known
            .and_then(|()| fit(observation))
            .and_then(|()| record_of(observation, shipped, &states, memo));
        let made = made.and_then(|record| {
            let bytes = record.encode();
            let long = || format!("it reads {} paths and more", observation.entries.len());
            (bytes.len() <= BYTES_MAX)
                .then_some((record, bytes))
                .ok_or_else(long)
        });
        match made {
            Ok((record, bytes)) => {
                let digest = record.digest();
                learnt.of_case.insert(*case, digest);
                learnt.records.entry(digest).or_insert(bytes);
            }
            Err(why) => *learnt.unfit.entry(why).or_default() += 1,
        }
    }
    learnt
}
