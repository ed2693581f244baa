//! Whether two parts can talk.

use std::cmp::Ordering;

use thresh_proto::PROTOCOL;
use tonic::Status;

/// Refuses a part that speaks another version of the protocol; says which of the two must be upgraded.
pub(super) fn check(part: &str, protocol: u32, version: &str, own_version: &str) -> Result<(), Status> {
    let upgrade = match protocol.cmp(&PROTOCOL) {
        Ordering::Equal => return Ok(()),
        Ordering::Less => part,
        Ordering::Greater => "coordinator",
    };
    Err(Status::failed_precondition(format!(
        "version mismatch: this {part} is thresh {version} (protocol {protocol}), the coordinator is thresh \
         {own_version} (protocol {PROTOCOL}); upgrade the {upgrade}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_and_the_older_part_are_named() {
        assert!(check("client", PROTOCOL, "9.9", "0.1").is_ok());
        let older = check("worker", PROTOCOL - 1, "0.0.9", "0.1.0").unwrap_err();
        assert_eq!(older.code(), tonic::Code::FailedPrecondition);
        assert!(older.message().contains("thresh 0.0.9") && older.message().contains("thresh 0.1.0"));
        assert!(older.message().ends_with("upgrade the worker"));
        let newer = check("worker", PROTOCOL + 1, "0.2.0", "0.1.0").unwrap_err();
        assert!(newer.message().ends_with("upgrade the coordinator"));
    }
}
