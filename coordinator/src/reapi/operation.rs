//! What clients are told of an action that is being executed.
//!
//! An operation's name says everything that is needed to take it up again, at this coordinator or the next:
//! `INSTANCE/operations/RUN/FUNCTION/HASH/SIZE`, with `/uncached` behind it where the result is not to be kept.

use bazel_remote_apis::build::bazel::remote::execution::v2::execution_stage::Value as Stage;
use bazel_remote_apis::build::bazel::remote::execution::v2::{ExecuteOperationMetadata, ExecuteResponse};
use bazel_remote_apis::google::longrunning::{Operation, operation};
use bazel_remote_apis::google::protobuf::Any;
use prost::Message;
use thresh_cas::{BlobName, DigestFunction};
use thresh_core::id::RunId;
use thresh_proto::v1;
use tonic::Status;

use super::instance::Instance;

const TYPES: &str = "type.googleapis.com/build.bazel.remote.execution.v2";

/// An action that is being executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Execution {
    /// As its client wrote it.
    pub(super) instance_name: String,
    pub(super) run: RunId,
    pub(super) action: BlobName,
    /// Whether the result may be kept.
    pub(super) is_cached: bool,
}

impl Execution {
    pub(super) fn parse(name: &str) -> Result<Self, Status> {
        let parse = || {
            let (instance_name, rest) = match name.strip_prefix("operations/") {
                Some(rest) => ("", rest),
                None => name.split_once("/operations/")?,
            };
            let (rest, is_cached) = match rest.strip_suffix("/uncached") {
                Some(rest) => (rest, false),
                None => (rest, true),
            };
            let segments: Vec<&str> = rest.split('/').collect();
            let [run, function, hash, size] = segments[..] else {
                return None;
            };
            let function = DigestFunction::named(function)?;
            Some(Self {
                instance_name: instance_name.to_owned(),
                run: run.parse().ok()?,
                action: BlobName::parse(function, hash, size.parse().ok()?)?,
                is_cached,
            })
        };
        parse().ok_or_else(|| Status::not_found(format!("no operation {name:?} is known")))
    }

    /// Whether this is what a run executes. A name is the client's word, and what it says decides where the result is kept.
    pub(super) fn is_of(&self, action: Option<&v1::Action>) -> bool {
        let (Some(action), Ok(instance)) = (action, self.instance()) else {
            return false;
        };
        action.instance == instance.namespace()
            && i32::try_from(action.digest_function) == Ok(self.action.function.to_wire().into())
            && action.digest == self.action.hash[..]
            && action.size_bytes == self.action.size
            && action.do_not_cache != self.is_cached
    }

    pub(super) fn name(&self) -> String {
        let instance = match self.instance_name.as_str() {
            "" => String::new(),
            name => format!("{name}/"),
        };
        let function = self.action.function.word();
        let cached = if self.is_cached { "" } else { "/uncached" };
        format!(
            "{instance}operations/{}/{function}/{}{cached}",
            self.run, self.action
        )
    }

    pub(super) fn instance(&self) -> Result<Instance, Status> {
        Instance::parse(&self.instance_name)
    }

    /// The operation, as far as it has come.
    pub(super) fn operation(&self, stage: Stage, response: Option<&ExecuteResponse>) -> Operation {
        let metadata = ExecuteOperationMetadata {
            stage: stage.into(),
            action_digest: Some(self.action.to_wire()),
            digest_function: self.action.function.to_wire().into(),
            ..ExecuteOperationMetadata::default()
        };
        Operation {
            name: self.name(),
            metadata: Some(any("ExecuteOperationMetadata", &metadata)),
            done: response.is_some(),
            result: response.map(|response| operation::Result::Response(any("ExecuteResponse", response))),
        }
    }
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("{TYPES}.{name}"),
        value: message.encode_to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_a_name_or_none(
            instance in "([a-z/]{0,9}/)?", run in "[0-9a-f-]{0,36}", rest in "\\PC{0,9}(/[0-9a-f]{64}/[0-9]{1,20})?\\PC{0,9}",
        ) {
            let name = format!("{instance}operations/{run}/sha256/{rest}");
            for name in [&name, &rest] {
                if let Ok(execution) = Execution::parse(name) {
                    // Each operation has one name: what is read is what is written, but for other ways to write numbers.
                    prop_assert_eq!(Execution::parse(&execution.name()).unwrap(), execution);
                }
            }
        }
    }

    #[test]
    fn a_name_says_all_that_is_needed() {
        for instance_name in ["", "shop/trusted"] {
            for is_cached in [true, false] {
                let execution = Execution {
                    instance_name: instance_name.to_owned(),
                    run: RunId::from_u128(7),
                    action: BlobName::of(DigestFunction::Sha256, b"action"),
                    is_cached,
                };
                assert_eq!(Execution::parse(&execution.name()).unwrap(), execution);
            }
        }
        for name in ["", "operations/", "operations/x/sha256/y/1", "a/operations/7"] {
            assert!(Execution::parse(name).is_err(), "{name}");
        }
    }
}
