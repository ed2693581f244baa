//! Answers that say what is missing, as the Remote Execution API has them.

use bazel_remote_apis::google::protobuf::Any;
use bazel_remote_apis::google::rpc;
use prost::Message;
use thresh_cas::{BlobName, PackError, TreeError};
use thresh_core::fault::Fault;
use tonic::{Code, Status};

/// The most blobs that one answer names: its client sends them and asks again.
const NAMED_MAX: usize = 10_000;

/// `google.rpc.PreconditionFailure`, which the crate of the API's types does not have.
#[derive(Clone, PartialEq, Message)]
struct PreconditionFailure {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

/// `google.rpc.PreconditionFailure.Violation`.
#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    subject: String,
    #[prost(string, tag = "3")]
    description: String,
}

/// Blobs that an action needs are not there: its client sends them and asks again.
pub(super) fn missing(message: &str, names: &[BlobName]) -> Status {
    let violations = names.iter().take(NAMED_MAX).map(|name| Violation {
        kind: "MISSING".to_owned(),
        subject: format!("blobs/{name}"),
        description: String::new(),
    });
    let failure = PreconditionFailure {
        violations: violations.collect(),
    };
    let details = rpc::Status {
        code: Code::FailedPrecondition.into(),
        message: message.to_owned(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.PreconditionFailure".to_owned(),
            value: failure.encode_to_vec(),
        }],
    };
    Status::with_details(Code::FailedPrecondition, message, details.encode_to_vec().into())
}

pub(super) fn of_tree(error: TreeError) -> Status {
    let text = format!("failed to {error}");
    match error {
        TreeError::Missing { missing: names, .. } => missing(&text, &names),
        TreeError::Store(error) => of_blob(&error),
        error if error.fault() == Fault::Input => Status::invalid_argument(text),
        _ => Status::internal(text),
    }
}

pub(super) fn of_blob(error: &PackError) -> Status {
    crate::services::status_of_blob(error)
}

/// What went wrong with a blob that came.
pub(super) fn of_received(error: &PackError) -> Status {
    match error {
        // What comes is read from memory: it is the compression that is wrong.
        PackError::Source { .. } => Status::invalid_argument(format!("failed to {error}")),
        error => of_blob(error),
    }
}

/// A status as it stands in a message.
pub(super) fn to_wire(status: &Status) -> rpc::Status {
    let detailed = rpc::Status::decode(status.details()).ok();
    rpc::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: detailed.map(|status| status.details).unwrap_or_default(),
    }
}
