//! `thresh list` and `thresh explain`: runs that go no further than their keys.

use std::collections::{BTreeMap, BTreeSet};

use thresh_cas::DigestMemo;
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_proto::v1;
use tokio::runtime::Handle;
use tonic::transport::Channel;

use super::error::RunError;
use super::prepare::{BuildSource, Prepared};
use super::seen;
use super::session::Session;
use super::work::{Ready, blocking};
use crate::reuse::seen::{Kept, SeenInputs};
use crate::reuse::{CodeKeys, Explanation, Past, PastPass, explain};
use crate::suite::Suite;

impl Prepared {
    /// Builds and lists. With a `channel`, lists that are kept there are not asked for again.
    ///
    /// # Errors
    /// The suite cannot be made.
    pub async fn list(self, channel: Option<Channel>) -> Result<Suite, RunError> {
        let mut session = match channel {
            Some(channel) => Some(Session::hello(channel).await?),
            None => None,
        };
        let handle = Handle::current();
        blocking(move || {
            let mut prepared = self;
            let loaded = prepared.load(
                session.as_mut(),
                RunId::from_u128(uuid::Uuid::now_v7().as_u128()),
                &handle,
            )?;
            Ok(loaded.suite)
        })
        .await
    }

    /// Explains why the cases that `pattern` names would be run or reused: all whose `binary-id name` is the
    /// pattern, else whose name is, else whose name contains it.
    ///
    /// # Errors
    /// The suite cannot be made, no case matches, or the coordinator refuses.
    pub async fn explain(self, channel: Channel, pattern: &str) -> Result<Vec<Explanation>, RunError> {
        let mut session = Session::hello(channel).await?;
        let (prepared, ready) = self.ready(&mut session).await?;
        let suite = &ready.loaded.suite;
        let positions = matching(suite, pattern)?;
        let names: Vec<v1::CaseName> = positions
            .iter()
            .map(|at| {
                let case = &suite.cases[*at];
                v1::CaseName {
                    binary_id: suite.binaries[case.binary].id.clone(),
                    name: case.name.clone(),
                }
            })
            .collect();
        let passes = session.last_passes(&ready.project, names.clone()).await?;
        // The latest pass is not the only one: after a change is undone, an earlier one counts again.
        let planned = session.plan(prepared.submission(&ready).messages()).await?.cases;
        let reusable: BTreeSet<u32> = planned
            .iter()
            .filter(|case| case.reused)
            .map(|case| case.case)
            .collect();
        let distrusted: BTreeSet<u32> = planned
            .iter()
            .filter(|case| case.distrusted)
            .map(|case| case.case)
            .collect();
        let keys = ready.known_keys()?;
        let records = prepared.records();
        let seen = seen::records_of(&mut session, passes.iter().flatten(), prepared.place()).await;
        let mut memo = DigestMemo::load(&prepared.state.digest_memo());
        let mut told = Vec::with_capacity(positions.len());
        for ((at, name), last) in positions.iter().zip(&names).zip(&passes) {
            let past = Past {
                is_reusable: u32::try_from(*at).is_ok_and(|at| reusable.contains(&at)),
                is_distrusted: u32::try_from(*at).is_ok_and(|at| distrusted.contains(&at)),
                ..prepared.past(&ready, *at, last.as_ref(), &seen, &mut memo)
            };
            let names = (name.binary_id.as_str(), name.name.as_str());
            let manifest = ready.loaded.snapshot.manifest();
            told.push(explain(names, *at, keys, manifest, &past, &records));
        }
        Ok(told)
    }

    /// What of the last pass of a case is not so any more.
    fn past<'p>(
        &self,
        ready: &'p Ready,
        at: usize,
        last: Option<&'p PastPass>,
        seen: &BTreeMap<Digest, SeenInputs>,
        memo: &mut DigestMemo,
    ) -> Past<'p> {
        let Ready { loaded, keys, .. } = ready;
        let binary = loaded.suite.cases[at].binary;
        let mut past = Past {
            last,
            whole: loaded.code.why_whole(binary),
            ..Past::default()
        };
        let now = keys.as_ref().and_then(|keys| keys.own_parts_of(at));
        let (Some(last), Some(now)) = (last, now) else {
            return past;
        };
        if last.parts.is_seen() && last.parts.code != now.code {
            let case = &loaded.suite.cases[at];
            let case = (case.binary, case.name.as_str());
            let folder = self.options.state.reach();
            past.code = CodeKeys::changes(&loaded.files, case, last.parts.code, &folder, loaded.locations);
        }
        if let Some(record) = seen.get(&last.parts.files).filter(|_| last.parts.is_seen()) {
            past.seen = Some(Kept::different(record, loaded.code.programs(), memo));
        }
        past
    }

    pub(super) fn finish_build(&mut self) -> Result<(), RunError> {
        if let BuildSource::Cargo(building) = std::mem::replace(&mut self.source, BuildSource::Taken) {
            building.finish(&self.workspace)?;
        }
        Ok(())
    }
}

fn matching(suite: &Suite, pattern: &str) -> Result<Vec<usize>, RunError> {
    let full = |at: &usize| suite.name_of(&suite.cases[*at]);
    let all = 0..suite.cases.len();
    let by =
        |accepts: &dyn Fn(&usize) -> bool| -> Vec<usize> { all.clone().filter(|at| accepts(at)).collect() };
    let found = [
        by(&|at| full(at) == pattern),
        by(&|at| suite.cases[*at].name == pattern),
        by(&|at| suite.cases[*at].name.contains(pattern)),
    ];
    found
        .into_iter()
        .find(|found| !found.is_empty())
        .ok_or_else(|| RunError::NoSuchCase {
            pattern: pattern.to_owned(),
            nearest: suite
                .cases
                .iter()
                .map(|case| (strsim::damerau_levenshtein(pattern, &case.name), &case.name))
                .min()
                .filter(|(distance, name)| *distance <= name.len() / 3)
                .map(|(_, name)| name.clone()),
        })
}
