//! What history and the action cache know of a run's cases.

use std::collections::BTreeMap;
use std::time::Duration;

use thresh_core::estimate::Estimates;
use thresh_core::id::{CaseIndex, RunId};
use thresh_core::reuse::CaseKey;
use tonic::Status;

use super::Shared;
use super::status;
use super::submission::manifest_digests;
use crate::driver::{Audited, Submission};
use crate::store::StoreError;

/// A pass that was used longer ago than this is noted as used again; more often would write at every run.
const USED_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether cases that could be reused run all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audits {
    /// None does.
    None,
    /// The share that the submission asks for.
    AsAsked,
}

/// Fills in the plans of a submission. A store that fails costs the run its knowledge, not its life.
pub(super) async fn fill_in(shared: &Shared, submission: &mut Submission, audits: Audits) {
    let (reusable, estimates, quarantined) = tokio::join!(
        find_reusable(shared, submission),
        shared.store.samples(&submission.project),
        shared.store.quarantined(&submission.project, shared.clock.now())
    );
    let quarantined = quarantined.unwrap_or_else(|error| without("its quarantine", &error));
    let reusable = reusable.unwrap_or_else(|error| without("reusable passes", &error));
    let estimates = match estimates {
        Ok(samples) => Estimates::new(&samples),
        Err(error) => without("estimates", &error),
    };
    for (case, reusable) in reusable {
        let is_audited = audits == Audits::AsAsked && submission.audit.picks(submission.run, case);
        let plan = &mut submission.plans[case.at()];
        match reusable {
            Reusable::Distrusted => plan.distrusted = true,
            Reusable::Pass(past_run) if is_audited => plan.audited = Some(Audited { past_run }),
            Reusable::Pass(_) => plan.reused = true,
        }
    }
    if !quarantined.is_empty() {
        for case in 0..submission.plans.len() {
            let excused = submission
                .case_id(case)
                .is_some_and(|case| quarantined.contains(&case));
            submission.plans[case].quarantined = excused;
        }
    }
    for (plan, request) in submission.plans.iter().zip(&mut submission.request.cases) {
        request.reused = plan.reused;
        request.quarantined = plan.quarantined;
    }
    submission.estimate(&estimates);
}

fn without<T: Default>(what: &str, error: &StoreError) -> T {
    tracing::warn!("the run goes without {what}: failed to {error}");
    T::default()
}

/// A pass under a case's present key.
enum Reusable {
    /// It may stand for a run. With the run that passed; `None`: another cache knows of it, and not of which run.
    Pass(Option<RunId>),
    /// An audit of the case disagreed, and nobody trusts it since.
    Distrusted,
}

/// Returns the cases that have a pass. Where it is not known which of them audits disagreed with, there is none.
async fn find_reusable(
    shared: &Shared,
    submission: &Submission,
) -> Result<BTreeMap<CaseIndex, Reusable>, StoreError> {
    let (passes, distrusted) = tokio::join!(
        find_passes(shared, submission),
        shared.store.distrusted(&submission.project)
    );
    let distrusted = distrusted?;
    let is_distrusted = |case: CaseIndex| {
        !distrusted.is_empty()
            && submission
                .case_id(case.at())
                .is_some_and(|case| distrusted.contains(&case))
    };
    let reusable = |(case, past_run)| match is_distrusted(case) {
        true => (case, Reusable::Distrusted),
        false => (case, Reusable::Pass(past_run)),
    };
    Ok(passes?.into_iter().map(reusable).collect())
}

/// Returns the cases that have a pass, here or in the other cache, with the run that passed, where that is known.
async fn find_passes(
    shared: &Shared,
    submission: &Submission,
) -> Result<BTreeMap<CaseIndex, Option<RunId>>, StoreError> {
    let (cases, keys): (Vec<CaseIndex>, Vec<CaseKey>) = (0..)
        .map(CaseIndex)
        .zip(&submission.cases)
        .filter_map(|(position, case)| {
            let parts = submission.parts_of(position.at())?;
            Some((position, parts.case_key(&case.name)))
        })
        .unzip();
    let found = shared.store.find_passes(&keys).await?;
    let now = shared.clock.now();
    let used = found.iter().filter(|pass| now.since(pass.used) > USED_STEP);
    shared
        .recorder
        .used(used.map(|pass| keys[pass.position]).collect());
    let mut passes: BTreeMap<CaseIndex, Option<RunId>> = (found.iter())
        .map(|pass| (cases[pass.position], Some(pass.run)))
        .collect();
    if let Some(external) = &shared.external {
        let (unknown, asked): (Vec<CaseIndex>, Vec<CaseKey>) = (cases.into_iter().zip(keys))
            .filter(|(case, _)| !passes.contains_key(case))
            .unzip();
        let known = external.find(&asked).await;
        let found = unknown.into_iter().zip(known);
        passes.extend(found.filter_map(|(case, known)| known.then_some((case, None))));
    }
    Ok(passes)
}

/// Checks that the manifests of a shipped run are in the store.
pub(super) async fn check_manifests(shared: &Shared, submission: &Submission) -> Result<(), Status> {
    if submission.is_in_place() {
        return Ok(());
    }
    let (blobs, engine) = (shared.blobs.clone(), shared.engine.clone());
    let manifests = manifest_digests(submission);
    let missing = tokio::task::spawn_blocking(move || {
        let digests: Vec<_> = manifests.iter().map(|(_, digest)| *digest).collect();
        let missing = match (&blobs, &engine) {
            (Some(blobs), _) => blobs.find_missing(&digests),
            (None, Some(engine)) => engine.find_missing(&digests),
            (None, None) => {
                let problem = "this coordinator takes in-place runs only";
                return Err(Status::failed_precondition(problem));
            }
        };
        let of = |digest| {
            manifests
                .iter()
                .find(|(_, other)| *other == digest)
                .map(|(of, _)| of.clone())
        };
        let missing = missing.into_iter();
        Ok(missing
            .map(|digest| (digest, of(digest).unwrap_or_default()))
            .collect::<Vec<_>>())
    })
    .await
    .map_err(|error| Status::internal(format!("looking for manifests ended early: {error}")))??;
    let Some((digest, of)) = missing.first() else {
        return Ok(());
    };
    Err(Status::failed_precondition(format!(
        "{} of the run's manifests are not in the store, the first is that of {of} ({digest}); put them first",
        missing.len()
    )))
}

/// Reads rows for an answer.
pub(super) fn or_status<T>(result: Result<T, StoreError>) -> Result<T, Status> {
    result.map_err(|error| status::of_store(&error))
}
