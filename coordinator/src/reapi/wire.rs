//! Names of blobs on the wire.

use bazel_remote_apis::build::bazel::remote::execution::v2::{self, digest_function};
use thresh_cas::{BlobName, DigestFunction};
use tonic::Status;

/// Reads a digest function. Who says none means one whose digests are as long as those that are given: both functions
/// here have the same length, and clients that cannot say which mean SHA-256.
pub(super) fn function_from_wire(function: i32) -> Result<DigestFunction, Status> {
    match digest_function::Value::try_from(function) {
        Ok(digest_function::Value::Unknown | digest_function::Value::Sha256) => Ok(DigestFunction::Sha256),
        Ok(digest_function::Value::Blake3) => Ok(DigestFunction::Blake3),
        Ok(other) => Err(unknown_function(other.as_str_name())),
        Err(_) => Err(unknown_function(&function.to_string())),
    }
}

pub(super) fn unknown_function(word: &str) -> Status {
    Status::invalid_argument(format!(
        "digest function {word} is not served; SHA256 and BLAKE3 are"
    ))
}

/// Reads the name of a blob. `field` is where it stands.
pub(super) fn name_from_wire(
    field: &str,
    function: DigestFunction,
    digest: Option<&v2::Digest>,
) -> Result<BlobName, Status> {
    let digest = digest.ok_or_else(|| Status::invalid_argument(format!("field `{field}` is missing")))?;
    BlobName::from_wire(function, digest).ok_or_else(|| {
        let (hash, size) = (digest.hash.escape_debug(), digest.size_bytes);
        let problem = "is not 64 lower-case hexadecimal digits and a length";
        Status::invalid_argument(format!("field `{field}`: {hash}/{size} {problem}"))
    })
}
