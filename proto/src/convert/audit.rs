//! Audits of reuse.

use prost::bytes::Bytes;
use thresh_core::id::{CaseIndex, RunId};
use thresh_core::reuse::AuditShare;

use super::InvalidMessage;
use super::scalar::{run_id_from_wire, run_id_to_wire};
use crate::v1;

/// Reads the share of the reusable cases that run all the same.
///
/// # Errors
/// When it is more than a million parts per million.
pub fn audit_share_from_wire(ppm: u32) -> Result<AuditShare, InvalidMessage> {
    AuditShare::from_ppm(ppm).map_err(|_| {
        let problem = format!("is {ppm}, more than a million parts per million");
        InvalidMessage::new("audit_ppm", problem)
    })
}

/// Returns the wire form of a case that is audited. `past_run` is the run of the pass that would have stood for it;
/// `None`: not known.
pub fn audited_to_wire(case: CaseIndex, past_run: Option<RunId>) -> v1::AuditedCase {
    v1::AuditedCase {
        case: case.0,
        past_run: past_run_to_wire(past_run),
    }
}

/// Reads a case that is audited, and the run of the pass that would have stood for it.
///
/// # Errors
/// When `past_run` is neither empty nor 16 bytes.
pub fn audited_from_wire(audited: &v1::AuditedCase) -> Result<(CaseIndex, Option<RunId>), InvalidMessage> {
    Ok((CaseIndex(audited.case), past_run_from_wire(&audited.past_run)?))
}

/// Returns the wire form of a run that need not be known.
pub fn past_run_to_wire(run: Option<RunId>) -> Bytes {
    run.map(run_id_to_wire).unwrap_or_default()
}

/// Reads a run that need not be known.
///
/// # Errors
/// When `bytes` are neither empty nor 16.
pub fn past_run_from_wire(bytes: &[u8]) -> Result<Option<RunId>, InvalidMessage> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let run = run_id_from_wire(bytes);
    run.map(Some)
        .map_err(|error| InvalidMessage::new("past_run", error.problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_million_parts_per_million_at_most() {
        assert_eq!(audit_share_from_wire(0), Ok(AuditShare::NONE));
        assert!(audit_share_from_wire(1_000_000).is_ok());
        let refused = audit_share_from_wire(1_000_001).unwrap_err();
        assert_eq!(refused.field, "audit_ppm");
    }

    #[test]
    fn audited_cases_round_trip_with_and_without_their_past_run() {
        for past in [Some(RunId::from_u128(7)), None] {
            let wire = audited_to_wire(CaseIndex(3), past);
            assert_eq!(audited_from_wire(&wire), Ok((CaseIndex(3), past)));
        }
        let short = v1::AuditedCase {
            case: 3,
            past_run: b"short"[..].into(),
        };
        assert_eq!(audited_from_wire(&short).unwrap_err().field, "past_run");
    }
}
