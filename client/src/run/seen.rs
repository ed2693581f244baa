//! What cases were seen to read, between the coordinator that keeps it and the files that it is about.

use std::collections::{BTreeMap, BTreeSet};

use thresh_cas::DigestMemo;
use thresh_core::digest::Digest;
use thresh_core::observe::Observation;
use thresh_proto::v1;

use super::error::RunError;
use super::session::Session;
use crate::reuse::seen::{Kept, KnownInputs, Learnt, Place, SeenInputs};
use crate::reuse::{CaseKeys, CodeKeys, PastPass};
use crate::suite::Suite;

/// The most that are asked for at once, so that answers stay within a message: lists of digests, and records.
const KEYS_MAX: usize = 20_000;
const RECORDS_MAX: usize = 100;

/// The key of each case that what it was seen to read is kept under. One whose code opens nothing has none.
pub(super) fn seen_keys(suite: &Suite, keys: &CaseKeys) -> Vec<Option<Digest>> {
    let of = |(position, case): (usize, &crate::suite::SuiteCase)| {
        let own = keys.own_parts_of(position);
        Some(
            own.filter(|_| !keys.opens_nothing(position))?
                .seen_key(&case.name),
        )
    };
    suite.cases.iter().enumerate().map(of).collect()
}

/// Finds for each case an earlier pass that was seen to read only what is still so. A coordinator that fails costs reuse, not
/// the run.
pub(super) async fn look_up(session: &mut Session, keys: &[Option<Digest>], place: Place) -> Kept {
    match kept(session, keys, place).await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!("what cases read counts as unknown: failed to {error}");
            Kept::default()
        }
    }
}

async fn kept(session: &mut Session, keys: &[Option<Digest>], place: Place) -> Result<Kept, RunError> {
    let asked: BTreeSet<Digest> = keys.iter().flatten().copied().collect();
    let known = known(session, asked).await?;
    let digests: BTreeSet<Digest> = known.values().flat_map(KnownInputs::iter).collect();
    let records = records(session, digests, place).await?;
    Ok(Kept { known, records })
}

/// What past passes were seen to read, by the digests in their keys; of some it is not kept any more.
pub(super) async fn records_of<'p>(
    session: &mut Session,
    passes: impl Iterator<Item = &'p PastPass>,
    place: Place,
) -> BTreeMap<Digest, SeenInputs> {
    let seen = passes.filter(|pass| pass.parts.is_seen());
    let digests = seen.map(|pass| pass.parts.files).collect();
    let found = records(session, digests, place).await;
    found.unwrap_or_else(|error| {
        tracing::warn!("what cases read counts as unknown: failed to {error}");
        BTreeMap::new()
    })
}

async fn records(
    session: &mut Session,
    digests: BTreeSet<Digest>,
    place: Place,
) -> Result<BTreeMap<Digest, SeenInputs>, RunError> {
    let digests: Vec<Digest> = digests.into_iter().collect();
    let found = session.kept(v1::Kept::Seen, &digests, RECORDS_MAX).await?;
    let records = found
        .into_iter()
        .filter_map(|(digest, bytes)| Some((digest, SeenInputs::decode(digest, &bytes, place)?)));
    Ok(records.collect())
}

async fn known(
    session: &mut Session,
    keys: BTreeSet<Digest>,
) -> Result<BTreeMap<Digest, KnownInputs>, RunError> {
    let keys: Vec<Digest> = keys.into_iter().collect();
    let found = session.kept(v1::Kept::Seen, &keys, KEYS_MAX).await?;
    Ok(found
        .into_iter()
        .map(|(key, bytes)| (key, KnownInputs::decode(&bytes)))
        .collect())
}

