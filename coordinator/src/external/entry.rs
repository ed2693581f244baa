//! How a pass is written in a cache.

use bazel_remote_apis::build::bazel::remote::execution::v2::{Action, ActionResult, Command, Directory};
use prost::Message;
use thresh_cas::{BlobName, DigestFunction};
use thresh_core::reuse::{CaseKey, KEY_METHOD};

/// How the text of every entry begins.
const MARK: &str = "thresh pass v1\n";

/// The action that stands for a case with this key, with the blobs that it names.
pub(super) struct Entry {
    pub(super) action: BlobName,
    pub(super) blobs: [(BlobName, Vec<u8>); 3],
}

impl Entry {
    pub(super) fn new(function: DigestFunction, key: CaseKey) -> Self {
        let named = |content: Vec<u8>| (BlobName::of(function, &content), content);
        let command = Command {
            arguments: vec!["thresh-case".to_owned(), KEY_METHOD.to_owned(), key.0.to_string()],
            ..Command::default()
        };
        let (command, root) = (
            named(command.encode_to_vec()),
            named(Directory::default().encode_to_vec()),
        );
        let action = Action {
            command_digest: Some(command.0.to_wire()),
            input_root_digest: Some(root.0.to_wire()),
            salt: MARK.as_bytes().to_vec(),
            ..Action::default()
        };
        let action = named(action.encode_to_vec());
        Self {
            action: action.0,
            blobs: [action, command, root],
        }
    }
}

/// The result that says that a case passed.
pub(super) fn result(whence: &str) -> ActionResult {
    ActionResult {
        stdout_raw: format!("{MARK}{whence}\n").into_bytes(),
        ..ActionResult::default()
    }
}

/// Whether a result says that a case passed.
pub(super) fn is_pass(result: &ActionResult) -> bool {
    result.exit_code == 0 && result.stdout_raw.starts_with(MARK.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use thresh_core::digest::Digest;
    use thresh_proto::testing::fuzz;

    #[test]
    fn each_key_has_an_entry_of_its_own_and_only_passes_count() {
        let entry = |content: &[u8]| Entry::new(DigestFunction::Sha256, CaseKey(Digest::of(content))).action;
        assert_ne!(entry(b"a"), entry(b"b"));
        assert!(is_pass(&result("run 1")));
        let mut failed = result("run 1");
        failed.exit_code = 1;
        assert!(!is_pass(&failed) && !is_pass(&ActionResult::default()));
    }

    #[test]
    fn what_a_cache_answers_is_a_pass_only_if_it_says_so() {
        let valid = result("run 1").encode_to_vec();
        let read = |bytes: &[u8]| ActionResult::decode(bytes).is_ok_and(|result| is_pass(&result));
        assert!(read(&valid));
        let is_marked = |bytes: &[u8]| bytes.windows(MARK.len()).any(|part| part == MARK.as_bytes());
        fuzz(2_000, &valid, |bytes| assert!(!read(bytes) || is_marked(bytes)));
    }
}
