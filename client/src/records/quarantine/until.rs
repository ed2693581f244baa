//! The end of a quarantine, as users give it.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime};
use thresh_core::time::Timestamp;
use thresh_proto::convert::QUARANTINE_MAX;

use super::error::QuarantineError;

/// When a quarantine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At a point in time; a day begins at midnight UTC.
    At(Timestamp),
    /// After a length of time.
    After(Duration),
}

impl Until {
    /// Returns when that is, at most [`QUARANTINE_MAX`] from now.
    ///
    /// # Errors
    /// When it is too far away, or not in the future.
    pub fn at(self, now: Timestamp) -> Result<Timestamp, QuarantineError> {
        let until = match self {
            Self::At(at) => at,
            Self::After(duration) => now.after(duration),
        };
        if until <= now {
            return Err(QuarantineError::Past { until });
        }
        if until.since(now) > QUARANTINE_MAX {
            return Err(QuarantineError::TooLong { until });
        }
        Ok(until)
    }
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let micros = |micros: i64| {
            let micros = u64::try_from(micros).map_err(|_| format!("`{text}` is before 1970"))?;
            Ok(Self::At(Timestamp::from_micros(micros)))
        };
        if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            return micros(day.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
        }
        if let Ok(at) = DateTime::parse_from_rfc3339(text) {
            return micros(at.timestamp_micros());
        }
        humantime::parse_duration(text).map(Self::After).map_err(|_| {
            "expected a day like 2026-12-24 (it ends when that day begins, UTC), a time like \
             2026-12-24T18:00:00Z, or a length of time from now like 14d"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn days_times_and_lengths_are_understood() {
        let at = |micros| Ok(Until::At(Timestamp::from_micros(micros)));
        assert_eq!("2027-01-15".parse(), at(1_799_971_200_000_000));
        assert_eq!("2027-01-15T08:00:00Z".parse(), at(1_800_000_000_000_000));
        assert_eq!("2027-01-15T09:00:00+01:00".parse(), at(1_800_000_000_000_000));
        assert_eq!("14d".parse(), Ok(Until::After(14 * DAY)));
        assert_eq!("2weeks".parse(), Ok(Until::After(14 * DAY)));
        for bad in ["", "soon", "14", "2026-13-01", "1969-12-31", "-3d"] {
            assert!(bad.parse::<Until>().is_err(), "{bad}");
        }
    }

    #[test]
    fn it_ends_in_the_future_but_not_far() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        assert_eq!(Until::After(DAY).at(now).ok(), Some(now.after(DAY)));
        assert!(Until::After(90 * DAY).at(now).is_ok());
        let far = Until::After(91 * DAY).at(now).unwrap_err();
        assert!(far.to_string().contains("until 2027-04-16 08:00 UTC"), "{far}");
        assert!(far.to_string().contains("90 days"), "{far}");
        let past = Until::At(now).at(now).unwrap_err();
        assert!(past.to_string().contains("not in the future"), "{past}");
        assert!(Until::After(Duration::ZERO).at(now).is_err());
        assert!(Until::After(Duration::MAX).at(now).is_err());
    }
}
