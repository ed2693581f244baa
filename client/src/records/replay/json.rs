//! A replay for machines: one object. Times are in seconds after `origin`, which is in seconds since the Unix
//! epoch.

use serde::Serialize;
use serde::ser::Serializer;

use super::super::case_ref::CaseRef;
use super::super::words::{epoch_seconds, seconds};
use super::layout::share;
use super::past_run::PastRun;
use super::story::Replay;

#[derive(Serialize)]
struct Json<'a> {
    run_id: String,
    /// Absent while the run is going on.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a PastRun>,
    origin: f64,
    seconds: f64,
    busy_share: f64,
    /// Cases that were tried and of which no attempt is recorded any more.
    missing_cases: usize,
    workers: Vec<Worker<'a>>,
    attempts: Vec<Attempt<'a>>,
    hedges: Vec<Hedge>,
    idle: Vec<Idle<'a>>,
    critical_path: Vec<Step>,
}

#[derive(Serialize)]
struct Worker<'a> {
    worker: &'a str,
    slots_used: usize,
    busy_share: f64,
    attempts: usize,
}

/// Others refer to it by its position.
#[derive(Serialize)]
struct Attempt<'a> {
    #[serde(flatten)]
    case: &'a CaseRef,
    worker: &'a str,
    /// From 1; absent where the attempt was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<usize>,
    attempt: u32,
    outcome: String,
    passes: bool,
    started: f64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted: Option<f64>,
    why: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<u64>,
    /// The attempt that it followed from, and how.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<After>,
}

#[derive(Clone, Copy, Serialize)]
struct After {
    attempt: usize,
    kind: &'static str,
}

#[derive(Serialize)]
struct Hedge {
    first: usize,
    copy: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    winner: Option<usize>,
}

#[derive(Serialize)]
struct Idle<'a> {
    worker: &'a str,
    slot: usize,
    from: f64,
    seconds: f64,
    /// The attempt that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<usize>,
}

#[derive(Serialize)]
struct Step {
    attempt: usize,
    cause: &'static str,
    idle_seconds: f64,
}

impl Serialize for Replay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let workers = &self.layout.workers;
        let json = Json {
            run_id: self.timeline.run.to_string(),
            run: self.timeline.ended.as_ref(),
            origin: epoch_seconds(self.origin),
            seconds: seconds(self.span()),
            busy_share: share(self.layout.busy(), self.span(), self.layout.lanes()),
            missing_cases: self.missing,
            workers: workers
                .iter()
                .map(|worker| Worker {
                    worker: &worker.name,
                    slots_used: worker.lanes.len(),
                    busy_share: worker.busy_share(self.span()),
                    attempts: worker.attempts(),
                })
                .collect(),
            attempts: attempts(self),
            hedges: (self.hedges.iter())
                .map(|hedge| Hedge {
                    first: hedge.first,
                    copy: hedge.copy,
                    winner: hedge.winner,
                })
                .collect(),
            idle: (self.gaps.iter())
                .map(|gap| Idle {
                    worker: &workers[gap.worker].name,
                    slot: gap.lane + 1,
                    from: seconds(self.offset(gap.from)),
                    seconds: seconds(gap.length),
                    until: gap.before,
                })
                .collect(),
            critical_path: (self.path.iter())
                .map(|step| Step {
                    attempt: step.attempt,
                    cause: step.cause.word(),
                    idle_seconds: seconds(step.idle),
                })
                .collect(),
        };
        json.serialize(serializer)
    }
}

fn attempts(replay: &Replay) -> Vec<Attempt<'_>> {
    let recorded = &replay.timeline.attempts;
    let mut after = vec![None; recorded.len()];
    for link in &replay.links {
        after[link.to] = Some(After {
            attempt: link.from,
            kind: link.kind.word(),
        });
    }
    let json = recorded.iter().enumerate().map(|(at, attempt)| Attempt {
        case: &attempt.case,
        worker: &attempt.worker,
        slot: replay.layout.places[at].map(|place| place.lane + 1),
        attempt: attempt.number,
        outcome: attempt.outcome.to_string(),
        passes: attempt.outcome.passes(),
        started: seconds(replay.offset(attempt.started)),
        seconds: seconds(attempt.took),
        granted: attempt.granted.map(|granted| seconds(replay.offset(granted))),
        why: &attempt.why,
        lease: attempt.lease,
        after: after[at],
    });
    json.collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{eventful, timeline};
    use super::*;

    #[test]
    fn positions_refer_to_attempts() {
        let replay = Replay::of(eventful());
        let json = serde_json::to_value(&replay).unwrap();
        let attempts = json["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 9);
        assert_eq!(json["run"]["verdict"], "flaky");
        for hedge in json["hedges"].as_array().unwrap() {
            let at = |field: &str| usize::try_from(hedge[field].as_u64().unwrap()).unwrap();
            assert_eq!(attempts[at("copy")]["why"], "hedge");
            assert_eq!(attempts[at("copy")]["name"], attempts[at("first")]["name"]);
            assert_eq!(attempts[at("winner")]["outcome"], "passed");
        }
        let retry = attempts.iter().find(|attempt| attempt["why"] == "retry").unwrap();
        let from = usize::try_from(retry["after"]["attempt"].as_u64().unwrap()).unwrap();
        assert_eq!(attempts[from]["outcome"], "failed with exit code 101");
        assert_eq!((&retry["slot"], &retry["started"]), (&1.into(), &0.25.into()));
        let last = json["critical_path"][0]["attempt"].as_u64().unwrap();
        assert_eq!(attempts[usize::try_from(last).unwrap()]["name"], "stuck");
    }

    #[test]
    fn a_run_that_has_not_ended_has_no_end() {
        let mut going_on = timeline(vec![]);
        going_on.ended = None;
        let json = serde_json::to_value(Replay::of(going_on)).unwrap();
        assert!(json.get("run").is_none() && json["attempts"].as_array().unwrap().is_empty());
    }
}
