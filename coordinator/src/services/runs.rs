//! What a client asks of the coordinator.

use std::sync::Arc;

use thresh_core::digest::Digest;
use thresh_core::estimate::Estimates;
use thresh_core::id::{CaseIndex, RunId};
use thresh_core::schedule::Rejected;
use thresh_proto::PROTOCOL;
use thresh_proto::convert::{
    InvalidMessage, digest_from_wire, duration_to_wire, key_parts_to_wire, outcome_to_wire, run_id_to_wire,
};
use thresh_proto::v1;
use thresh_proto::v1::runs_server::Runs;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::plan::{Audits, check_manifests, fill_in, or_status};
use super::submission::{self, run_id};
use super::{Shared, status, version};
use crate::driver::{Chunk, Confirmed, RunLog};
use crate::store::{CaseId, Kept, PastAttempt, PastCase};

/// How many events wait for a slow follower, beyond what its connection buffers. The log itself is in memory,
/// so that nothing is lost by waiting.
const EVENTS_AHEAD: usize = 256;

/// The most test lists, cases or keys in one request.
const ITEMS_MAX: usize = 1_000_000;

/// The most attempts that are kept of a case, and thus sent.
pub const ATTEMPTS_MAX: u32 = 50;

/// See [`Runs`].
pub(crate) struct RunsService {
    shared: Shared,
}

