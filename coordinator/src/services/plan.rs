//! What history and the action cache know of a run's cases.

use std::collections::BTreeSet;
use std::time::Duration;

use thresh_core::estimate::Estimates;
use thresh_core::reuse::CaseKey;
use tonic::Status;

use super::Shared;
use super::status;
use super::submission::manifest_digests;
use crate::driver::Submission;
use crate::store::StoreError;

/// A pass that was used longer ago than this is noted as used again; more often would write at every run.
const USED_STEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Fills in the plans of a submission. A store that fails costs the run its knowledge, not its life.
pub(super) async fn fill_in(shared: &Shared, submission: &mut Submission) {
    let (passes, estimates, quarantined) = tokio::join!(
        find_passes(shared, submission),
        shared.store.samples(&submission.project),
        shared.store.quarantined(&submission.project, shared.clock.now())
    );
    let quarantined = quarantined.unwrap_or_else(|error| without("its quarantine", &error));
    let reused = passes.unwrap_or_else(|error| without("reusable passes", &error));
    let estimates = match estimates {
        Ok(samples) => Estimates::new(&samples),
        Err(error) => without("estimates", &error),
    };
    for position in reused {
        submission.plans[position].reused = true;
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

/// Returns the positions of the cases that have a reusable pass.
async fn find_passes(shared: &Shared, submission: &Submission) -> Result<Vec<usize>, StoreError> {
    let (positions, keys): (Vec<usize>, Vec<CaseKey>) = (0..submission.cases.len())
        .filter_map(|case| {
            Some((
                case,
                submission.parts_of(case)?.case_key(&submission.cases[case].name),
            ))
        })
        .unzip();
    let found = shared.store.find_passes(&keys).await?;
    let now = shared.clock.now();
    let used = found.iter().filter(|pass| now.since(pass.used) > USED_STEP);
    shared
        .recorder
        .used(used.map(|pass| keys[pass.position]).collect());
    let mut reused: BTreeSet<usize> = found.iter().map(|pass| pass.position).collect();
    if let Some(external) = &shared.external {
        let unknown: Vec<usize> = (0..keys.len())
            .filter(|position| !reused.contains(position))
            .collect();
        let asked: Vec<CaseKey> = unknown.iter().map(|position| keys[*position]).collect();
        let known = external.find(&asked).await;
        reused.extend(
            unknown
                .into_iter()
                .zip(known)
                .filter_map(|(position, known)| known.then_some(position)),
        );
    }
    Ok(reused.into_iter().map(|position| positions[position]).collect())
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
