//! A case in quarantine, or one that was lately.

use std::time::Duration;

use serde::{Serialize, Serializer};
use thresh_core::time::Timestamp;
use thresh_proto::v1;

use super::super::case_ref::CaseRef;
use super::super::words::epoch_seconds;

/// A quarantine that ends within this time should be looked at.
const SOON: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// A case that may fail without failing its run, or might until lately.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quarantine {
    /// The case.
    #[serde(flatten)]
    pub case: CaseRef,
    /// Who sees to it.
    pub owner: String,
    /// Why it is here, or nothing.
    pub reason: String,
    /// When it was put here.
    #[serde(serialize_with = "as_seconds")]
    pub since: Timestamp,
    /// When it counts again.
    #[serde(serialize_with = "as_seconds")]
    pub until: Timestamp,
    /// How it stands.
    pub state: QuarantineState,
}

/// How a quarantine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineState {
    /// The case cannot fail its run.
    Active,
    /// Nor here, but that ends within three days.
    Ending,
    /// The case counts again.
    Expired,
}

impl QuarantineState {
    fn of(until: Timestamp, now: Timestamp) -> Self {
        if until <= now {
            Self::Expired
        } else if until.since(now) <= SOON {
            Self::Ending
        } else {
            Self::Active
        }
    }
}

/// All quarantines of a project.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantineList {
    /// Those that end first come first, then those that have expired, the latest first.
    pub cases: Vec<Quarantine>,
    /// The coordinator's time.
    pub now: Timestamp,
}

impl QuarantineList {
    pub(super) fn from_wire(reply: v1::ListQuarantineReply) -> Self {
        let now = Timestamp::from_micros(reply.now_micros);
        let mut cases: Vec<Quarantine> = reply
            .cases
            .into_iter()
            .map(|entry| {
                let until = Timestamp::from_micros(entry.until_micros);
                Quarantine {
                    case: CaseRef::from_wire(entry.case),
                    owner: entry.owner,
                    reason: entry.reason,
                    since: Timestamp::from_micros(entry.since_micros),
                    until,
                    state: QuarantineState::of(until, now),
                }
            })
            .collect();
        cases.sort_by_key(|entry| {
            let expired = entry.state == QuarantineState::Expired;
            let until = entry.until.as_micros();
            (expired, if expired { u64::MAX - until } else { until })
        });
        Self { cases, now }
    }
}

/// A case that was put into quarantine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Added {
    /// The case.
    #[serde(flatten)]
    pub case: CaseRef,
    /// Who sees to it.
    pub owner: String,
    /// When it counts again.
    #[serde(serialize_with = "as_seconds")]
    pub until: Timestamp,
    /// Whether that replaces what was said of it before.
    pub renewed: bool,
    /// Whether history knows the case.
    pub seen: bool,
}

/// A case that was let out of quarantine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expired {
    /// The case.
    #[serde(flatten)]
    pub case: CaseRef,
    /// Whether it counted already.
    pub already: bool,
}

fn as_seconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(epoch_seconds(*at))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use thresh_proto::testing::fuzz;

    use super::*;

    #[test]
    fn a_quarantine_counts_to_its_end_and_those_that_end_first_come_first() {
        let hours = |count: u64| Timestamp::from_micros(count * 3_600_000_000);
        let entry = |name: &str, until: u64| v1::QuarantinedCase {
            case: CaseRef::in_full(&format!("b {name}")).map(|case| case.to_wire()),
            until_micros: hours(until).as_micros(),
            ..Default::default()
        };
        let list = QuarantineList::from_wire(v1::ListQuarantineReply {
            cases: vec![
                entry("now", 100),
                entry("month", 820),
                entry("past", 10),
                entry("tomorrow", 124),
            ],
            now_micros: hours(100).as_micros(),
        });
        let told: Vec<_> = list
            .cases
            .iter()
            .map(|entry| (&*entry.case.name, entry.state))
            .collect();
        use QuarantineState::{Active, Ending, Expired};
        assert_eq!(
            told,
            [
                ("tomorrow", Ending),
                ("month", Active),
                ("now", Expired),
                ("past", Expired)
            ]
        );
    }

    #[test]
    fn a_list_off_the_wire_is_in_order_whatever_it_says() {
        let entry = |name: &str, until_micros| v1::QuarantinedCase {
            case: CaseRef::in_full(name).map(|case| case.to_wire()),
            owner: "alice".into(),
            reason: "flaky".into(),
            since_micros: 1_000,
            until_micros,
        };
        let reply = v1::ListQuarantineReply {
            cases: vec![
                entry("a one", 2_000),
                entry("b two", 4_000),
                entry("c three", 9_000),
            ],
            now_micros: 3_000,
        };
        let read = |bytes: &[u8]| {
            Some(QuarantineList::from_wire(
                v1::ListQuarantineReply::decode(bytes).ok()?,
            ))
        };
        let valid = reply.encode_to_vec();
        assert_eq!(read(&valid).map(|list| list.cases.len()), Some(3));
        fuzz(2_000, &valid, |bytes| {
            if let Some(list) = read(bytes) {
                let is_over = |entry: &Quarantine| entry.state == QuarantineState::Expired;
                assert!(
                    list.cases
                        .iter()
                        .all(|entry| is_over(entry) == (entry.until <= list.now))
                );
                assert!(list.cases.is_sorted_by_key(is_over));
                serde_json::to_value(&list.cases).unwrap();
            }
        });
    }
}
