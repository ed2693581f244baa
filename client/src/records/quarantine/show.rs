//! Quarantines for people.

use std::io::{self, Write};

use super::super::words::{moment, roughly};
use super::entry::{Added, Expired, QuarantineList, QuarantineState};
use crate::report::one_line;

/// Writes the list for people.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_quarantine(sink: &mut impl Write, list: &QuarantineList) -> io::Result<()> {
    for entry in &list.cases {
        let (head, time) = match entry.state {
            QuarantineState::Active => ("ACTIVE", format!("{} left", roughly(entry.until.since(list.now)))),
            QuarantineState::Ending => (
                "ENDS SOON",
                format!("only {} left", roughly(entry.until.since(list.now))),
            ),
            QuarantineState::Expired => ("EXPIRED", format!("{} ago", roughly(list.now.since(entry.until)))),
        };
        writeln!(sink, "{head:>12} {}", entry.case)?;
        let reason = match &*entry.reason {
            "" => String::new(),
            reason => format!(": {}", one_line(reason)),
        };
        let owner = one_line(&entry.owner);
        let (since, until) = (moment(entry.since), moment(entry.until));
        writeln!(
            sink,
            "{:>12} until {until} ({time}), owner {owner}, since {since}{reason}",
            ""
        )?;
    }
    Ok(())
}

/// Writes what was put into quarantine.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_added(sink: &mut impl Write, added: &[Added]) -> io::Result<()> {
    for entry in added {
        let head = if entry.renewed { "RENEWED" } else { "QUARANTINED" };
        let unseen = if entry.seen {
            ""
        } else {
            " (history has not seen it yet)"
        };
        writeln!(
            sink,
            "{head:>12} {}{unseen}: until {}, owner {}",
            entry.case,
            moment(entry.until),
            one_line(&entry.owner)
        )?;
    }
    Ok(())
}

/// Writes what was let out of quarantine.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_expired(sink: &mut impl Write, expired: &[Expired]) -> io::Result<()> {
    for entry in expired {
        let what = if entry.already {
            "had expired before"
        } else {
            "counts again"
        };
        writeln!(sink, "{:>12} {}: {what}", "EXPIRED", entry.case)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use thresh_core::time::Timestamp;

    use super::super::super::case_ref::CaseRef;
    use super::super::entry::Quarantine;
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn hours(count: u64) -> Duration {
        Duration::from_secs(count * 60 * 60)
    }

    fn entry(name: &str, until: Timestamp, state: QuarantineState) -> Quarantine {
        Quarantine {
            case: CaseRef::in_full(name).unwrap(),
            owner: "alice".into(),
            reason: if state == QuarantineState::Active {
                String::new()
            } else {
                "port\nclash".into()
            },
            since: Timestamp::from_micros(1_799_000_000_000_000),
            until,
            state,
        }
    }

    #[test]
    fn a_list_says_how_each_stands() {
        let list = QuarantineList {
            cases: vec![
                entry("demo::it slow", NOW.after(hours(50)), QuarantineState::Ending),
                entry(
                    "demo::it flaky",
                    NOW.after(hours(24 * 31)),
                    QuarantineState::Active,
                ),
                entry(
                    "demo old\nname",
                    Timestamp::from_micros(1_799_700_000_000_000),
                    QuarantineState::Expired,
                ),
            ],
            now: NOW,
        };
        let mut out = Vec::new();
        write_quarantine(&mut out, &list).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            include_str!("../golden/quarantine.txt")
        );
    }

    #[test]
    fn what_was_changed_is_said() {
        let case = CaseRef::in_full("demo::it flaky").unwrap();
        let added = |renewed, seen| Added {
            case: case.clone(),
            owner: "alice".into(),
            until: NOW,
            renewed,
            seen,
        };
        let expired = |already| Expired {
            case: case.clone(),
            already,
        };
        let mut out = Vec::new();
        write_added(
            &mut out,
            &[added(false, true), added(true, true), added(false, false)],
        )
        .unwrap();
        write_expired(&mut out, &[expired(false), expired(true)]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "QUARANTINED demo::it flaky: until 2027-01-15 08:00 UTC, owner alice",
                "RENEWED demo::it flaky: until 2027-01-15 08:00 UTC, owner alice",
                "QUARANTINED demo::it flaky (history has not seen it yet): until 2027-01-15 08:00 UTC, owner alice",
                "EXPIRED demo::it flaky: counts again",
                "EXPIRED demo::it flaky: had expired before",
            ]
        );
    }
}
