//! `--plan`: what would be run, reused, and how long it may take. Nothing runs.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use thresh_proto::convert::duration_or_zero;
use tonic::transport::Channel;

use super::error::RunError;
use super::prepare::Prepared;
use super::session::Session;
use crate::report::{Floor, one_line};

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunPlan {
    /// Every selected case, longest first, those that would be reused last.
    pub cases: Vec<PlannedCase>,
    /// Slots that are there now.
    pub slots: u32,
    /// Cases that the selection left out.
    pub skipped: usize,
    /// The time below which no schedule can come, in seconds.
    pub floor_seconds: f64,
}

/// What would become of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedCase {
    /// nextest's binary id.
    pub binary_id: String,
    /// The case.
    pub name: String,
    /// A stored pass would stand for it.
    pub reused: bool,
    /// How long it may take, in seconds; none without any history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate_seconds: Option<f64>,
    /// Where the estimate comes from: case, binary, package, suite, or none.
    pub estimate_source: String,
}

impl Prepared {
    /// Builds, lists and looks up what is known of the cases; runs and ships nothing.
    ///
    /// # Errors
    /// The suite cannot be made, or the coordinator refuses.
    pub async fn plan(self, channel: Channel) -> Result<RunPlan, RunError> {
        let mut session = Session::hello(channel).await?;
        let (prepared, ready) = self.ready(&mut session).await?;
        let suite = &ready.loaded.suite;
        let reply = session.plan(prepared.submission(&ready).messages()).await?;
        let mut cases = Vec::with_capacity(reply.cases.len());
        let mut load = Vec::new();
        for planned in reply.cases {
            let Some(case) = suite.cases.get(planned.case as usize) else {
                continue;
            };
            let estimate = planned.estimate.map(|estimate| duration_or_zero(Some(estimate)));
            if !planned.reused {
                load.push((estimate.unwrap_or_default(), 1));
            }
            cases.push(PlannedCase {
                binary_id: suite.binaries[case.binary].id.clone(),
                name: case.name.clone(),
                reused: planned.reused,
                estimate_seconds: estimate.map(|estimate| estimate.as_secs_f64()),
                estimate_source: planned.estimate_source,
            });
        }
        let longest_first = |case: &PlannedCase| (case.reused, -case.estimate_seconds.unwrap_or(f64::MAX));
        cases.sort_by(|a, b| {
            let ((a_reused, a_time), (b_reused, b_time)) = (longest_first(a), longest_first(b));
            a_reused.cmp(&b_reused).then(a_time.total_cmp(&b_time))
        });
        let floor_seconds = Floor::of(load, reply.slots, Duration::ZERO).time.as_secs_f64();
        Ok(RunPlan {
            cases,
            slots: reply.slots,
            skipped: suite.skipped.len(),
            floor_seconds,
        })
    }
}

impl RunPlan {
    /// Writes the plan for people.
    ///
    /// # Errors
    /// `sink` cannot be written to.
    pub fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        for case in &self.cases {
            let (word, name) = (if case.reused { "REUSE" } else { "RUN" }, one_line(&case.name));
            let estimate = match case.estimate_seconds {
                _ if case.reused => " ".repeat(9),
                Some(seconds) => format!("{seconds:>8.3}s"),
                None => format!("{:>9}", "unknown"),
            };
            writeln!(sink, "{word:>12} [{estimate}] {} {name}", case.binary_id)?;
        }
        let reused = self.cases.iter().filter(|case| case.reused).count();
        writeln!(
            sink,
            "{:>12} {} to run, {reused} reused, {} skipped; {} slots; about {:.3} s",
            "Plan",
            self.cases.len() - reused,
            self.skipped,
            self.slots,
            self.floor_seconds
        )
    }
}
