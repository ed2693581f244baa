//! `thresh history`: past outcomes and durations.

use std::io::{self, Write};

use serde::Serialize;
use thresh_core::time::Timestamp;
use thresh_proto::convert::{duration_or_zero, outcome_from_wire, rate_from_wire, run_id_from_wire};
use thresh_proto::v1;
use tonic::transport::Channel;

use super::error::RunError;
use super::session::Session;
use crate::report::{counted, one_line};

/// Over how many runs a flake rate is taken, at most.
const FLAKE_RATE_RUNS: u32 = 20;

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
    /// In how many runs it both failed and passed.
    pub flaky_runs: u32,
    /// The share of such runs among the last 20 in which it was tried, from 0 to 1.
    pub flake_rate: f64,
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
        flaky_runs: case.flaky_runs,
        flake_rate: rate_from_wire("flake_rate", case.flake_rate)?,
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
            ..
        } = case;
        let flakiness = flakiness(case);
        let attempts = counted(*runs as usize, "attempt");
        let name = one_line(name);
        writeln!(
            sink,
            "[{estimate_seconds:>8.3}s] {binary_id} {name}: {attempts}, {failures} failed{flakiness}"
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

/// How often a case was flaky, as a clause; nothing if it never was.
fn flakiness(case: &CasePast) -> String {
    if case.flaky_runs == 0 {
        return String::new();
    }
    // A case that was tried fewer times than the rate looks back was not in more runs either.
    let of = if case.runs < FLAKE_RATE_RUNS {
        "all"
    } else {
        "the last 20"
    };
    let runs = counted(case.flaky_runs as usize, "run");
    format!(", flaky in {runs} ({:.0} % of {of})", case.flake_rate * 100.0)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use thresh_core::outcome::Outcome;
    use thresh_proto::convert::outcome_to_wire;
    use thresh_proto::testing::fuzz;

    use super::*;

    fn case(runs: u32, flaky_runs: u32, flake_rate: f64) -> CasePast {
        CasePast {
            binary_id: "demo::it".into(),
            name: "flaky".into(),
            estimate_seconds: 0.5,
            runs,
            failures: 4,
            flaky_runs,
            flake_rate,
            outcomes: vec![],
        }
    }

    #[test]
    fn flakiness_is_told_where_there_is_some() {
        let mut out = Vec::new();
        write_history(
            &mut out,
            &[
                case(40, 3, 0.15),
                case(5, 1, 0.25),
                case(99, 2, 0.0),
                case(9, 0, 0.0),
            ],
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        let ends: Vec<&str> = text
            .lines()
            .map(|line| line.split_once("failed").unwrap().1)
            .collect();
        assert_eq!(
            ends,
            [
                ", flaky in 3 runs (15 % of the last 20)",
                ", flaky in 1 run (25 % of all)",
                ", flaky in 2 runs (0 % of the last 20)",
                "",
            ]
        );
    }

    #[test]
    fn the_past_off_the_wire_can_be_shown_or_is_refused() {
        let outcome = v1::PastOutcome {
            run_id: vec![7; 16].into(),
            worker: "worker".into(),
            attempt: 1,
            outcome: Some(outcome_to_wire(&Outcome::Lost)),
            at_micros: 1_800_000_000_000_000,
            took: Some(v1::Duration { micros: 1_500_000 }),
        };
        let wire = v1::CaseHistory {
            binary_id: "demo::it".into(),
            name: "flaky".into(),
            estimate: Some(v1::Duration { micros: 500_000 }),
            runs: 40,
            failures: 4,
            flaky_runs: 3,
            flake_rate: 0.15,
            outcomes: vec![outcome],
        };
        let read = |bytes: &[u8]| case_past(v1::CaseHistory::decode(bytes).ok()?).ok();
        let valid = wire.encode_to_vec();
        assert_eq!(read(&valid).map(|past| past.outcomes.len()), Some(1));
        fuzz(2_000, &valid, |bytes| {
            if let Some(past) = read(bytes) {
                assert!((0.0..=1.0).contains(&past.flake_rate));
                write_history(&mut Vec::new(), &[past]).unwrap();
            }
        });
    }
}
