//! One action on the engine, from its start to its result.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2::execution_client::ExecutionClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ExecuteRequest, ExecuteResponse, RequestMetadata, ToolDetails, WaitExecutionRequest,
};
use bazel_remote_apis::google::longrunning::operation::Result as Done;
use bazel_remote_apis::google::longrunning::operations_client::OperationsClient;
use bazel_remote_apis::google::longrunning::{CancelOperationRequest, Operation};
use prost::Message;
use thresh_cas::BlobName;
use thresh_core::id::RunId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status, Streaming};

use super::inputs::RUNNER;
use crate::remote::Remote;

/// The longest message that an engine may send: output files can be in it.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// After the first refusal so long is waited, then twice as long, …, but never longer than the second.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// An engine that has no room, or cannot be reached, is waited for so long; what comes of it then is not the action's.
const BUSY_MAX: Duration = Duration::from_secs(300);
/// An action that ends without a result, though the engine took it, is tried again after so long: it may be that the engine's workers are
/// started anew. One that has ended once more after that has gone down.
pub(super) const BAD_PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// How long an engine may take to say that it cancels.
const CANCEL_MAX: Duration = Duration::from_secs(5);
/// The key under which servers look for who asks.
const METADATA: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";

/// An action to be executed.
#[derive(Clone, Debug)]
pub(super) struct Execution {
    pub(super) remote: Arc<Remote>,
    pub(super) run: RunId,
    pub(super) action: BlobName,
    /// An output file that may come with the answer.
    pub(super) inline: String,
    /// See [`BAD_PAUSES`].
    pub(super) bad_pauses: [Duration; 2],
}

/// What came of following an action once.
enum Attempt {
    /// It has ended, well or not.
    Ended(Result<Box<ExecuteResponse>, Status>),
    /// Nothing is known of how it goes on.
    Broken(Status),
}

/// How long an engine has been waited for, and how long it is before it is asked again.
struct Patience {
    since: Instant,
    pause: Duration,
    /// It took the action, and then had no room for it.
    is_refused: bool,
}

impl Patience {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            pause: PAUSE,
            is_refused: false,
        }
    }

    /// The action is under way: whatever comes now comes anew. Not so where it was only queued, to be refused again.
    fn note_progress(&mut self) {
        if !self.is_refused {
            *self = Self::new();
        }
    }
}

/// The name of the operation, while there is one.
type Running = Mutex<Option<String>>;

impl Execution {
    /// Executes it, until `cancel` becomes true. While the engine is busy or away it is asked again. `None` when it was
    /// cancelled.
    ///
    /// # Errors
    /// The engine's word on why there is no result; [`Code::Aborted`] when it took the action and that ended several times
    /// without one.
    pub(super) async fn result(
        &self,
        mut cancel: watch::Receiver<bool>,
    ) -> Result<Option<ExecuteResponse>, Status> {
        let running = Running::default();
        tokio::select! {
            biased;
            // An error says that nobody is there who could wait for the result.
            _ = cancel.wait_for(|cancel| *cancel) => {}
            result = self.patiently(&running) => return result.map(Some),
        }
        if let Some(name) = name(&running) {
            let mut operations = OperationsClient::new(self.remote.channel());
            let cancelled = operations.cancel_operation(CancelOperationRequest { name });
            // An engine that cannot cancel finishes it for nobody.
            let _ = timeout(CANCEL_MAX, cancelled).await;
        }
        Ok(None)
    }

    async fn patiently(&self, running: &Running) -> Result<ExecuteResponse, Status> {
        let mut patience = Patience::new();
        let mut ended_badly = 0;
        loop {
            let status = match self.attempt(running, &mut patience).await {
                Attempt::Ended(ended) => {
                    set(running, None);
                    let status = match ended {
                        Ok(response) => match response.status.clone().unwrap_or_default() {
                            status if status.code == 0 => return Ok(*response),
                            status => status_of(status.code, status.message),
                        },
                        Err(status) => status,
                    };
                    match status.code() {
                        Code::ResourceExhausted => patience.is_refused = true,
                        // Perhaps it is the action that takes the engine's workers down.
                        code if ends_badly(code) => {
                            let Some(pause) = self.bad_pauses.get(ended_badly) else {
                                let times = ended_badly + 1;
                                let message = format!("{times} times, at last: {}", status.message());
                                return Err(Status::aborted(message));
                            };
                            ended_badly += 1;
                            patience = Patience {
                                pause: *pause,
                                ..Patience::new()
                            };
                        }
                        _ => return Err(status),
                    }
                    status
                }
                Attempt::Broken(status) if status.code() == Code::NotFound && name(running).is_some() => {
                    // The engine has forgotten it: it begins again.
                    set(running, None);
                    status
                }
                Attempt::Broken(status) if may_pass(&status) => status,
                Attempt::Broken(status) => return Err(status),
            };
            if patience.since.elapsed() + patience.pause > BUSY_MAX {
                return Err(status);
            }
            sleep(patience.pause).await;
            patience.pause = (patience.pause * 2).min(PAUSE_MAX);
        }
    }

