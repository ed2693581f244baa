//! What an engine may do that real ones seldom do.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_server::{
    ContentAddressableStorage, ContentAddressableStorageServer,
};
use bazel_remote_apis::build::bazel::remote::execution::v2::execution_server::{
    Execution as ExecutionApi, ExecutionServer,
};
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ActionResult, BatchReadBlobsRequest, BatchReadBlobsResponse, BatchUpdateBlobsRequest,
    BatchUpdateBlobsResponse, CacheCapabilities, ExecuteRequest, ExecuteResponse, FindMissingBlobsRequest,
    FindMissingBlobsResponse, GetChunkMappingRequest, GetChunkMappingResponse, GetTreeRequest,
    GetTreeResponse, RegisterChunkMappingRequest, RegisterChunkMappingResponse, SpliceBlobRequest,
    SpliceBlobResponse, SplitBlobRequest, SplitBlobResponse, WaitExecutionRequest,
    batch_update_blobs_response,
};
use bazel_remote_apis::google::longrunning::Operation;
use bazel_remote_apis::google::longrunning::operation::Result as Done;
use bazel_remote_apis::google::protobuf::Any;
use bazel_remote_apis::google::rpc;
use prost::Message;
use std::time::Duration;
use thresh_cas::{BlobName, DigestFunction};
use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Empty, Iter};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

use super::blobs::Blobs;
use super::content::{Content, File};
use super::error::EngineError;
use super::execution::Execution;
use super::upload::Limits;
use crate::remote::{Patience, Remote};

/// What the engine does when it is asked next.
#[derive(Clone, Debug)]
enum Step {
    /// It refuses.
    Refuse(Code),
    /// It begins, and then its stream breaks.
    Break,
    /// It ends the action so: 0 with a result.
    End(Code),
}

/// An engine that does what it is told, and notes what it was asked.
#[derive(Clone, Default)]
struct Fake {
    steps: Arc<Mutex<Vec<Step>>>,
    asked: Arc<Mutex<Vec<&'static str>>>,
    /// How often it refuses a blob before it takes it.
    refusals: Arc<Mutex<u32>>,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

type Operations = Iter<std::vec::IntoIter<Result<Operation, Status>>>;

impl Fake {
    fn follow(&self, asked: &'static str) -> Result<Response<Operations>, Status> {
        self.asked.lock().unwrap().push(asked);
        let step = self.steps.lock().unwrap().remove(0);
        let operation = |result| Operation {
            name: "an operation".into(),
            done: matches!(result, Some(Done::Response(_))),
            result,
            ..Operation::default()
        };
        let begun = Ok(operation(None));
        let answers = match step {
            Step::Refuse(code) => return Err(Status::new(code, "not now")),
            Step::Break => vec![begun, Err(Status::unavailable("gone"))],
            Step::End(code) => {
                let response = ExecuteResponse {
                    result: Some(ActionResult::default()),
                    status: Some(rpc::Status {
                        code: code.into(),
                        ..rpc::Status::default()
                    }),
                    ..ExecuteResponse::default()
                };
                let response = Any {
                    value: response.encode_to_vec(),
                    ..Any::default()
                };
                vec![begun, Ok(operation(Some(Done::Response(response))))]
            }
        };
        Ok(Response::new(tokio_stream::iter(answers)))
    }

    async fn serve(&self) -> Arc<Remote> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("reapi://{}/shop", listener.local_addr().unwrap());
        let served = Server::builder()
            .add_service(ExecutionServer::new(self.clone()))
            .add_service(ContentAddressableStorageServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(served);
        let patience = Patience {
            answer: Duration::from_secs(30),
            busy: Duration::from_secs(30),
            waits_for_connection: true,
        };
        Arc::new(Remote::new(address.parse().unwrap(), patience).unwrap())
    }

