//! A lease as an action: what the engine is given, and what it made of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2::command::EnvironmentVariable;
use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_client::ContentAddressableStorageClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::platform::Property;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    Action, BatchReadBlobsRequest, Command, ExecuteResponse, Platform,
};
use bazel_remote_apis::google::bytestream::ReadRequest;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use prost::Message;
use thresh_cas::BlobName;
use thresh_core::id::RunId;
use thresh_proto::v1::{Lease, LeasedCase, RunBrief, Shard, ShardReports};
use tokio::sync::watch;
use tonic::{Code, Status};

use super::blobs::Blobs;
use super::error::EngineError;
use super::execution::{BAD_PAUSES, Execution};
use super::inputs::{Files, Inputs, RUN, RUNNER, Root, SHARD};

/// The action's output file.
const OUTCOMES: &str = "outcomes";
/// A runner gives back what it has not started before it has so much to say.
const OUTCOMES_BYTES_MAX: u64 = 512 << 20;
/// A short output file is fetched in one message.
const TOGETHER_BYTES_MAX: u64 = 1 << 20;
/// What is shown of what a runner wrote.
const SAID_BYTES_MAX: usize = 2 << 10;
/// Exit codes of programs that a signal ended begin here, as shells and engines count.
const SIGNALLED: i32 = 128;
/// The variables of a usual login. Further ones come with the cases.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("HOME", "/tmp"),
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
];

/// Makes actions of leases.
#[derive(Debug)]
pub(super) struct Shards {
    pub(super) blobs: Arc<Blobs>,
    pub(super) inputs: Inputs,
    /// The program that executes shards.
    pub(super) runner: BlobName,
    /// What the engine's machine has to be.
    pub(super) properties: Vec<(String, String)>,
}

/// An action and what it needs.
#[derive(Debug)]
struct Order {
    action: BlobName,
    run: BlobName,
    /// The same for all actions: it is never forgotten, for another one may be about to send it.
    command: BlobName,
    root: Root,
    /// What no other action needs.
    own: Vec<BlobName>,
}

/// How an action ended.
#[derive(Debug)]
pub(super) enum ShardEnd {
    /// With outcomes.
    Reports(ShardReports),
    /// Without: it was killed, or ran out of time.
    WentDown(String),
    /// Without, as was wanted.
    Cancelled,
}

impl Shards {
    /// Executes these cases as one action, until `cancel` becomes true.
    ///
    /// # Errors
    /// The engine cannot, which says nothing of the cases.
    pub(super) async fn execute(
        self: &Arc<Self>,
        run: RunId,
        brief: Arc<RunBrief>,
        cases: Vec<LeasedCase>,
        cancel: watch::Receiver<bool>,
    ) -> Result<ShardEnd, EngineError> {
        let (shards, made) = (self.clone(), brief.clone());
        let making = tokio::task::spawn_blocking(move || shards.action(&made, cases));
        let making = making.await;
        let order = making.map_err(|ended| EngineError::Outcomes(ended.to_string()))??;
        let ended = self.follow(run, &order, cancel).await;
        self.blobs.forget(&order.own);
        ended
    }

    async fn follow(
        &self,
        run: RunId,
        order: &Order,
        cancel: watch::Receiver<bool>,
    ) -> Result<ShardEnd, EngineError> {
        self.ensure(order).await?;
        let execution = Execution {
            remote: self.blobs.remote().clone(),
            run,
            action: order.action,
            inline: OUTCOMES.to_owned(),
            bad_pauses: BAD_PAUSES,
        };
        let mut result = execution.result(cancel.clone()).await;
        if matches!(&result, Err(status) if is_missing_blobs(status)) {
            // It dropped what it had, as it may.
            self.blobs.doubt();
            self.ensure(order).await?;
            result = execution.result(cancel).await;
        }
        match result {
            Ok(Some(response)) => self.end(response).await,
            Ok(None) => Ok(ShardEnd::Cancelled),
            Err(status) if status.code() == Code::DeadlineExceeded => Ok(ShardEnd::WentDown(format!(
                "its action ran out of the engine's time: {}",
                status.message()
            ))),
            Err(status) if status.code() == Code::Aborted => Ok(ShardEnd::WentDown(format!(
                "its action ended without a result, {}",
                status.message()
            ))),
            Err(status) => Err(self.blobs.refused("execute a shard")(status)),
        }
    }

