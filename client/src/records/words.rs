//! Times for people.

use std::time::Duration;

use thresh_core::time::Timestamp;

use crate::report::counted;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A point in time, to the minute.
pub(super) fn moment(at: Timestamp) -> String {
    format_time(at, "%Y-%m-%d %H:%M UTC")
}

/// A point in time, to the second.
pub(super) fn second(at: Timestamp) -> String {
    format_time(at, "%Y-%m-%d %H:%M:%S UTC")
}

fn format_time(at: Timestamp, format: &str) -> String {
    let micros = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
    chrono::DateTime::from_timestamp_micros(micros)
        .unwrap_or_default()
        .format(format)
        .to_string()
}

/// A length of time in its largest unit, rounded down.
pub(super) fn roughly(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (count, unit) = match secs {
        0..MINUTE => (secs, "second"),
        MINUTE..HOUR => (secs / MINUTE, "minute"),
        HOUR..DAY => (secs / HOUR, "hour"),
        _ => (secs / DAY, "day"),
    };
    counted(usize::try_from(count).unwrap_or(usize::MAX), unit)
}

/// Seconds since the Unix epoch, for machines.
pub(super) fn epoch_seconds(at: Timestamp) -> f64 {
    at.as_micros() as f64 / 1e6
}

/// Seconds, for machines: whole microseconds, so that 0.1 s does not become 0.10000000000000001.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_unit() {
        let words = |secs| roughly(Duration::from_secs(secs));
        assert_eq!(
            [words(0), words(1), words(59)],
            ["0 seconds", "1 second", "59 seconds"]
        );
        assert_eq!(
            [words(60), words(3_599), words(7_200)],
            ["1 minute", "59 minutes", "2 hours"]
        );
        assert_eq!([words(86_400), words(20 * 86_400)], ["1 day", "20 days"]);
    }

    #[test]
    fn any_time_can_be_shown() {
        assert_eq!(
            moment(Timestamp::from_micros(1_800_000_000_000_000)),
            "2027-01-15 08:00 UTC"
        );
        assert_eq!(second(Timestamp::from_micros(0)), "1970-01-01 00:00:00 UTC");
        moment(Timestamp::from_micros(u64::MAX));
    }
}