/// Keeps what was learnt. To be called before the passes are stored by it.
pub(super) async fn keep(
    session: &mut Session,
    keys: &[Option<Digest>],
    learnt: &Learnt,
) -> Result<(), RunError> {
    let of_case: Vec<(Digest, Digest)> = learnt
        .of_case
        .iter()
        .filter_map(|(case, record)| Some(((*keys.get(*case as usize)?)?, *record)))
        .collect();
    // As it is now: another client may have added some meanwhile, and so may another case with the same key.
    let mut known = known(session, of_case.iter().map(|(key, _)| *key).collect()).await?;
    let mut changed = BTreeSet::new();
    for (key, record) in &of_case {
        if known.entry(*key).or_default().add(*record) {
            changed.insert(*key);
        }
    }
    let records = learnt
        .records
        .iter()
        .map(|(digest, bytes)| (*digest, bytes.clone()));
    session.keep(v1::Kept::Seen, records.collect()).await?;
    let lists = changed.into_iter().map(|key| (key, known[&key].encode()));
    session.keep(v1::Kept::Seen, lists.collect()).await
}

/// Chooses for each case a pass that still holds, among what is kept.
pub(super) fn choose(
    keys: &mut CaseKeys,
    seen_keys: &[Option<Digest>],
    kept: &Kept,
    code: &CodeKeys,
    memo: &mut DigestMemo,
) {
    let found = kept.holding(seen_keys, code.programs(), memo);
    for (seen, found) in keys.seen.iter_mut().zip(found) {
        *seen = seen.or(found);
    }
}

/// The observations of a run's passes, by case.
#[derive(Debug, Default)]
pub(super) struct Observations {
    seen: BTreeMap<u32, Observation>,
    /// Passes of cases that nobody looked at.
    unseen: BTreeSet<u32>,
}

impl Observations {
    /// Takes what an event says of a case's last attempt.
    pub(super) fn take(&mut self, event: &mut v1::RunEvent) {
        let Some(v1::run_event::Event::Attempt(attempt)) = &mut event.event else {
            return;
        };
        let observed = attempt.observed.take();
        // Only of a first attempt that passed cleanly: others are never stored.
        let kind = attempt.outcome.as_ref().map(|outcome| outcome.kind());
        let is_clean = attempt.attempt == 1 && kind == Some(v1::outcome::Kind::Passed);
        if is_clean && observed.is_none() {
            self.unseen.insert(attempt.case);
        } else {
            self.unseen.remove(&attempt.case);
        }
        let observed = observed.filter(|_| is_clean);
        // A coordinator that says what cannot be costs reuse, not the run.
        let observed = observed.and_then(|seen| thresh_proto::convert::observation_from_wire(&seen).ok());
        match observed {
            Some(observed) => self.seen.insert(attempt.case, observed),
            None => self.seen.remove(&attempt.case),
        };
    }

    /// What cases were seen to read, and which passed unseen.
    pub(super) fn into_inner(self) -> (BTreeMap<u32, Observation>, BTreeSet<u32>) {
        (self.seen, self.unseen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(case: u32, attempt: u32, kind: v1::outcome::Kind, observed: bool) -> v1::RunEvent {
        let outcome = v1::Outcome {
            kind: kind.into(),
            ..v1::Outcome::default()
        };
        let ended = v1::AttemptEnded {
            case,
            attempt,
            outcome: Some(outcome),
            observed: observed.then(v1::Observation::default),
            ..v1::AttemptEnded::default()
        };
        v1::RunEvent {
            event: Some(v1::run_event::Event::Attempt(ended)),
            ..v1::RunEvent::default()
        }
    }

    #[test]
    fn clean_passes_are_told_apart_by_whether_anybody_looked() {
        use v1::outcome::Kind;
        let mut observations = Observations::default();
        for mut event in [
            attempt(0, 1, Kind::Passed, true),
            attempt(1, 1, Kind::Passed, false),
            attempt(2, 1, Kind::Failed, false),
            attempt(3, 1, Kind::Failed, false),
            attempt(3, 2, Kind::Passed, false),
            // A second copy of it was run.
            attempt(4, 1, Kind::Passed, false),
            attempt(4, 1, Kind::Failed, false),
        ] {
            observations.take(&mut event);
        }
        let (seen, unseen) = observations.into_inner();
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), [0]);
        assert_eq!(unseen, [1].into());
    }
}
