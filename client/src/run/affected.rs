//! `thresh affected`: a run that goes no further than how its cases stand.

use std::collections::BTreeSet;

use thresh_cas::DigestMemo;
use thresh_core::digest::Digest;
use thresh_core::reuse::{KeyParts, differing_parts};
use thresh_proto::v1;
use tokio::runtime::Handle;
use tonic::transport::Channel;

use super::error::RunError;
use super::loading::save;
use super::prepare::Prepared;
use super::seen;
use super::session::Session;
use super::work::{Ready, blocking};
use crate::affected::Standing;
use crate::reuse::{CaseKeys, PastPass};

impl Prepared {
    /// Builds and lists, and tells of every selected case what its result depends on as things are. Nothing runs.
    ///
    /// # Errors
    /// The suite cannot be made, or the coordinator refuses.
    pub async fn standings(self, channel: Channel) -> Result<Vec<Standing>, RunError> {
        let mut session = Session::hello(channel).await?;
        let (prepared, ready) = self.ready(&mut session).await?;
        ready.known_keys()?;
        let suite = &ready.loaded.suite;
        let names = suite.cases.iter().map(|case| v1::CaseName {
            binary_id: suite.binaries[case.binary].id.clone(),
            name: case.name.clone(),
        });
        let names: Vec<v1::CaseName> = names.collect();
        let passes = session.last_passes(&ready.project, names.clone()).await?;
        let planned = session.plan(prepared.submission(&ready).messages()).await?.cases;
        let planned = planned.iter().filter(|case| case.reused);
        let reusable: BTreeSet<usize> = planned.map(|case| case.case as usize).collect();
        let handle = Handle::current();
        blocking(move || {
            let keys = ready.known_keys()?;
            let records = prepared.holding(&mut session, &handle, &ready, keys);
            let standing = |(at, name): (usize, v1::CaseName)| Standing {
                binary_id: name.binary_id,
                name: name.name,
                is_reused: reusable.contains(&at),
                parts: keys.own_parts_of(at).as_ref().map(Standing::parts),
                records: records[at].clone(),
                since_pass: passes[at].as_ref().map(|pass| changed(keys, at, pass)),
            };
            Ok(names.into_iter().enumerate().map(standing).collect())
        })
        .await
    }

    /// The records of what each case was seen to read that hold now.
    fn holding(
        &self,
        session: &mut Session,
        handle: &Handle,
        ready: &Ready,
        keys: &CaseKeys,
    ) -> Vec<Vec<String>> {
        let of_code = |case| keys.opens_nothing(case).then(|| KeyParts::no_files().to_string());
        let cases = 0..ready.loaded.suite.cases.len();
        let of_code = cases.map(|case| Vec::from_iter(of_code(case)));
        if !self.observes() {
            return of_code.collect();
        }
        let seen_keys = seen::seen_keys(&ready.loaded.suite, keys);
        let kept = handle.block_on(seen::look_up(session, &seen_keys, self.place()));
        let mut memo = DigestMemo::load(&self.state.digest_memo());
        let holding = kept.all_holding(&seen_keys, ready.loaded.code.programs(), &mut memo);
        save(&mut memo, &self.state.digest_memo());
        let words = |(mut known, records): (Vec<String>, Vec<Digest>)| {
            known.extend(records.iter().map(ToString::to_string));
            known
        };
        of_code.zip(holding).map(words).collect()
    }
}

/// Which parts are not as they were at a pass, in words.
fn changed(keys: &CaseKeys, case: usize, pass: &PastPass) -> Vec<String> {
    let Some(mut now) = keys.own_parts_of(case) else {
        return vec!["never reused".to_owned()];
    };
    if pass.parts.is_seen() {
        // Of what was seen it is not told here what of it is not so any more.
        now = now.with_seen(pass.parts.files);
        let other = differing_parts(&pass.parts, &now);
        if other.is_empty() {
            return vec!["files".to_owned()];
        }
        return other.iter().map(|other| other.part.word().to_owned()).collect();
    }
    let whole = keys.whole_parts_of(case).unwrap_or(now);
    let other = differing_parts(&pass.parts, &whole);
    other.iter().map(|other| other.part.word().to_owned()).collect()
}
