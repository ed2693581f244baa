//! A client of the Remote Execution API.

use crate::thresh::repository;
use bazel_remote_apis::build::bazel::remote::execution::v2::action_cache_client::ActionCacheClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_client::ContentAddressableStorageClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::execution_client::ExecutionClient;
use bazel_remote_apis::build::bazel::remote::execution::v2::{
    self, Action, BatchUpdateBlobsRequest, Command, Directory, ExecuteRequest, ExecuteResponse, FileNode,
    FindMissingBlobsRequest, GetActionResultRequest, RequestMetadata, batch_update_blobs_request,
};
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use bazel_remote_apis::google::bytestream::{ReadRequest, WriteRequest};
use bazel_remote_apis::google::longrunning::{Operation, operation};
use prost::Message;
use std::path::PathBuf;
use std::process::Stdio;
use thresh_cas::{BlobName, DigestFunction};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// The folder of the API's other programs, which are installed when they are missing.
///
/// # Panics
/// When they cannot be installed.
pub fn peers() -> PathBuf {
    let output = std::process::Command::new(repository().join("scripts/reapi-peers"))
        .stderr(Stdio::inherit())
        .output()
        .expect("the script can be started");
    assert!(output.status.success(), "scripts/reapi-peers failed");
    let folder = String::from_utf8(output.stdout).expect("a path of this repository is text");
    PathBuf::from(folder.trim())
}

/// A client of one instance, with one digest function.
#[derive(Clone, Debug)]
pub struct Client {
    /// To call what is not offered here.
    pub channel: Channel,
    /// The instance's name.
    pub instance: String,
    /// How it names blobs.
    pub function: DigestFunction,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn connect(
        url: &str,
        instance: &str,
        function: DigestFunction,
    ) -> Result<Self, tonic::transport::Error> {
        let endpoint = Channel::from_shared(url.to_owned()).expect("the tests' addresses are sound");
        Ok(Self {
            channel: endpoint.connect().await?,
            instance: instance.to_owned(),
            function,
        })
    }

    /// As the API has it.
    pub fn function(&self) -> i32 {
        self.function.to_wire().into()
    }

    /// Names some content.
    pub fn name(&self, content: &[u8]) -> BlobName {
        BlobName::of(self.function, content)
    }

