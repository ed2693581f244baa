//! What outlives runs: names of cases, quarantine, tallies.

use std::time::Duration;

use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;

use super::InvalidMessage;
use crate::v1;

/// The longest that a case may be put into quarantine for at a time: 90 days.
pub const QUARANTINE_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The clocks of client and coordinator may differ by this much.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60 * 60);

/// The longest project name, in bytes.
const PROJECT_BYTES_MAX: usize = 1_024;

/// The longest binary id or case name, in bytes.
const NAME_BYTES_MAX: usize = 64 << 10;

/// The longest name of an owner, in bytes.
const OWNER_BYTES_MAX: usize = 256;

/// The longest reason for a quarantine, in bytes.
const REASON_BYTES_MAX: usize = 4 << 10;

/// Checks a project's name.
///
/// # Errors
/// When it is empty, longer than 1,024 bytes, or holds a NUL.
pub fn project_from_wire(project: &str) -> Result<&str, InvalidMessage> {
    text("project", project, 1..=PROJECT_BYTES_MAX)
}

/// Checks the name of a case. Returns its binary id and its name within the binary.
///
/// # Errors
/// When it is missing, or a part of it is empty, longer than 64 KiB, or holds a NUL.
pub fn case_name_from_wire(case: Option<v1::CaseName>) -> Result<(String, String), InvalidMessage> {
    let case = case.ok_or_else(|| InvalidMessage::missing("case"))?;
    text("case.binary_id", &case.binary_id, 1..=NAME_BYTES_MAX)?;
    text("case.name", &case.name, 1..=NAME_BYTES_MAX)?;
    Ok((case.binary_id, case.name))
}

/// Checks a request to put a case into quarantine at `now`. Returns when it is to end.
///
/// # Errors
/// When nobody or somebody with an absurd name is its owner, its reason is longer than 4 KiB, or it ends in the
/// past or later than [`QUARANTINE_MAX`] from now. The name of the case is not looked at.
pub fn quarantine_from_wire(case: &v1::NewQuarantine, now: Timestamp) -> Result<Timestamp, InvalidMessage> {
    if case.owner.trim().is_empty() {
        return Err(InvalidMessage::new(
            "owner",
            "is empty: somebody must see to the case",
        ));
    }
    text("owner", &case.owner, 1..=OWNER_BYTES_MAX)?;
    text("reason", &case.reason, 0..=REASON_BYTES_MAX)?;
    let until = Timestamp::from_micros(case.until_micros);
    if until <= now {
        return Err(InvalidMessage::new("until_micros", "is not in the future"));
    }
    if until.since(now) > QUARANTINE_MAX + CLOCKS_APART_MAX {
        return Err(InvalidMessage::new("until_micros", "is more than 90 days ahead"));
    }
    Ok(until)
}

fn text<'a>(
    field: &'static str,
    text: &'a str,
    bytes: std::ops::RangeInclusive<usize>,
) -> Result<&'a str, InvalidMessage> {
    if text.len() < *bytes.start() {
        return Err(InvalidMessage::new(field, "is empty"));
    }
    if text.len() > *bytes.end() {
        let problem = format!("has {} bytes, at most {} are allowed", text.len(), bytes.end());
        return Err(InvalidMessage::new(field, problem));
    }
    if text.contains('\0') {
        return Err(InvalidMessage::new(field, "holds a NUL character"));
    }
    Ok(text)
}

/// Reads a share.
///
/// # Errors
/// When it is not from 0 to 1.
pub fn rate_from_wire(field: &'static str, rate: f64) -> Result<f64, InvalidMessage> {
    if (0.0..=1.0).contains(&rate) {
        return Ok(rate);
    }
    Err(InvalidMessage::new(field, format!("is {rate}, not from 0 to 1")))
}

