//! What audits found.

use serde::{Serialize, Serializer};
use thresh_core::id::RunId;
use thresh_core::outcome::Outcome;
use thresh_core::time::Timestamp;
use thresh_proto::convert::{InvalidMessage, outcome_from_wire, past_run_from_wire, run_id_from_wire};
use thresh_proto::v1;

use super::super::case_ref::CaseRef;
use super::super::words::epoch_seconds;
use crate::report::Captured;

/// What audits of a project found, as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AuditReport {
    /// How often they found what.
    #[serde(flatten)]
    pub counts: AuditCounts,
    /// Those that keep a case from being reused first, then the latest first.
    pub disagreements: Vec<Disagreement>,
}

/// How often audits found what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditCounts {
    /// All.
    pub audited: u64,
    /// The case passed cleanly again.
    pub agreed: u64,
    /// It passed, but not cleanly, which says nothing certain.
    pub flaky: u64,
    /// It did not pass.
    pub disagreed: u64,
}

/// A case did not pass, though a pass is stored under its key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// The case.
    #[serde(flatten)]
    pub case: CaseRef,
    /// The run in which it did not pass.
    #[serde(serialize_with = "as_text")]
    pub run_id: RunId,
    /// When.
    #[serde(serialize_with = "as_seconds")]
    pub at: Timestamp,
    /// The run of the pass; none where it is not known.
    #[serde(serialize_with = "as_text_if_any", skip_serializing_if = "Option::is_none")]
    pub past_run: Option<RunId>,
    /// How its last attempt ended.
    #[serde(serialize_with = "as_text")]
    pub outcome: Outcome,
    /// What that wrote, its beginning and its end; empty with all but the latest disagreements.
    #[serde(serialize_with = "as_output")]
    pub stdout: Captured,
    /// The same of the other stream.
    #[serde(serialize_with = "as_output")]
    pub stderr: Captured,
    /// When somebody let the case be reused again; nobody has where there is none.
    #[serde(serialize_with = "as_seconds_if_any", skip_serializing_if = "Option::is_none")]
    pub trusted_at: Option<Timestamp>,
}

/// A case that is reused again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trusted {
    /// The case.
    #[serde(flatten)]
    pub case: CaseRef,
}

impl AuditReport {
    pub(super) fn from_wire(parts: Vec<v1::AuditReportPart>) -> Result<Self, InvalidMessage> {
        let mut report = Self::default();
        for part in parts {
            if let Some(counts) = part.counts {
                report.counts = AuditCounts {
                    audited: counts.audited,
                    agreed: counts.agreed,
                    flaky: counts.flaky,
                    disagreed: counts.disagreed,
                };
            }
            for disagreement in part.disagreements {
                report.disagreements.push(Disagreement::from_wire(disagreement)?);
            }
        }
        Ok(report)
    }

    /// The cases that are not reused, by name.
    pub(super) fn distrusted(&self) -> Vec<CaseRef> {
        let open = self.disagreements.iter().filter(|entry| entry.is_open());
        let mut cases: Vec<CaseRef> = open.map(|entry| entry.case.clone()).collect();
        cases.sort_unstable();
        cases.dedup();
        cases
    }
}

impl Disagreement {
    fn from_wire(disagreement: v1::AuditDisagreement) -> Result<Self, InvalidMessage> {
        let (stdout, stderr) = Captured::of_output(disagreement.output);
        let trusted = Some(disagreement.trusted_micros).filter(|micros| *micros > 0);
        Ok(Self {
            case: CaseRef::from_wire(disagreement.case),
            run_id: run_id_from_wire(&disagreement.run_id)?,
            at: Timestamp::from_micros(disagreement.at_micros),
            past_run: past_run_from_wire(&disagreement.past_run)?,
            outcome: outcome_from_wire(disagreement.outcome.as_ref())?,
            stdout,
            stderr,
            trusted_at: trusted.map(Timestamp::from_micros),
        })
    }

    /// Whether it keeps its case from being reused.
    pub fn is_open(&self) -> bool {
        self.trusted_at.is_none()
    }
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn as_text_if_any<S: Serializer>(value: &Option<RunId>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => as_text(value, serializer),
        None => serializer.serialize_none(),
    }
}

fn as_seconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(epoch_seconds(*at))
}

fn as_seconds_if_any<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => as_seconds(at, serializer),
        None => serializer.serialize_none(),
    }
}

fn as_output<S: Serializer>(captured: &Captured, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&captured.text())
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use thresh_proto::testing::fuzz;

    use super::*;

    fn wire(name: &str, trusted_micros: u64) -> v1::AuditDisagreement {
        v1::AuditDisagreement {
            case: CaseRef::in_full(name).map(|case| case.to_wire()),
            run_id: vec![7; 16].into(),
            at_micros: 1_500_000,
            outcome: Some(v1::Outcome {
                kind: v1::outcome::Kind::Failed.into(),
                code: 101,
                ..Default::default()
            }),
            trusted_micros,
            ..Default::default()
        }
    }

    #[test]
    fn parts_are_put_together_and_each_distrusted_case_is_named_once() {
        let counts = v1::AuditCounts {
            audited: 9,
            disagreed: 3,
            ..Default::default()
        };
        let parts = vec![
            v1::AuditReportPart {
                counts: Some(counts),
                disagreements: vec![wire("b two", 0), wire("a one", 0)],
            },
            v1::AuditReportPart {
                counts: None,
                disagreements: vec![wire("b two", 0), wire("c three", 2_000_000)],
            },
        ];
        let report = AuditReport::from_wire(parts).unwrap();
        assert_eq!((report.counts.audited, report.counts.disagreed), (9, 3));
        assert_eq!(report.disagreements.len(), 4);
        let distrusted: Vec<String> = report.distrusted().iter().map(CaseRef::to_string).collect();
        assert_eq!(distrusted, ["a one", "b two"]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["audited"], 9);
        let last = &json["disagreements"][3];
        assert_eq!(
            (&last["name"], &last["outcome"], &last["at"]),
            (&"three".into(), &"failed with exit code 101".into(), &1.5.into())
        );
        assert_eq!((&last["trusted_at"], last.get("past_run")), (&2.0.into(), None));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let part = |disagreement| {
            vec![v1::AuditReportPart {
                counts: None,
                disagreements: vec![disagreement],
            }]
        };
        let mut short = wire("a b", 0);
        short.past_run = b"short"[..].into();
        assert!(AuditReport::from_wire(part(short)).is_err());
        let mut without = wire("a b", 0);
        without.outcome = None;
        assert!(AuditReport::from_wire(part(without)).is_err());
    }

    #[test]
    fn what_audits_found_can_be_shown_or_is_refused() {
        let part = v1::AuditReportPart {
            counts: Some(v1::AuditCounts {
                audited: 9,
                disagreed: 3,
                ..Default::default()
            }),
            disagreements: vec![wire("b two", 0), wire("c three", 2_000_000)],
        };
        let read = |bytes: &[u8]| {
            let part = v1::AuditReportPart::decode(bytes).ok()?;
            AuditReport::from_wire(vec![part]).ok()
        };
        let valid = part.encode_to_vec();
        assert_eq!(read(&valid).map(|report| report.disagreements.len()), Some(2));
        fuzz(2_000, &valid, |bytes| {
            if let Some(report) = read(bytes) {
                let open = report.disagreements.iter().filter(|entry| entry.is_open());
                let distrusted = report.distrusted();
                assert!(open.clone().all(|entry| distrusted.contains(&entry.case)));
                assert!(distrusted.len() <= open.count());
                serde_json::to_value(&report).unwrap();
            }
        });
    }
}
