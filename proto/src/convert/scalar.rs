//! Digests, ids and durations.

use std::time::Duration;

use prost::bytes::Bytes;
use thresh_core::digest::Digest;
use thresh_core::id::RunId;

use super::InvalidMessage;
use crate::v1;

/// The longest duration that is accepted: 100 years.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Returns the 32 bytes of a digest.
pub fn digest_to_wire(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

/// Reads a digest.
///
/// # Errors
/// When `bytes` are not 32.
pub fn digest_from_wire(field: &'static str, bytes: &[u8]) -> Result<Digest, InvalidMessage> {
    Digest::try_from(bytes)
        .map_err(|_| InvalidMessage::new(field, format!("has {} bytes, not 32", bytes.len())))
}

/// Returns the 16 bytes of a run id.
pub fn run_id_to_wire(run: RunId) -> Bytes {
    Bytes::copy_from_slice(&run.as_u128().to_be_bytes())
}

/// Reads a run id.
///
/// # Errors
/// When `bytes` are not 16.
pub fn run_id_from_wire(bytes: &[u8]) -> Result<RunId, InvalidMessage> {
    let bits: [u8; 16] = bytes
        .try_into()
        .map_err(|_| InvalidMessage::new("run_id", format!("has {} bytes, not 16", bytes.len())))?;
    Ok(RunId::from_u128(u128::from_be_bytes(bits)))
}

/// Returns a duration in whole microseconds, at most 100 years.
pub fn duration_to_wire(duration: Duration) -> v1::Duration {
    let micros = duration.min(DURATION_MAX).as_micros();
    v1::Duration {
        micros: u64::try_from(micros).unwrap_or(u64::MAX),
    }
}

/// Reads a duration.
///
/// # Errors
/// When it is missing or over 100 years.
pub fn duration_from_wire(
    field: &'static str,
    duration: Option<v1::Duration>,
) -> Result<Duration, InvalidMessage> {
    let duration = Duration::from_micros(duration.ok_or_else(|| InvalidMessage::missing(field))?.micros);
    if duration > DURATION_MAX {
        return Err(InvalidMessage::new(field, "is longer than 100 years"));
    }
    Ok(duration)
}

/// Reads a duration that may be absent, which is zero; one that is too long is cut to 100 years.
pub fn duration_or_zero(duration: Option<v1::Duration>) -> Duration {
    Duration::from_micros(duration.map_or(0, |duration| duration.micros)).min(DURATION_MAX)
}