    /// Begins, or goes on waiting, and follows until it has ended. An engine may say nothing for hours: whether it is
    /// still there is found out by the connection itself.
    async fn attempt(&self, running: &Running, patience: &mut Patience) -> Attempt {
        let mut operations = match self.ask(name(running)).await {
            Ok(operations) => operations,
            Err(status) => return Attempt::Broken(status),
        };
        loop {
            match operations.message().await {
                Ok(Some(operation)) if operation.done => {
                    return Attempt::Ended(ended(operation).map(Box::new));
                }
                Ok(Some(operation)) => {
                    patience.note_progress();
                    set(running, Some(operation.name).filter(|name| !name.is_empty()));
                }
                Ok(None) => {
                    return Attempt::Broken(Status::unavailable(
                        "the engine ended the stream before the action had ended",
                    ));
                }
                Err(status) => return Attempt::Broken(status),
            }
        }
    }

    async fn ask(&self, name: Option<String>) -> Result<Streaming<Operation>, Status> {
        let mut client =
            ExecutionClient::new(self.remote.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let answer = match name {
            Some(name) => client.wait_execution(WaitExecutionRequest { name }).await?,
            None => {
                let request = ExecuteRequest {
                    instance_name: self.remote.instance(),
                    skip_cache_lookup: true,
                    action_digest: Some(self.action.to_wire()),
                    digest_function: self.action.function.to_wire().into(),
                    inline_stderr: true,
                    inline_output_files: vec![self.inline.clone()],
                    ..ExecuteRequest::default()
                };
                let mut request = Request::new(request);
                request
                    .metadata_mut()
                    .insert_bin(METADATA, MetadataValue::from_bytes(&self.metadata()));
                client.execute(request).await?
            }
        };
        Ok(answer.into_inner())
    }

    fn metadata(&self) -> Vec<u8> {
        let metadata = RequestMetadata {
            tool_details: Some(ToolDetails {
                tool_name: RUNNER.to_owned(),
                tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            action_id: self.action.hash_text(),
            tool_invocation_id: self.run.to_string(),
            action_mnemonic: "ThreshShard".to_owned(),
            ..RequestMetadata::default()
        };
        metadata.encode_to_vec()
    }
}

fn name(running: &Running) -> Option<String> {
    running.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set(running: &Running, name: Option<String>) {
    *running.lock().unwrap_or_else(PoisonError::into_inner) = name;
}

/// What came of an operation that is done.
pub(super) fn ended(operation: Operation) -> Result<ExecuteResponse, Status> {
    match operation.result {
        Some(Done::Response(response)) => ExecuteResponse::decode(response.value.as_slice())
            .map_err(|cause| Status::internal(format!("its answer cannot be read: {cause}"))),
        Some(Done::Error(status)) => Err(status_of(status.code, status.message)),
        None => Err(Status::internal(
            "it says that the action has ended, and nothing else",
        )),
    }
}

fn status_of(code: i32, message: String) -> Status {
    Status::new(Code::from(code), message)
}

/// Whether an action that was taken may have ended so because of what it does: with its worker.
fn ends_badly(code: Code) -> bool {
    use Code::{Aborted, Cancelled, Internal, NotFound, Unavailable, Unknown};
    matches!(
        code,
        Aborted | Cancelled | Internal | NotFound | Unavailable | Unknown
    )
}

/// Whether it is about the engine's state, and not about the action.
fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::ResourceExhausted | Code::Unavailable | Code::Aborted | Code::Unknown
    )
}