    /// Blobs in messages.
    pub fn cas(&self) -> ContentAddressableStorageClient<Channel> {
        ContentAddressableStorageClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    /// Blobs as streams.
    pub fn streams(&self) -> ByteStreamClient<Channel> {
        ByteStreamClient::new(self.channel.clone())
    }

    /// Results of actions.
    pub fn results(&self) -> ActionCacheClient<Channel> {
        ActionCacheClient::new(self.channel.clone())
    }

    /// Actions.
    pub fn execution(&self) -> ExecutionClient<Channel> {
        ExecutionClient::new(self.channel.clone())
    }

    /// Stores a short blob under a name, which may be another's.
    ///
    /// # Errors
    /// The other side refuses it.
    pub async fn put_as(&self, name: &BlobName, content: &[u8], zstd: bool) -> Result<(), Status> {
        let request = batch_update_blobs_request::Request {
            digest: Some(name.to_wire()),
            data: content.to_vec(),
            compressor: i32::from(zstd),
        };
        let request = BatchUpdateBlobsRequest {
            instance_name: self.instance.clone(),
            requests: vec![request],
            digest_function: self.function(),
        };
        let replies = self.cas().batch_update_blobs(request).await?.into_inner();
        let status = replies
            .responses
            .into_iter()
            .next()
            .and_then(|reply| reply.status);
        match status.unwrap_or_default() {
            status if status.code == 0 => Ok(()),
            status => Err(Status::new(status.code.into(), status.message)),
        }
    }

    /// Stores a short blob.
    ///
    /// # Errors
    /// The other side refuses it.
    pub async fn put(&self, content: &[u8]) -> Result<BlobName, Status> {
        let name = self.name(content);
        self.put_as(&name, content, false).await?;
        Ok(name)
    }

    /// Stores a message.
    ///
    /// # Errors
    /// The other side refuses it.
    pub async fn put_message(&self, message: &impl Message) -> Result<BlobName, Status> {
        self.put(&message.encode_to_vec()).await
    }

    /// Which of these are not there.
    ///
    /// # Errors
    /// The other side refuses to say.
    pub async fn missing(&self, names: &[BlobName]) -> Result<Vec<v2::Digest>, Status> {
        let request = FindMissingBlobsRequest {
            instance_name: self.instance.clone(),
            blob_digests: names.iter().map(BlobName::to_wire).collect(),
            digest_function: self.function(),
        };
        let reply = self.cas().find_missing_blobs(request).await?;
        Ok(reply.into_inner().missing_blob_digests)
    }

    /// The name of a resource that is read, or behind `uploads/UUID/` written.
    pub fn resource(&self, name: &BlobName, zstd: bool) -> String {
        let kind = if zstd { "compressed-blobs/zstd" } else { "blobs" };
        let function = match name.function {
            DigestFunction::Blake3 => "blake3/",
            DigestFunction::Sha256 => "",
        };
        format!("{kind}/{function}{name}")
    }

    /// Reads a blob as a stream.
    ///
    /// # Errors
    /// It is missing.
    pub async fn read(
        &self,
        name: &BlobName,
        offset: i64,
        limit: i64,
        zstd: bool,
    ) -> Result<Vec<u8>, Status> {
        let request = ReadRequest {
            resource_name: self.resource(name, zstd),
            read_offset: offset,
            read_limit: limit,
        };
        let mut stream = self.streams().read(request).await?.into_inner();
        let mut content = Vec::new();
        while let Some(message) = stream.message().await? {
            content.extend(message.data);
        }
        Ok(content)
    }

    /// Writes messages with these contents, the first at `offset`. Returns the committed length.
    ///
    /// # Errors
    /// The other side refuses them.
    pub async fn write(
        &self,
        resource: &str,
        offset: i64,
        pieces: Vec<Vec<u8>>,
        finish: bool,
    ) -> Result<i64, Status> {
        let (count, mut at) = (pieces.len(), offset);
        let messages = pieces.into_iter().enumerate().map(|(index, data)| {
            let message = WriteRequest {
                resource_name: resource.to_owned(),
                write_offset: at,
                finish_write: finish && index + 1 == count,
                data,
            };
            at += i64::try_from(message.data.len()).expect("a piece is short");
            message
        });
        let messages: Vec<_> = messages.collect();
        let reply = self.streams().write(tokio_stream::iter(messages)).await?;
        Ok(reply.into_inner().committed_size)
    }

    /// A file of an input root, stored.
    ///
    /// # Errors
    /// The other side refuses it.
    pub async fn file(&self, name: &str, content: &[u8], is_executable: bool) -> Result<FileNode, Status> {
        Ok(FileNode {
            name: name.to_owned(),
            digest: Some(self.put(content).await?.to_wire()),
            is_executable,
            node_properties: None,
        })
    }

    /// Stores an action with its command and root.
    ///
    /// # Errors
    /// The other side refuses it.
    pub async fn put_action(
        &self,
        command: &Command,
        root: &Directory,
        action: Action,
    ) -> Result<BlobName, Status> {
        let action = Action {
            command_digest: Some(self.put_message(command).await?.to_wire()),
            input_root_digest: Some(self.put_message(root).await?.to_wire()),
            ..action
        };
        self.put_message(&action).await
    }

    /// Begins to execute an action.
    ///
    /// # Errors
    /// The other side refuses it.
    pub async fn begin(&self, action: &BlobName, skip_cache: bool) -> Result<Streaming<Operation>, Status> {
        let request = Request::new(self.asking(action, skip_cache));
        Ok(self.execution().execute(request).await?.into_inner())
    }

    /// Begins to execute an action, whatever is known of it, and says who asks and what for.
    ///
    /// # Errors
    /// The other side refuses it.
    pub async fn begin_for(
        &self,
        asker: &RequestMetadata,
        action: &BlobName,
    ) -> Result<Streaming<Operation>, Status> {
        let mut request = Request::new(self.asking(action, true));
        let said = MetadataValue::from_bytes(&asker.encode_to_vec());
        request
            .metadata_mut()
            .insert_bin("build.bazel.remote.execution.v2.requestmetadata-bin", said);
        Ok(self.execution().execute(request).await?.into_inner())
    }

    fn asking(&self, action: &BlobName, skip_cache: bool) -> ExecuteRequest {
        ExecuteRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.to_wire()),
            skip_cache_lookup: skip_cache,
            digest_function: self.function(),
            ..ExecuteRequest::default()
        }
    }

    /// Executes an action.
    ///
    /// # Errors
    /// The other side refuses it, or it was not executed.
    pub async fn execute(&self, action: &BlobName, skip_cache: bool) -> Result<ExecuteResponse, Status> {
        finish(self.begin(action, skip_cache).await?).await
    }

    /// The known result of an action.
    ///
    /// # Errors
    /// None is known.
    pub async fn result(&self, action: &BlobName) -> Result<v2::ActionResult, Status> {
        let request = GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.to_wire()),
            digest_function: self.function(),
            ..GetActionResultRequest::default()
        };
        Ok(self.results().get_action_result(request).await?.into_inner())
    }
}

/// A command that a shell is to run.
pub fn shell(script: &str) -> Command {
    Command {
        arguments: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        environment_variables: vec![v2::command::EnvironmentVariable {
            name: "PATH".to_owned(),
            value: "/usr/bin:/bin".to_owned(),
        }],
        ..Command::default()
    }
}

/// Waits for the last word about an operation.
///
/// # Errors
/// The stream ends before it, or the operation was not executed.
pub async fn finish(mut operations: Streaming<Operation>) -> Result<ExecuteResponse, Status> {
    loop {
        let operation = operations.message().await?;
        let operation = operation.ok_or_else(|| Status::unknown("the stream ended early"))?;
        let Some(operation::Result::Response(response)) = operation.result else {
            continue;
        };
        let response = ExecuteResponse::decode(&response.value[..]);
        let response = response.map_err(|error| Status::unknown(error.to_string()))?;
        return match response.status.clone().unwrap_or_default() {
            status if status.code == 0 => Ok(response),
            status => {
                let (code, message) = (Code::from(status.code), status.message.clone());
                Err(Status::with_details(code, message, status.encode_to_vec().into()))
            }
        };
    }
}
