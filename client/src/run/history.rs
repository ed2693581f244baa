//! `thresh history`: past outcomes and durations.

use std::io::{self, Write};

use serde::Serialize;
use thresh_core::time::Timestamp;
use thresh_proto::convert::{duration_or_zero, outcome_from_wire, run_id_from_wire};
use thresh_proto::v1;
use tonic::transport::Channel;

use super::error::RunError;
use super::session::Session;
use crate::report::one_line;

/// Which past is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Whose.
    pub project: String,
    /// Parts of case names or binary ids; empty: all.
    pub patterns: Vec<String>,
    /// Outcomes per case at most; 0: only the summary.
    pub outcomes_max: u32,
}

/// The past of one case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CasePast {
    /// nextest's binary id.
    pub binary_id: String,
    /// The case.
    pub name: String,
    /// How long it is thought to take, in seconds.
    pub estimate_seconds: f64,
    /// How often it ran.
    pub runs: u32,
    /// How often it failed.
    pub failures: u32,
    /// Its last attempts, newest first.
    pub outcomes: Vec<PastAttempt>,
}

/// One past attempt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PastAttempt {
    /// The run.
    pub run_id: String,
    /// When, in seconds since the Unix epoch.
    pub at: f64,
    /// Where.
    pub worker: String,
    /// From 1.
    pub attempt: u32,
    /// How it ended, in words.
    pub outcome: String,
    /// Whether that was a success.
    pub passes: bool,
    /// For how long it ran.
    pub seconds: f64,
}

/// Asks for the past.
///
/// # Errors
/// The coordinator cannot be reached, or refuses.
pub async fn history(channel: Channel, query: HistoryQuery) -> Result<Vec<CasePast>, RunError> {
    let mut session = Session::hello(channel).await?;
    let HistoryQuery {
        project,
        patterns,
        outcomes_max,
    } = query;
    let reply = session
        .history(v1::HistoryRequest {
            project,
            patterns,
            outcomes_max,
        })
        .await?;
    reply.cases.into_iter().map(case_past).collect()
}

fn case_past(case: v1::CaseHistory) -> Result<CasePast, RunError> {
    let outcomes = case
        .outcomes
        .into_iter()
        .map(past_attempt)
        .collect::<Result<_, _>>()?;
    Ok(CasePast {
        binary_id: case.binary_id,
        name: case.name,
        estimate_seconds: duration_or_zero(case.estimate).as_secs_f64(),
        runs: case.runs,
        failures: case.failures,
        outcomes,
    })
}

fn past_attempt(past: v1::PastOutcome) -> Result<PastAttempt, RunError> {
    let outcome = outcome_from_wire(past.outcome.as_ref())?;
    Ok(PastAttempt {
        run_id: run_id_from_wire(&past.run_id)?.to_string(),
        at: Timestamp::from_micros(past.at_micros).as_micros() as f64 / 1e6,
        worker: past.worker,
        attempt: past.attempt,
        outcome: outcome.to_string(),
        passes: outcome.passes(),
        seconds: duration_or_zero(past.took).as_secs_f64(),
    })
}

/// Writes the past for people.
///
/// # Errors
/// `sink` cannot be written to.
pub fn write_history(sink: &mut impl Write, cases: &[CasePast]) -> io::Result<()> {
    for case in cases {
        let CasePast {
            binary_id,
            name,
            runs,
            failures,
            estimate_seconds,
            outcomes,
        } = case;
        let name = one_line(name);
        writeln!(
            sink,
            "[{estimate_seconds:>8.3}s] {binary_id} {name}: {runs} runs, {failures} failed"
        )?;
        for past in outcomes {
            let when = chrono::DateTime::from_timestamp_micros((past.at * 1e6) as i64).unwrap_or_default();
            writeln!(
                sink,
                "    {} [{:>8.3}s] {} (attempt {}, {}, run {})",
                when.format("%Y-%m-%d %H:%M:%S UTC"),
                past.seconds,
                one_line(&past.outcome),
                past.attempt,
                past.worker,
                past.run_id
            )?;
        }
    }
    Ok(())
}