impl RunsService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    /// Refuses a run that the journal has: it ended before, and the driver may have forgotten it.
    async fn refuse_known(&self, run: RunId) -> Result<(), Status> {
        if self.shared.driver.is_journaled() && or_status(self.shared.store.knows_run(run).await)? {
            return Err(status::of_refusal(Rejected::DuplicateRun(run).into()));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Runs for RunsService {
    async fn hello(&self, request: Request<v1::HelloRequest>) -> Result<Response<v1::HelloReply>, Status> {
        let v1::HelloRequest { protocol, version } = request.into_inner();
        version::check("client", protocol, &version, &self.shared.version)?;
        let capacity = self
            .shared
            .driver
            .capacity(None)
            .await
            .map_err(status::of_refusal)?;
        Ok(Response::new(v1::HelloReply {
            protocol: PROTOCOL,
            version: self.shared.version.clone(),
            slots: capacity.slots,
            workers: capacity.workers,
        }))
    }

    async fn plan(
        &self,
        request: Request<Streaming<v1::SubmitRequest>>,
    ) -> Result<Response<v1::PlanReply>, Status> {
        let mut submission = submission::receive(request.into_inner()).await?;
        // The cases of the run that is asked about are chosen when there is one.
        fill_in(&self.shared, &mut submission, Audits::None).await;
        let kind = (submission.request.platform.clone(), submission.is_in_place());
        let capacity = self
            .shared
            .driver
            .capacity(Some(kind))
            .await
            .map_err(status::of_refusal)?;
        let planned = (0..).zip(&submission.plans).map(|(case, plan)| v1::PlannedCase {
            case,
            reused: plan.reused,
            estimate: plan.estimate.map(|estimate| duration_to_wire(estimate.duration)),
            estimate_source: plan
                .estimate
                .map_or("none", |estimate| estimate.source.word())
                .to_owned(),
            distrusted: plan.distrusted,
        });
        Ok(Response::new(v1::PlanReply {
            cases: planned.collect(),
            slots: capacity.slots,
        }))
    }

    async fn submit(
        &self,
        request: Request<Streaming<v1::SubmitRequest>>,
    ) -> Result<Response<v1::SubmitReply>, Status> {
        let mut submission = submission::receive(request.into_inner()).await?;
        check_manifests(&self.shared, &submission).await?;
        if let Some(bucket) = &self.shared.bucket
            && !submission.is_in_place()
        {
            bucket.before_run().await;
        }
        fill_in(&self.shared, &mut submission, Audits::AsAsked).await;
        self.refuse_known(submission.run).await?;
        self.shared
            .driver
            .submit(submission)
            .await
            .map_err(status::of_refusal)?;
        Ok(Response::new(v1::SubmitReply {}))
    }

    type WatchStream = ReceiverStream<Result<v1::RunEvent, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let v1::WatchRequest { run_id: id, after } = request.into_inner();
        let run = run_id(&id)?;
        let log = self.shared.driver.watch(run).await.map_err(status::of_refusal)?;
        let (events, stream) = mpsc::channel(EVENTS_AHEAD);
        tokio::spawn(follow(self.shared.clone(), run, log, after, events));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::CancelReply>, Status> {
        let run = run_id(&request.into_inner().run_id)?;
        self.shared.driver.cancel(run).await.map_err(status::of_refusal)?;
        Ok(Response::new(v1::CancelReply {}))
    }

    async fn confirm_inputs(
        &self,
        request: Request<v1::ConfirmInputsRequest>,
    ) -> Result<Response<v1::ConfirmInputsReply>, Status> {
        let v1::ConfirmInputsRequest {
            run_id: run,
            seen,
            changed,
        } = request.into_inner();
        let run = run_id(&run)?;
        check_count("seen", seen.len())?;
        let seen = (seen.iter())
            .map(|seen| {
                Ok((
                    CaseIndex(seen.case),
                    digest_from_wire("seen.digest", &seen.digest)?,
                ))
            })
            .collect::<Result<_, InvalidMessage>>()?;
        let stored = self
            .shared
            .driver
            .confirm(run, Confirmed { seen, changed })
            .await
            .map_err(status::of_refusal)?;
        Ok(Response::new(v1::ConfirmInputsReply { stored }))
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryReply>, Status> {
        let v1::HistoryRequest {
            project,
            patterns,
            outcomes_max,
        } = request.into_inner();
        check_count("patterns", patterns.len())?;
        let store = &self.shared.store;
        let outcomes_max = outcomes_max.min(ATTEMPTS_MAX);
        let past = or_status(store.history(&project, &patterns, outcomes_max).await)?;
        let estimates = Estimates::new(&or_status(store.samples(&project).await)?);
        let cases = past
            .into_iter()
            .map(|case| case_history(case, &estimates))
            .collect();
        Ok(Response::new(v1::HistoryReply { cases }))
    }

    async fn last_pass(
        &self,
        request: Request<v1::LastPassRequest>,
    ) -> Result<Response<v1::LastPassReply>, Status> {
        let v1::LastPassRequest { project, cases } = request.into_inner();
        check_count("cases", cases.len())?;
        let cases: Vec<CaseId> = (cases.into_iter())
            .map(|case| CaseId {
                binary_id: case.binary_id.into(),
                name: case.name.into(),
            })
            .collect();
        let passes = or_status(self.shared.store.last_passes(&project, &cases).await)?;
        let passes = passes.into_iter().map(|pass| match pass {
            None => v1::LastPass::default(),
            Some(pass) => v1::LastPass {
                found: true,
                run_id: run_id_to_wire(pass.run),
                at_micros: pass.at.as_micros(),
                parts: Some(key_parts_to_wire(&pass.parts)),
            },
        });
        Ok(Response::new(v1::LastPassReply {
            passes: passes.collect(),
        }))
    }

    async fn get_kept(
        &self,
        request: Request<v1::GetKeptRequest>,
    ) -> Result<Response<v1::GetKeptReply>, Status> {
        let request = request.into_inner();
        let (kept, keys) = (kept(request.kept)?, request.keys);
        check_count("keys", keys.len())?;
        let keys = keys
            .iter()
            .map(|key| digest_from_wire("keys", key))
            .collect::<Result<Vec<Digest>, _>>()?;
        let found = or_status(self.shared.store.kept(kept, &keys, self.shared.clock.now()).await)?;
        let contents = found
            .into_iter()
            .map(|content| content.unwrap_or_default().into())
            .collect();
        Ok(Response::new(v1::GetKeptReply { contents }))
    }

    async fn put_kept(
        &self,
        request: Request<v1::PutKeptRequest>,
    ) -> Result<Response<v1::PutKeptReply>, Status> {
        let request = request.into_inner();
        let kept = kept(request.kept)?;
        check_count("entries", request.entries.len())?;
        let mut entries = Vec::with_capacity(request.entries.len());
        for entry in request.entries {
            entries.push((
                digest_from_wire("entries.key", &entry.key)?,
                entry.content.to_vec(),
            ));
        }
        or_status(
            self.shared
                .store
                .keep(kept, &entries, self.shared.clock.now())
                .await,
        )?;
        Ok(Response::new(v1::PutKeptReply {}))
    }
}

fn kept(kind: i32) -> Result<Kept, Status> {
    match v1::Kept::try_from(kind) {
        Ok(v1::Kept::TestLists) => Ok(Kept::TestLists),
        Ok(v1::Kept::Seen) => Ok(Kept::Seen),
        Err(_) => Err(Status::invalid_argument(
            "invalid message: field `kept` has an unknown value",
        )),
    }
}

fn check_count(field: &str, count: usize) -> Result<(), Status> {
    if count <= ITEMS_MAX {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "invalid message: field `{field}` has over {ITEMS_MAX} entries"
    )))
}

/// Sends a run's events until its end, or until nobody listens.
async fn follow(
    shared: Shared,
    run: RunId,
    log: Arc<RunLog>,
    mut after: u64,
    events: mpsc::Sender<Result<v1::RunEvent, Status>>,
) {
    loop {
        let chunk = tokio::select! {
            chunk = log.read(after, EVENTS_AHEAD) => chunk,
            () = events.closed() => break,
        };
        let Chunk::Events(chunk) = chunk else {
            if chunk == Chunk::Abandoned {
                // Nobody may listen any more.
                let _ = events
                    .send(Err(Status::unavailable("the coordinator is shutting down")))
                    .await;
            }
            break;
        };
        after += chunk.len() as u64;
        let Ok(places) = events.reserve_many(chunk.len()).await else {
            break;
        };
        places.zip(chunk).for_each(|(place, event)| place.send(Ok(event)));
    }
    shared.driver.unwatch(run).await;
}

fn case_history(past: PastCase, estimates: &Estimates) -> v1::CaseHistory {
    let binary = &past.case.binary_id;
    let package = binary.split("::").next().unwrap_or(binary);
    let estimate = estimates.of(binary, package, &past.case.name);
    v1::CaseHistory {
        estimate: estimate.map(|estimate| duration_to_wire(estimate.duration)),
        binary_id: binary.to_string(),
        name: past.case.name.to_string(),
        runs: past.attempts,
        failures: past.failures,
        flaky_runs: past.flaky_runs,
        flake_rate: past.flake_rate,
        outcomes: past.newest.into_iter().map(past_outcome).collect(),
    }
}

pub(super) fn past_outcome(past: PastAttempt) -> v1::PastOutcome {
    v1::PastOutcome {
        run_id: run_id_to_wire(past.run),
        at_micros: past.started.as_micros(),
        worker: past.worker,
        attempt: past.attempt,
        outcome: Some(outcome_to_wire(&past.outcome)),
        took: Some(duration_to_wire(past.took)),
    }
}