/// Returns the wire form of a tally.
pub fn tally_to_wire(tally: &Tally) -> v1::Tally {
    v1::Tally {
        planned: tally.planned,
        passed: tally.passed,
        reused: tally.reused,
        flaky: tally.flaky,
        failed: tally.failed,
        quarantined: tally.quarantined,
        not_run: tally.not_run,
    }
}

/// Reads a tally.
///
/// # Errors
/// When it is missing, or counts more cases than were planned.
pub fn tally_from_wire(tally: Option<v1::Tally>) -> Result<Tally, InvalidMessage> {
    let tally = tally.ok_or_else(|| InvalidMessage::missing("tally"))?;
    let counts = [
        tally.passed,
        tally.reused,
        tally.flaky,
        tally.failed,
        tally.quarantined,
        tally.not_run,
    ];
    if counts.iter().map(|count| u64::from(*count)).sum::<u64>() > tally.planned.into() {
        return Err(InvalidMessage::new(
            "tally",
            "counts more cases than were planned",
        ));
    }
    Ok(Tally {
        planned: tally.planned,
        passed: tally.passed,
        reused: tally.reused,
        flaky: tally.flaky,
        failed: tally.failed,
        quarantined: tally.quarantined,
        not_run: tally.not_run,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn ends_after(duration: Duration) -> v1::NewQuarantine {
        v1::NewQuarantine {
            owner: "alice".into(),
            until_micros: NOW.after(duration).as_micros(),
            ..Default::default()
        }
    }

    fn refused(case: &v1::NewQuarantine) -> &'static str {
        quarantine_from_wire(case, NOW).map_or_else(|error| error.field, |_| "nothing")
    }

    #[test]
    fn a_quarantine_ends_soon_and_has_an_owner() {
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(quarantine_from_wire(&ends_after(day), NOW), Ok(NOW.after(day)));
        assert_eq!(refused(&ends_after(QUARANTINE_MAX)), "nothing");
        assert_eq!(refused(&ends_after(QUARANTINE_MAX + day)), "until_micros");
        assert_eq!(refused(&ends_after(Duration::ZERO)), "until_micros");
        assert_eq!(
            refused(&v1::NewQuarantine {
                owner: " ".into(),
                ..ends_after(day)
            }),
            "owner"
        );
        let long = "x".repeat(REASON_BYTES_MAX + 1);
        assert_eq!(
            refused(&v1::NewQuarantine {
                owner: long.clone(),
                ..ends_after(day)
            }),
            "owner"
        );
        assert_eq!(
            refused(&v1::NewQuarantine {
                reason: long,
                ..ends_after(day)
            }),
            "reason"
        );
    }

    #[test]
    fn names_have_both_parts() {
        let case = |binary_id: &str, name: &str| {
            case_name_from_wire(Some(v1::CaseName {
                binary_id: binary_id.into(),
                name: name.into(),
            }))
        };
        assert_eq!(case("a", "b c"), Ok(("a".to_owned(), "b c".to_owned())));
        assert!(case("", "b").is_err() && case("a", "").is_err() && case("a", "b\0").is_err());
        assert!(case_name_from_wire(None).is_err());
        assert!(project_from_wire("demo").is_ok() && project_from_wire("").is_err());
    }

    #[test]
    fn tallies_round_trip_and_add_up() {
        let tally = Tally {
            planned: 21,
            passed: 1,
            reused: 2,
            flaky: 3,
            failed: 4,
            quarantined: 5,
            not_run: 6,
        };
        assert_eq!(tally_from_wire(Some(tally_to_wire(&tally))), Ok(tally));
        let too_many = v1::Tally {
            passed: u32::MAX,
            failed: u32::MAX,
            ..Default::default()
        };
        assert!(tally_from_wire(Some(too_many)).is_err());
        assert!(tally_from_wire(None).is_err());
    }

    #[test]
    fn a_rate_is_a_share() {
        assert_eq!(rate_from_wire("flake_rate", 0.15), Ok(0.15));
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(rate_from_wire("flake_rate", bad).is_err());
        }
    }
}
