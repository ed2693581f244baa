//! What worker and coordinator tell each other.

use std::fmt;
use std::time::Duration;

use thresh_core::id::{CaseIndex, Generation, RunId, WorkerId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::CordonReason;
use thresh_core::session::LeasedCase;
use thresh_core::time::Timestamp;

/// One copy of a case: what every word about it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Grant {
    pub(super) run: RunId,
    pub(super) case: CaseIndex,
    pub(super) generation: Generation,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, number) = (self.generation.0 >> 32, self.generation.0 & 0xffff_ffff);
        write!(f, "{}/{} g{epoch}.{number}", self.run.as_u128(), self.case.0)
    }
}

/// From a worker.
#[derive(Clone, Debug)]
pub(super) enum Up {
    Hello,
    /// With when it was sent, by the worker's clock.
    Heartbeat(Timestamp),
    Cordon(CordonReason),
    Started(Grant),
    Ended(Grant, Outcome, Duration),
    Returned(RunId, Vec<(CaseIndex, Generation)>),
    SetupFailed(RunId),
    /// The worker's side of the connection is closed.
    Closed,
}

/// From the coordinator.
#[derive(Clone, Debug)]
pub(super) enum Down {
    Welcome(WorkerId),
    /// The answer to the heartbeat that was sent then.
    Heartbeat(Timestamp),
    Brief(RunId),
    Lease(RunId, Vec<LeasedCase>),
    Revoke {
        run: RunId,
        cases: Vec<(CaseIndex, Generation)>,
        kill_running: bool,
    },
    Forget(RunId),
    /// The coordinator's side of the connection is closed.
    Closed,
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    Up(Up),
    Down(Down),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(Up::Hello) => write!(f, "hello"),
            Self::Up(Up::Heartbeat(_)) => write!(f, "heartbeat"),
            Self::Up(Up::Cordon(reason)) => write!(f, "takes no more: {reason:?}"),
            Self::Up(Up::Started(grant)) => write!(f, "started {grant}"),
            Self::Up(Up::Ended(grant, outcome, took)) => write!(f, "ended {grant}: {outcome} in {took:?}"),
            Self::Up(Up::Returned(run, cases)) => {
                write!(f, "gives back of run {}: {}", run.as_u128(), numbers(cases))
            }
            Self::Up(Up::SetupFailed(run)) => write!(f, "setup failed for run {}", run.as_u128()),
            Self::Up(Up::Closed) | Self::Down(Down::Closed) => write!(f, "closed"),
            Self::Down(Down::Welcome(worker)) => write!(f, "welcome, {worker}"),
            Self::Down(Down::Heartbeat(_)) => write!(f, "heard"),
            Self::Down(Down::Brief(run)) => write!(f, "about run {}", run.as_u128()),
            Self::Down(Down::Lease(run, cases)) => {
                let cases: Vec<_> = cases.iter().map(|case| (case.case, case.generation)).collect();
                write!(f, "lease of run {}: {}", run.as_u128(), numbers(&cases))
            }
            Self::Down(Down::Revoke {
                run,
                cases,
                kill_running,
            }) => {
                let cases = if cases.is_empty() {
                    "all".to_owned()
                } else {
                    numbers(cases)
                };
                let how = if *kill_running { "at once" } else { "unstarted" };
                write!(f, "revokes of run {}, {how}: {cases}", run.as_u128())
            }
            Self::Down(Down::Forget(run)) => write!(f, "forget run {}", run.as_u128()),
        }
    }
}

fn numbers(cases: &[(CaseIndex, Generation)]) -> String {
    let each = cases.iter().map(|(case, generation)| {
        format!(
            "{} g{}.{}",
            case.0,
            generation.0 >> 32,
            generation.0 & 0xffff_ffff
        )
    });
    each.collect::<Vec<_>>().join(", ")
}
