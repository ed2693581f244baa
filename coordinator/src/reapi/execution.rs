//! Actions that the farm's workers execute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2::execution_server::Execution as ExecutionApi;
use bazel_remote_apis::build::bazel::remote::execution::v2::execution_stage::Value as Stage;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ExecuteRequest, ExecuteResponse, WaitExecutionRequest,
};
use bazel_remote_apis::google::longrunning::operations_server::Operations;
use bazel_remote_apis::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
    ListOperationsResponse, Operation, WaitOperationRequest,
};
use bazel_remote_apis::google::protobuf::Empty;
use thresh_core::id::RunId;
use thresh_core::schedule::Rejected;
use thresh_proto::v1::run_event::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::action::{Asker, Ordered};
use super::operation::Execution;
use super::outcome::Ended;
use super::results;
use super::state::{Reapi, blocking};
use super::wire::{function_from_wire, name_from_wire};
use crate::driver::{Chunk, Refusal, RunLog};
use crate::services::status_of_refusal;

/// Events that are read at once.
const EVENTS_AHEAD: usize = 64;
/// The longest that a client waits for an operation in one call.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Answers that wait for a slow client.
const ANSWERS_AHEAD: usize = 4;

type Answers = mpsc::Sender<Result<Operation, Status>>;

/// A run that is followed. That is undone when this is dropped, wherever its handler has got to.
struct Watch {
    reapi: Reapi,
    run: RunId,
    log: Arc<RunLog>,
}

impl Watch {
    async fn new(reapi: &Reapi, run: RunId) -> Result<Self, Refusal> {
        let log = reapi.driver.watch(run).await?;
        Ok(Self {
            log,
            reapi: reapi.clone(),
            run,
        })
    }

