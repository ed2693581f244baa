//! Runs that have ended.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use serde::ser::Serializer;
use thresh_core::id::RunId;
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;
use thresh_core::verdict::{Tally, Verdict};
use thresh_proto::convert::{
    InvalidMessage, duration_or_zero, run_id_from_wire, stop_reason_from_wire, tally_from_wire,
};
use thresh_proto::v1;
use tonic::transport::Channel;

use super::super::session::RecordsSession;
use super::super::words::{epoch_seconds, second, seconds};
use super::error::ReplayError;
use crate::report::{counts, one_line, reason_clause, reason_word};

/// Among how many runs the beginning of an id is looked for.
pub(super) const RUNS_SEARCHED: u32 = 10_000;

/// A run that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PastRun {
    /// The run.
    pub run: RunId,
    /// Whose history it joined.
    pub project: String,
    /// The arguments with which it was started.
    pub title: String,
    /// When it was submitted.
    pub started: Timestamp,
    /// From the first grant to the last outcome.
    pub took: Duration,
    /// Why it ended.
    pub reason: StopReason,
    /// Its cases by status.
    pub tally: Tally,
}

impl Default for PastRun {
    fn default() -> Self {
        Self {
            run: RunId::from_u128(0),
            project: String::new(),
            title: String::new(),
            started: Timestamp::default(),
            took: Duration::ZERO,
            reason: StopReason::Complete,
            tally: Tally::default(),
        }
    }
}

impl PastRun {
    /// What was decided over it.
    pub fn verdict(&self) -> Verdict {
        self.tally.verdict()
    }

    pub(super) fn from_wire(run: v1::PastRun) -> Result<Self, InvalidMessage> {
        Ok(Self {
            run: run_id_from_wire(&run.run_id)?,
            started: Timestamp::from_micros(run.started_micros),
            took: duration_or_zero(run.took),
            reason: stop_reason_from_wire(run.reason)?,
            tally: tally_from_wire(run.tally)?,
            project: run.project,
            title: run.title,
        })
    }

    /// Its verdict, and why it ended where that says more.
    pub(super) fn judgement(&self) -> String {
        match self.reason {
            StopReason::Complete => self.verdict().to_string(),
            reason => format!("{}, because {}", self.verdict(), reason_clause(reason)),
        }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    run_id: String,
    project: &'a str,
    title: &'a str,
    started: f64,
    seconds: f64,
    verdict: String,
    reason: &'static str,
    planned: u32,
    reported: u32,
    passed: u32,
    flaky: u32,
    failed: u32,
    quarantined: u32,
    reused: u32,
    not_run: u32,
}

impl Serialize for PastRun {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tally = &self.tally;
        let json = Json {
            run_id: self.run.to_string(),
            project: &self.project,
            title: &self.title,
            started: epoch_seconds(self.started),
            seconds: seconds(self.took),
            verdict: self.verdict().to_string(),
            reason: reason_word(self.reason),
            planned: tally.planned,
            reported: tally.reported(),
            passed: tally.passed,
            flaky: tally.flaky,
            failed: tally.failed,
            quarantined: tally.quarantined,
            reused: tally.reused,
            not_run: tally.not_run,
        };
        json.serialize(serializer)
    }
}

/// Returns the latest runs of a project that have ended, newest first.
///
/// # Errors
/// When the coordinator cannot be asked.
pub async fn latest_runs(
    channel: Channel,
    project: &str,
    runs_max: u32,
) -> Result<Vec<PastRun>, ReplayError> {
    let mut session = RecordsSession::open(channel).await?;
    fetch(&mut session, project, runs_max).await
}

pub(super) async fn fetch(
    session: &mut RecordsSession,
    project: &str,
    runs_max: u32,
) -> Result<Vec<PastRun>, ReplayError> {
    let runs = session.latest_runs(project, runs_max).await?;
    let runs = runs.into_iter().map(PastRun::from_wire).collect::<Result<_, _>>();
    Ok(runs.map_err(crate::run::RunError::from)?)
}

/// Writes runs for people.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_runs(sink: &mut impl Write, runs: &[PastRun]) -> io::Result<()> {
    for run in runs {
        writeln!(
            sink,
            "{}  {}  thresh {}",
            run.run,
            second(run.started),
            one_line(&run.title)
        )?;
        writeln!(
            sink,
            "    {} [{:>8.3}s] {}",
            run.judgement(),
            run.took.as_secs_f64(),
            counts(&run.tally)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use thresh_proto::testing::fuzz;

    use super::*;

    #[test]
    fn a_line_tells_what_a_run_came_to() {
        let good = PastRun {
            run: RunId::from_u128(7),
            title: "run --workspace".into(),
            started: Timestamp::from_micros(1_800_000_000_000_000),
            took: Duration::from_millis(1_500),
            tally: Tally {
                planned: 3,
                passed: 1,
                reused: 2,
                ..Tally::default()
            },
            ..PastRun::default()
        };
        let bad = PastRun {
            reason: StopReason::Cancelled,
            tally: Tally {
                planned: 1,
                not_run: 1,
                ..Tally::default()
            },
            ..good.clone()
        };
        let mut out = Vec::new();
        write_runs(&mut out, &[good.clone(), bad]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "00000000-0000-0000-0000-000000000007  2027-01-15 08:00:00 UTC  thresh run --workspace\n    \
             pass [   1.500s] 3 cases: 1 passed, 2 reused\n\
             00000000-0000-0000-0000-000000000007  2027-01-15 08:00:00 UTC  thresh run --workspace\n    \
             incomplete, because the run was cancelled [   1.500s] 1 case: 0 passed, 1 not run\n"
        );
        let json = serde_json::to_value(&good).unwrap();
        assert_eq!(
            (&json["verdict"], &json["seconds"]),
            (&"pass".into(), &1.5.into())
        );
    }

    #[test]
    fn a_run_off_the_wire_can_be_shown_or_is_refused() {
        let wire = v1::PastRun {
            run_id: vec![7; 16].into(),
            project: "project".into(),
            title: "run --workspace".into(),
            started_micros: 1_800_000_000_000_000,
            took: Some(v1::Duration { micros: 1_500_000 }),
            reason: v1::run_ended::Reason::MaxFail.into(),
            tally: Some(v1::Tally {
                planned: 3,
                passed: 2,
                failed: 1,
                ..Default::default()
            }),
        };
        let read = |bytes: &[u8]| PastRun::from_wire(v1::PastRun::decode(bytes).ok()?).ok();
        let valid = wire.encode_to_vec();
        assert_eq!(read(&valid).map(|run| run.tally.failed), Some(1));
        fuzz(2_000, &valid, |bytes| {
            if let Some(run) = read(bytes) {
                let mut out = Vec::new();
                write_runs(&mut out, std::slice::from_ref(&run)).unwrap();
                let text = String::from_utf8(out).unwrap();
                // Nothing that is told of one breaks its two lines.
                assert!(
                    text.starts_with(&run.run.to_string()) && text.lines().count() == 2,
                    "{text}"
                );
                serde_json::to_value(&run).unwrap();
            }
        });
    }
}