    async fn blobs(&self) -> Blobs {
        let limits = Limits::of(&CacheCapabilities::default());
        Blobs::new(self.serve().await, DigestFunction::Sha256, limits)
    }
}

#[tonic::async_trait]
impl ExecutionApi for Fake {
    type ExecuteStream = Operations;
    type WaitExecutionStream = Operations;

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<Operations>, Status> {
        let request = request.into_inner();
        assert!(request.skip_cache_lookup && request.instance_name == "shop");
        self.follow("execute")
    }

    async fn wait_execution(
        &self,
        _request: Request<WaitExecutionRequest>,
    ) -> Result<Response<Operations>, Status> {
        self.follow("wait")
    }
}

#[tonic::async_trait]
impl ContentAddressableStorage for Fake {
    type GetTreeStream = Empty<Result<GetTreeResponse, Status>>;
    type GetChunkMappingStream = Empty<Result<GetChunkMappingResponse, Status>>;

    async fn get_chunk_mapping(
        &self,
        _request: Request<GetChunkMappingRequest>,
    ) -> Result<Response<Self::GetChunkMappingStream>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn register_chunk_mapping(
        &self,
        _request: Request<Streaming<RegisterChunkMappingRequest>>,
    ) -> Result<Response<RegisterChunkMappingResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn find_missing_blobs(
        &self,
        request: Request<FindMissingBlobsRequest>,
    ) -> Result<Response<FindMissingBlobsResponse>, Status> {
        Ok(Response::new(FindMissingBlobsResponse {
            missing_blob_digests: request.into_inner().blob_digests,
        }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<BatchUpdateBlobsRequest>,
    ) -> Result<Response<BatchUpdateBlobsResponse>, Status> {
        let mut refusals = self.refusals.lock().unwrap();
        let code = if *refusals > 0 {
            *refusals -= 1;
            Code::ResourceExhausted
        } else {
            Code::Ok
        };
        let requests = request.into_inner().requests;
        if code == Code::Ok {
            self.kept
                .lock()
                .unwrap()
                .extend(requests.iter().map(|request| request.data.clone()));
        }
        let responses = requests
            .into_iter()
            .map(|request| batch_update_blobs_response::Response {
                digest: request.digest,
                status: Some(rpc::Status {
                    code: code.into(),
                    ..rpc::Status::default()
                }),
            });
        Ok(Response::new(BatchUpdateBlobsResponse {
            responses: responses.collect(),
        }))
    }

    async fn batch_read_blobs(
        &self,
        _request: Request<BatchReadBlobsRequest>,
    ) -> Result<Response<BatchReadBlobsResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn get_tree(
        &self,
        _request: Request<GetTreeRequest>,
    ) -> Result<Response<Self::GetTreeStream>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn split_blob(
        &self,
        _request: Request<SplitBlobRequest>,
    ) -> Result<Response<SplitBlobResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }

    async fn splice_blob(
        &self,
        _request: Request<SpliceBlobRequest>,
    ) -> Result<Response<SpliceBlobResponse>, Status> {
        Err(Status::unimplemented("not asked"))
    }
}

async fn result(steps: &[Step]) -> (Result<bool, Code>, Vec<&'static str>) {
    let fake = Fake::default();
    fake.steps.lock().unwrap().extend_from_slice(steps);
    let execution = Execution {
        remote: fake.serve().await,
        run: RunId::from_u128(1),
        action: BlobName::of(DigestFunction::Sha256, b"action"),
        inline: "outcomes".into(),
        bad_pauses: [Duration::ZERO; 2],
    };
    let (_cancel, cancelled) = watch::channel(false);
    let result = execution.result(cancelled).await;
    let asked = fake.asked.lock().unwrap().clone();
    (
        result
            .map(|result| result.is_some())
            .map_err(|status| status.code()),
        asked,
    )
}

#[tokio::test]
async fn a_busy_engine_is_asked_again() {
    let steps = [
        Step::Refuse(Code::ResourceExhausted),
        Step::Refuse(Code::ResourceExhausted),
        // It may say so also of what it has taken.
        Step::End(Code::ResourceExhausted),
        Step::End(Code::Ok),
    ];
    assert_eq!(result(&steps).await, (Ok(true), vec!["execute"; 4]));
}

#[tokio::test]
async fn an_action_is_followed_again_and_begun_again_where_it_is_forgotten() {
    let steps = [
        Step::Break,
        Step::Refuse(Code::Unavailable),
        Step::Break,
        Step::Refuse(Code::NotFound),
        Step::End(Code::Ok),
    ];
    let asked = vec!["execute", "wait", "wait", "wait", "execute"];
    assert_eq!(result(&steps).await, (Ok(true), asked));
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_said_at_once() {
    for code in [
        Code::InvalidArgument,
        Code::FailedPrecondition,
        Code::PermissionDenied,
    ] {
        assert_eq!(result(&[Step::Refuse(code)]).await, (Err(code), vec!["execute"]));
        assert_eq!(result(&[Step::End(code)]).await, (Err(code), vec!["execute"]));
    }
    // Nobody knows an operation of that name, because there was none.
    let (result, _) = result(&[Step::Refuse(Code::NotFound)]).await;
    assert_eq!(result, Err(Code::NotFound));
}

#[tokio::test]
async fn an_action_that_ends_again_and_again_has_gone_down() {
    for code in [
        Code::Aborted,
        Code::Unavailable,
        Code::Internal,
        Code::Cancelled,
        Code::NotFound,
    ] {
        let steps = vec![Step::End(code); 100];
        assert_eq!(result(&steps).await, (Err(Code::Aborted), vec!["execute"; 3]));
    }
    let steps = [Step::End(Code::Aborted), Step::End(Code::Ok)];
    assert_eq!(result(&steps).await, (Ok(true), vec!["execute"; 2]));
}

/// A file that may have changed since it was hashed.
#[derive(Debug)]
struct Bytes(&'static [u8]);

impl Content for Bytes {
    fn name(&self) -> String {
        "src/lib.rs".into()
    }

    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.0))
    }
}

fn file(hashed: &[u8], now: &'static [u8]) -> File {
    File {
        digest: Digest::of(hashed),
        size: hashed.len() as u64,
        content: Arc::new(Bytes(now)),
    }
}

#[tokio::test]
async fn a_busy_store_is_asked_again() {
    let fake = Fake::default();
    *fake.refusals.lock().unwrap() = 3;
    let blobs = fake.blobs().await;
    blobs
        .add_files(vec![file(b"code", b"code")], &Default::default())
        .unwrap();
    let name = blobs.name_of(&Digest::of(b"code")).unwrap();
    blobs.ensure(&[name], |_, _| ()).await.unwrap();
    assert_eq!(*fake.kept.lock().unwrap(), [b"code".to_vec()]);
    // It is there now.
    blobs.ensure(&[name], |_, _| ()).await.unwrap();
    assert_eq!(fake.kept.lock().unwrap().len(), 1);
    blobs.doubt();
    blobs.ensure(&[name], |_, _| ()).await.unwrap();
    assert_eq!(fake.kept.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_that_changed_is_not_sent() {
    let fake = Fake::default();
    let blobs = fake.blobs().await;
    // Before it is named,
    let error = blobs.add_files(vec![file(b"code", b"edit")], &Default::default());
    assert!(
        matches!(&error, Err(EngineError::Changed(name)) if name == "src/lib.rs"),
        "{error:?}"
    );
    // and after: its name was remembered.
    let known = [(Digest::of(b"code"), BlobName::of(DigestFunction::Sha256, b"code"))];
    blobs
        .add_files(vec![file(b"code", b"edit")], &known.into())
        .unwrap();
    let name = blobs.name_of(&Digest::of(b"code")).unwrap();
    let error = blobs.ensure(&[name], |_, _| ()).await;
    assert!(
        matches!(&error, Err(EngineError::Changed(name)) if name == "src/lib.rs"),
        "{error:?}"
    );
    assert!(fake.kept.lock().unwrap().is_empty());
    // Nobody brought this one.
    let error = blobs.name_of(&Digest::of(b"other"));
    assert!(matches!(error, Err(EngineError::Undelivered(_))), "{error:?}");
}