    async fn ensure(&self, order: &Order) -> Result<(), EngineError> {
        for tree in &order.root.trees {
            self.blobs.ensure_together(&tree.blobs).await?;
        }
        let shared = [self.runner, order.run, order.command];
        let names: Vec<BlobName> = order
            .root
            .own
            .iter()
            .chain(&order.own)
            .copied()
            .chain(shared)
            .collect();
        self.blobs.ensure(&names, |_, _| ()).await
    }

    /// The action and all that it needs. Blocks.
    fn action(&self, brief: &RunBrief, cases: Vec<LeasedCase>) -> Result<Order, EngineError> {
        let header = brief.header.clone().unwrap_or_default();
        let binaries: BTreeSet<u32> = cases.iter().map(|case| case.binary).collect();
        let salt = uuid::Uuid::new_v4().into_bytes().to_vec();
        let shard = Shard {
            trees: Inputs::places(&header),
            lease: Some(Lease {
                lease_id: 0,
                run_id: header.run_id.clone(),
                cases,
            }),
            salt: salt.clone().into(),
        };
        let files = Files {
            runner: self.runner,
            run: self.blobs.add_bytes(brief.encode_to_vec()),
            shard: self.blobs.add_bytes(shard.encode_to_vec()),
        };
        let root = self.inputs.root(&self.blobs, &header, &binaries, files)?;
        let properties = self.properties.iter().map(|(name, value)| Property {
            name: name.clone(),
            value: value.clone(),
        });
        let platform = Some(Platform {
            properties: properties.collect(),
        });
        let variables = ENVIRONMENT.map(|(name, value)| EnvironmentVariable {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        #[expect(deprecated, reason = "servers of the API's first versions know only these")]
        let command = Command {
            arguments: [&format!("./{RUNNER}"), "shard", RUN, SHARD, OUTCOMES]
                .map(str::to_owned)
                .to_vec(),
            environment_variables: variables.to_vec(),
            output_files: vec![OUTCOMES.to_owned()],
            output_paths: vec![OUTCOMES.to_owned()],
            platform: platform.clone(),
            ..Command::default()
        };
        let command = self.blobs.add_bytes(command.encode_to_vec());
        let action = Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(root.name.to_wire()),
            do_not_cache: true,
            salt,
            platform,
            ..Action::default()
        };
        let action = self.blobs.add_bytes(action.encode_to_vec());
        Ok(Order {
            action,
            run: files.run,
            command,
            own: vec![files.shard, root.name, action],
            root,
        })
    }

    /// What a runner brought, by the engine's answer.
    pub(super) async fn end(&self, response: ExecuteResponse) -> Result<ShardEnd, EngineError> {
        let result = response.result.unwrap_or_default();
        let said = || self.said(&result.stderr_raw, result.stderr_digest.as_ref());
        if result.exit_code >= SIGNALLED || result.exit_code < 0 {
            let said = said().await;
            return Ok(ShardEnd::WentDown(format!(
                "its action ended with code {} and without outcomes: {said}",
                result.exit_code
            )));
        }
        if result.exit_code != 0 {
            return Err(EngineError::Runner {
                code: result.exit_code,
                said: said().await,
            });
        }
        let file = result.output_files.iter().find(|file| file.path == OUTCOMES);
        let file = file.ok_or_else(|| EngineError::Outcomes("it brought no outcomes".to_owned()))?;
        let contents = match (file.contents.is_empty(), &file.digest) {
            (true, Some(digest)) => {
                let name = BlobName::from_wire(self.blobs.function(), digest)
                    .ok_or_else(|| EngineError::Outcomes("its outcomes have no proper name".to_owned()))?;
                self.fetch(name).await?
            }
            _ => file.contents.clone(),
        };
        ShardReports::decode(contents.as_slice())
            .map(ShardEnd::Reports)
            .map_err(|cause| EngineError::Outcomes(format!("its outcomes cannot be read: {cause}")))
    }

    /// The end of what the runner wrote.
    async fn said(
        &self,
        inline: &[u8],
        digest: Option<&bazel_remote_apis::build::bazel::remote::execution::v2::Digest>,
    ) -> String {
        let name = digest.and_then(|digest| BlobName::from_wire(self.blobs.function(), digest));
        let bytes = match name {
            Some(name) if inline.is_empty() && name.size > 0 => self.fetch(name).await.unwrap_or_default(),
            _ => inline.to_vec(),
        };
        let end = bytes.len().saturating_sub(SAID_BYTES_MAX);
        String::from_utf8_lossy(&bytes[end..]).trim().to_owned()
    }

    async fn fetch(&self, name: BlobName) -> Result<Vec<u8>, EngineError> {
        if name.size > OUTCOMES_BYTES_MAX {
            let problem = format!("its outcomes are {} bytes long", name.size);
            return Err(EngineError::Outcomes(problem));
        }
        let fetched = if name.size <= TOGETHER_BYTES_MAX {
            self.fetch_short(name).await
        } else {
            self.fetch_long(name).await
        };
        let content = fetched.map_err(self.blobs.refused("fetch outcomes"))?;
        if BlobName::of(name.function, &content) != name {
            let problem = format!("{} bytes came that are not blob {name}", content.len());
            return Err(EngineError::Outcomes(problem));
        }
        Ok(content)
    }

    async fn fetch_short(&self, name: BlobName) -> Result<Vec<u8>, Status> {
        let remote = self.blobs.remote();
        let request = BatchReadBlobsRequest {
            instance_name: remote.instance(),
            digests: vec![name.to_wire()],
            digest_function: name.function.to_wire().into(),
            ..BatchReadBlobsRequest::default()
        };
        let reply = remote.patiently(|| {
            let mut client = ContentAddressableStorageClient::new(remote.channel());
            let request = request.clone();
            async move { client.batch_read_blobs(request).await }
        });
        let response = reply.await?.responses.pop().unwrap_or_default();
        let status = response.status.unwrap_or_default();
        match status.code {
            0 => Ok(response.data),
            code => Err(Status::new(Code::from(code), status.message)),
        }
    }

    async fn fetch_long(&self, name: BlobName) -> Result<Vec<u8>, Status> {
        let remote = self.blobs.remote();
        let resource = remote.resource("blobs", &name);
        let pieces = remote.patiently(|| {
            let mut client = ByteStreamClient::new(remote.channel());
            let request = ReadRequest {
                resource_name: resource.clone(),
                ..ReadRequest::default()
            };
            async move { client.read(request).await }
        });
        let (mut pieces, mut content) = (pieces.await?, Vec::new());
        while let Some(piece) = remote.next(&mut pieces).await? {
            content.extend_from_slice(&piece.data);
            if content.len() as u64 > name.size {
                break;
            }
        }
        Ok(content)
    }
}

/// `FAILED_PRECONDITION` is what the API says for an action whose blobs are not there.
fn is_missing_blobs(status: &Status) -> bool {
    matches!(status.code(), Code::FailedPrecondition | Code::NotFound)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bazel_remote_apis::build::bazel::remote::execution::v2::CacheCapabilities;
    use thresh_cas::DigestFunction;

    use super::super::upload::Limits;
    use super::*;
    use crate::remote::{Patience, Remote};

    impl Shards {
        /// Of an engine that does not answer. Must be called within a tokio runtime.
        pub(in crate::engine) fn of_nobody() -> Self {
            let patience = Patience {
                answer: Duration::ZERO,
                busy: Duration::ZERO,
                waits_for_connection: false,
            };
            let remote = Arc::new(Remote::new("reapi://127.0.0.1:1".parse().unwrap(), patience).unwrap());
            let limits = Limits::of(&CacheCapabilities::default());
            let blobs = Arc::new(Blobs::new(remote, DigestFunction::Sha256, limits));
            Self {
                runner: blobs.add_bytes(b"runner".to_vec()),
                blobs,
                inputs: Inputs::default(),
                properties: Vec::new(),
            }
        }
    }

    #[tokio::test]
    async fn what_an_action_forgets_no_other_one_needs() {
        let shards = Shards::of_nobody();
        let order = || shards.action(&RunBrief::default(), Vec::new()).unwrap();
        let (one, other) = (order(), order());
        let needed = [other.action, other.run, other.command, shards.runner];
        let needed = needed.iter().chain(&other.own).chain(&other.root.own);
        for name in needed {
            assert!(!one.own.contains(name), "{name}");
        }
    }
}
