//! A scheduler with a clock, and the parts of requests.

use std::time::Duration;

pub(super) use super::super::*;
pub(super) use crate::case::{Backoff, FlakyResult, MaxFail, RetryPolicy, TestGroup, ThreadsRequired};
pub(super) use crate::digest::Digest;
pub(super) use crate::id::{BinaryIndex, CaseIndex, Generation, GroupIndex, RunId, WorkerId};
pub(super) use crate::outcome::{FailureCause, Outcome};
pub(super) use crate::time::Timestamp;
pub(super) use crate::verdict::CaseStatus;

pub(super) const RUN: RunId = RunId::from_u128(7);
pub(super) const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// A scheduler with a clock, whose invariants are checked after every step.
pub(super) struct Farm {
    pub(super) scheduler: Scheduler,
    pub(super) witness: Witness,
    pub(super) now_ms: u64,
}

impl Farm {
    pub(super) fn new() -> Self {
        Self {
            scheduler: Scheduler::new(Policy::default(), 1, 0),
            witness: Witness::new(),
            now_ms: 1_000,
        }
    }

    pub(super) fn with_workers(slots: &[u32]) -> Self {
        let mut farm = Self::new();
        for (id, &slots) in (1..).zip(slots) {
            farm.tell(joined(id, slots, None));
        }
        farm
    }

    pub(super) fn try_tell(&mut self, event: Event) -> Result<Vec<Effect>, Rejected> {
        let now = Timestamp::from_micros(self.now_ms * 1_000);
        let mut out = Vec::new();
        self.scheduler.apply(now, event.clone(), &mut out)?;
        self.witness.accepted(&event).unwrap();
        self.scheduler.advance(now, &mut out);
        self.check(&out);
        Ok(out)
    }

    pub(super) fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.try_tell(event).unwrap()
    }

    pub(super) fn wait_ms(&mut self, ms: u64) -> Vec<Effect> {
        self.now_ms += ms;
        let mut out = Vec::new();
        self.scheduler
            .advance(Timestamp::from_micros(self.now_ms * 1_000), &mut out);
        self.check(&out);
        out
    }

    pub(super) fn check(&mut self, effects: &[Effect]) {
        self.scheduler.check_invariants().unwrap();
        for effect in effects {
            self.witness.effect(effect).unwrap();
        }
    }

    pub(super) fn submit(&mut self, request: RunRequest) -> Vec<Effect> {
        self.tell(Event::RunSubmitted(RUN, request))
    }

    pub(super) fn start(&mut self, worker: u64, case: u32, generation: u64) -> Vec<Effect> {
        self.tell(Event::CaseStarted {
            worker: WorkerId(worker),
            run: RUN,
            case: CaseIndex(case),
            generation: Generation(generation),
        })
    }

    /// Lets a case that was granted pass.
    pub(super) fn pass(
        &mut self,
        worker: WorkerId,
        run: RunId,
        grant: &CaseGrant,
        took: Duration,
    ) -> Vec<Effect> {
        self.tell(Event::AttemptEnded {
            worker,
            run,
            case: grant.case,
            generation: grant.generation,
            outcome: Outcome::Passed,
            took,
        })
    }

    pub(super) fn end(&mut self, worker: u64, case: u32, generation: u64, outcome: Outcome) -> Vec<Effect> {
        self.tell(Event::AttemptEnded {
            worker: WorkerId(worker),
            run: RUN,
            case: CaseIndex(case),
            generation: Generation(generation),
            outcome,
            took: Duration::from_millis(10),
        })
    }
}

pub(super) fn joined(worker: u64, slots: u32, process: Option<WorkerProcess>) -> Event {
    Event::WorkerJoined {
        worker: WorkerId(worker),
        slots,
        cpus: slots,
        platform: PLATFORM.into(),
        in_place: false,
        process,
    }
}

pub(super) fn case(estimate_ms: u64) -> PlannedCase {
    PlannedCase {
        binary: BinaryIndex(0),
        reused: false,
        quarantined: false,
        rarely_over: None,
        estimate: Some(Duration::from_millis(estimate_ms)),
        priority: 0,
        threads_required: ThreadsRequired::Count(1),
        group: None,
        retries: RetryPolicy::NONE,
        flaky_result: FlakyResult::Pass,
    }
}

pub(super) fn binary(number: u8) -> PlannedBinary {
    PlannedBinary {
        digest: Digest::from_bytes([number; 32]),
        bytes: 0,
    }
}

pub(super) fn heartbeat(worker: u64) -> Event {
    Event::WorkerHeartbeat {
        worker: WorkerId(worker),
        round_trip: None,
    }
}

pub(super) fn request(cases: Vec<PlannedCase>) -> RunRequest {
    RunRequest {
        platform: PLATFORM.into(),
        in_place: false,
        submitter: "ann".into(),
        priority: RunPriority::Interactive,
        deadline: None,
        max_fail: MaxFail::NEVER,
        global_timeout: None,
        groups: Vec::new(),
        binaries: (0..3).map(binary).collect(),
        cases,
    }
}

pub(super) fn retries(count: u32, delay_ms: u64) -> RetryPolicy {
    RetryPolicy {
        count,
        backoff: Backoff::Fixed(Duration::from_millis(delay_ms)),
        jitter: false,
    }
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed {
        cause: FailureCause::ExitCode(101),
        leaked: false,
    }
}

/// The granted cases as (worker, case).
pub(super) fn granted(effects: &[Effect]) -> Vec<(u64, u32)> {
    let grants = effects.iter().filter_map(|effect| match effect {
        Effect::Grant { worker, cases, .. } => Some(cases.iter().map(|grant| (worker.0, grant.case.0))),
        _ => None,
    });
    grants.flatten().collect()
}

pub(super) fn settled(effects: &[Effect]) -> Vec<(u32, CaseStatus)> {
    let settled = effects.iter().filter_map(|effect| match effect {
        Effect::CaseSettled { case, status, .. } => Some((case.0, status.clone())),
        _ => None,
    });
    settled.collect()
}

pub(super) fn ended(effects: &[Effect]) -> Option<StopReason> {
    effects.iter().find_map(|effect| match effect {
        Effect::RunEnded { reason, .. } => Some(*reason),
        _ => None,
    })
}