    /// Follows the run of an operation, whose name is its client's word.
    async fn of(reapi: &Reapi, execution: &Execution) -> Result<Self, Status> {
        let unknown = || Status::not_found(format!("no operation {:?} is known", execution.name()));
        match Self::new(reapi, execution.run).await {
            Ok(watch) if execution.is_of(watch.log.action()) => Ok(watch),
            Ok(_) | Err(Refusal::Rejected(Rejected::UnknownRun(_))) => Err(unknown()),
            Err(refusal) => Err(status_of_refusal(refusal)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (driver, run) = (self.reapi.driver.clone(), self.run);
        tokio::spawn(async move { driver.unwatch(run).await });
    }
}

/// A run that a client's stream follows, which thus counts as one who wants the action.
struct Following(Watch);

impl Following {
    fn new(watch: Watch) -> Self {
        watch.log.followers().come();
        Self(watch)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.log.followers().leave(Instant::now());
    }
}

/// See [`ExecutionApi`].
pub(crate) struct ExecutionService {
    reapi: Reapi,
}

impl ExecutionService {
    pub(crate) fn new(reapi: Reapi) -> Self {
        Self { reapi }
    }
}

#[tonic::async_trait]
impl ExecutionApi for ExecutionService {
    type ExecuteStream = ReceiverStream<Result<Operation, Status>>;

    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let asker = Asker::of(request.metadata());
        let request = request.into_inner();
        let function = function_from_wire(request.digest_function)?;
        let action = name_from_wire("action_digest", function, request.action_digest.as_ref())?;
        let mut execution = Execution {
            instance_name: request.instance_name,
            run: RunId::from_u128(uuid::Uuid::now_v7().as_u128()),
            action,
            is_cached: true,
        };
        let instance = execution.instance()?;
        let blobs = self.reapi.blobs.clone();
        let (answers, stream) = mpsc::channel(ANSWERS_AHEAD);
        let reading = self.reapi.reading(move || Ordered::read(&blobs, &action));
        let ordered = match reading.await {
            Ok(ordered) => ordered,
            Err(status) => return refused(&execution, status),
        };
        execution.is_cached = !ordered.action.do_not_cache;
        let lookup = execution.is_cached && !request.skip_cache_lookup;
        let known = match lookup {
            true => self.reapi.result(&instance, &action).await?,
            false => None,
        };
        if let Some(result) = known {
            let response = ExecuteResponse {
                result: Some(result),
                cached_result: true,
                status: Some(Default::default()),
                ..ExecuteResponse::default()
            };
            let done = execution.operation(Stage::Completed, Some(&response));
            // It has room for the first.
            let _ = answers.try_send(Ok(done));
            return Ok(Response::new(ReceiverStream::new(stream)));
        }
        let priority = request.execution_policy.map_or(0, |policy| policy.priority);
        let service = Self::new(self.reapi.clone());
        // Its client may leave while the run begins, and this is dropped then: the run is followed all the same.
        let started = tokio::spawn(async move {
            match service.start(&mut execution, ordered, &asker, priority).await {
                Ok(watch) => drop(tokio::spawn(follow(execution, Following::new(watch), answers))),
                Err(status) => return Some((execution, status)),
            }
            None
        });
        match started.await {
            Ok(None) => Ok(Response::new(ReceiverStream::new(stream))),
            Ok(Some((execution, status))) => refused(&execution, status),
            Err(ended) => Err(Status::internal(format!("starting it ended early: {ended}"))),
        }
    }

    type WaitExecutionStream = ReceiverStream<Result<Operation, Status>>;

    async fn wait_execution(
        &self,
        request: Request<WaitExecutionRequest>,
    ) -> Result<Response<Self::WaitExecutionStream>, Status> {
        let execution = Execution::parse(&request.into_inner().name)?;
        let watch = Watch::of(&self.reapi, &execution).await?;
        let (answers, stream) = mpsc::channel(ANSWERS_AHEAD);
        tokio::spawn(follow(execution, Following::new(watch), answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl ExecutionService {
    /// Begins to execute an action, or to follow the run that executes the same for this instance already.
    async fn start(
        &self,
        execution: &mut Execution,
        ordered: Ordered,
        asker: &Asker,
        priority: i32,
    ) -> Result<Watch, Status> {
        let reapi = &self.reapi;
        let (instance, own) = (execution.instance()?, execution.run);
        if !execution.is_cached {
            return self.submit(own, &instance, ordered, asker, priority).await;
        }
        let key = results::key(&instance.namespace(), &execution.action);
        let claim = loop {
            let run = match reapi.share(key, own).await {
                Ok(claim) => break claim,
                Err(run) => run,
            };
            if let Ok(watch) = Watch::new(reapi, run).await
                && !watch.log.has_ended()
            {
                execution.run = run;
                return Ok(watch);
            }
            reapi.unshare(&key, run);
        };
        let watch = self.submit(own, &instance, ordered, asker, priority).await?;
        claim.fulfil();
        Ok(watch)
    }

    async fn submit(
        &self,
        run: RunId,
        instance: &super::instance::Instance,
        ordered: Ordered,
        asker: &Asker,
        priority: i32,
    ) -> Result<Watch, Status> {
        let (blobs, ordered) = (self.reapi.blobs.clone(), Arc::new(ordered));
        let reading = ordered.clone();
        // A large input root takes memory while it is read.
        let inputs = self.reapi.expanding(move || reading.inputs(&blobs)).await?;
        let mut submission = ordered.submission(run, instance, asker, inputs, priority)?;
        submission.estimate(&*self.reapi.estimates(&instance.project).await);
        self.reapi.note_stored();
        self.reapi.before_run().await;
        self.reapi
            .driver
            .submit(submission)
            .await
            .map_err(status_of_refusal)?;
        Watch::new(&self.reapi, run).await.map_err(status_of_refusal)
    }
}

/// The answer to an action that is not executed. What is missing is named in its body: there is room for it.
fn refused(
    execution: &Execution,
    status: Status,
) -> Result<Response<ReceiverStream<Result<Operation, Status>>>, Status> {
    if status.details().is_empty() {
        return Err(status);
    }
    let response = ExecuteResponse {
        status: Some(super::status::to_wire(&status)),
        ..ExecuteResponse::default()
    };
    let (answers, stream) = mpsc::channel(1);
    // It has room for the first.
    let _ = answers.try_send(Ok(execution.operation(Stage::Completed, Some(&response))));
    Ok(Response::new(ReceiverStream::new(stream)))
}

/// Tells a client how its action goes, to its end or until it listens no more.
async fn follow(execution: Execution, following: Following, answers: Answers) {
    let Following(watch) = &following;
    let done = tokio::select! {
        () = answers.closed() => {
            // Its result is kept all the same, if it ends before it is cancelled since nobody wants it.
            let (reapi, log) = (watch.reapi.clone(), watch.log.clone());
            drop(following);
            let _ = tell(&reapi, &execution, &log, None).await;
            return;
        }
        done = tell(&watch.reapi, &execution, &watch.log, Some(&answers)) => done,
    };
    // Nobody may listen any more.
    let _ = answers.send(done).await;
}

/// Follows a run to its end, and returns the last answer.
async fn tell(
    reapi: &Reapi,
    execution: &Execution,
    log: &RunLog,
    mut answers: Option<&Answers>,
) -> Result<Operation, Status> {
    let (mut after, mut ended, mut told) = (0, Ended::default(), None);
    loop {
        let events = match log.read(after, EVENTS_AHEAD).await {
            Chunk::Events(events) => events,
            Chunk::Ended => break,
            Chunk::Abandoned => return Err(Status::unavailable("the coordinator is shutting down")),
        };
        after += events.len() as u64;
        let stage = look(&mut ended, events);
        if let Some(listening) = answers.filter(|_| told != Some(stage)) {
            told = Some(stage);
            if listening
                .send(Ok(execution.operation(stage, None)))
                .await
                .is_err()
            {
                // Its result is kept all the same.
                answers = None;
            }
        }
    }
    finish(reapi, execution, ended).await
}

/// Takes in what happened, and says how far it has come.
fn look(ended: &mut Ended, events: Vec<thresh_proto::v1::RunEvent>) -> Stage {
    let mut stage = if ended.attempt.is_some() {
        Stage::Executing
    } else {
        Stage::Queued
    };
    for event in events {
        match event.event {
            Some(Event::Planned(_)) => ended.queued_micros = event.at_micros,
            Some(Event::Started(_)) => stage = Stage::Executing,
            Some(Event::Attempt(attempt)) => {
                stage = if attempt.last {
                    Stage::Executing
                } else {
                    Stage::Queued
                };
                ended.attempt = Some(attempt);
            }
            Some(Event::InputsRemapped(_)) => ended.is_remapped = true,
            Some(Event::Ended(run)) => ended.run = run,
            _ => {}
        }
    }
    stage
}

/// Puts the last answer together, and keeps the result.
async fn finish(reapi: &Reapi, execution: &Execution, ended: Ended) -> Result<Operation, Status> {
    let (blobs, action) = (reapi.blobs.clone(), execution.action);
    let reading = blobs.clone();
    let wanted = reapi.reading(move || Ok(Ordered::read(&reading, &action)?.outputs()));
    let wanted = wanted.await?;
    let is_clean = ended.is_clean();
    let response = blocking(move || Ok(ended.response(&blobs, action.function, &wanted)));
    let response = response.await?;
    // What it wrote, and its folders.
    reapi.note_stored();
    let instance = execution.instance()?;
    if let Some(result) = response
        .result
        .as_ref()
        .filter(|_| is_clean && execution.is_cached)
    {
        // Without it the next client executes it again.
        if let Err(status) = reapi.keep_result(&instance, &action, result).await {
            tracing::warn!("the result of action {action} is not kept: {}", status.message());
        }
    }
    reapi.unshare(&results::key(&instance.namespace(), &action), execution.run);
    Ok(execution.operation(Stage::Completed, Some(&response)))
}

/// See [`Operations`].
pub(crate) struct OperationsService {
    reapi: Reapi,
}

impl OperationsService {
    pub(crate) fn new(reapi: Reapi) -> Self {
        Self { reapi }
    }
}

impl OperationsService {
    /// The operation when it is done, or as far as it has come within a time.
    async fn within(&self, execution: &Execution, timeout: Duration) -> Result<Operation, Status> {
        let watch = Watch::of(&self.reapi, execution).await?;
        let log = &watch.log;
        let telling = tell(&self.reapi, execution, log, None);
        let done = if log.has_ended() {
            Some(telling.await)
        } else {
            tokio::time::timeout(timeout, telling).await.ok()
        };
        match done {
            Some(done) => done,
            None => {
                let stage = match log.read(0, usize::MAX).await {
                    Chunk::Events(events) => look(&mut Ended::default(), events),
                    Chunk::Ended | Chunk::Abandoned => Stage::Unknown,
                };
                Ok(execution.operation(stage, None))
            }
        }
    }
}

#[tonic::async_trait]
impl Operations for OperationsService {
    async fn list_operations(
        &self,
        _: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        Err(Status::unimplemented(
            "operations are not listed; `thresh history runs` lists runs",
        ))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let execution = Execution::parse(&request.into_inner().name)?;
        self.within(&execution, Duration::ZERO).await.map(Response::new)
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let request = request.into_inner();
        let execution = Execution::parse(&request.name)?;
        let timeout = request.timeout.map_or(WAIT_MAX, |timeout| {
            Duration::from_secs(u64::try_from(timeout.seconds).unwrap_or_default())
        });
        self.within(&execution, timeout.min(WAIT_MAX))
            .await
            .map(Response::new)
    }

    async fn delete_operation(&self, _: Request<DeleteOperationRequest>) -> Result<Response<Empty>, Status> {
        Err(Status::unimplemented("operations are forgotten by themselves"))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<Empty>, Status> {
        let execution = Execution::parse(&request.into_inner().name)?;
        let watch = Watch::of(&self.reapi, &execution).await?;
        // Others who asked for the same still want it.
        if watch.log.followers().cancel(Instant::now()) {
            let cancelled = self.reapi.driver.cancel(execution.run).await;
            cancelled.map_err(status_of_refusal)?;
        }
        Ok(Response::new(Empty::default()))
    }
}
