//! What only an onlooker of both sides can see.

use std::collections::{BTreeMap, BTreeSet};

use thresh_core::id::{CaseIndex, RunId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::{INVARIANTS, Policy, RunRequest, StopReason, Violation};
use thresh_core::verdict::CaseStatus;

use super::message::Grant;
use super::step::{ConnId, MachineAt, ProcessId};

/// What the time to end a process adds to a lease's time to live, in microseconds.
const SKEW: u64 = 250_000;

/// A process that lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) process: ProcessId,
    pub(super) machine: MachineAt,
    pub(super) conn: ConnId,
    pub(super) grant: Grant,
    pub(super) weight: u32,
}

/// The leases that are out, by what has left the coordinator, and the processes that run under them.
#[derive(Debug)]
pub(super) struct Ledger {
    /// A process must be gone so long after its lease, in microseconds.
    outlives_max: u64,
    losses_max: u32,
    pub(super) processes: BTreeMap<ProcessId, Seen>,
    out: BTreeMap<Grant, ConnId>,
    granted: BTreeSet<(ConnId, Grant)>,
    started: BTreeSet<(ConnId, Grant)>,
    /// When leases ended.
    over: BTreeMap<Grant, u64>,
    produced: BTreeMap<(RunId, CaseIndex), Vec<Outcome>>,
    lost: BTreeMap<(RunId, CaseIndex), u32>,
    /// Leases whose process was said to have started.
    said: BTreeSet<Grant>,
    /// Connections of workers that said that they leave.
    leaving: BTreeSet<ConnId>,
    /// The processes of workers by their connections.
    process_of: BTreeMap<ConnId, u64>,
    /// What ran on workers that went down, by their process, as far as the present coordinator knows.
    blamed: BTreeMap<u64, Vec<(RunId, CaseIndex)>>,
    not_run: BTreeSet<RunId>,
}

/// An invariant that does not hold, one of `INVARIANTS`.
pub(super) fn violation<T>(invariant: &'static str, detail: impl FnOnce() -> String) -> Result<T, Violation> {
    assert!(
        INVARIANTS.iter().any(|(name, _)| *name == invariant),
        "{invariant} has no definition"
    );
    Err(Violation {
        invariant,
        detail: detail(),
    })
}

impl Ledger {
    pub(super) fn new(policy: &Policy) -> Self {
        let ttl = u64::try_from(policy.lease_ttl.as_micros()).unwrap_or(u64::MAX);
        Self {
            // The slowest clock loses a twentieth.
            outlives_max: ttl + ttl / 19 + SKEW,
            losses_max: policy.losses_max,
            processes: BTreeMap::new(),
            out: BTreeMap::new(),
            granted: BTreeSet::new(),
            started: BTreeSet::new(),
            over: BTreeMap::new(),
            produced: BTreeMap::new(),
            lost: BTreeMap::new(),
            said: BTreeSet::new(),
            leaving: BTreeSet::new(),
            process_of: BTreeMap::new(),
            blamed: BTreeMap::new(),
            not_run: BTreeSet::new(),
        }
    }

    /// A lease leaves the coordinator.
    pub(super) fn granted(&mut self, conn: ConnId, grant: Grant) {
        self.out.insert(grant, conn);
        self.granted.insert((conn, grant));
    }

    /// A lease is over. Returns the process that runs under it, which is to be looked for then.
    pub(super) fn lease_over(&mut self, grant: Grant, now: u64) -> Option<(ProcessId, u64)> {
        let conn = self.out.remove(&grant)?;
        self.over.insert(grant, now);
        let mut processes = self.processes.values();
        let running = processes.find(|process| process.conn == conn && process.grant == grant)?;
        Some((running.process, now + self.outlives_max))
    }

    /// A process was said to have started.
    pub(super) fn said_started(&mut self, grant: Grant) {
        self.said.insert(grant);
    }

    /// A worker said that it leaves.
    pub(super) fn leaves(&mut self, conn: ConnId) {
        self.leaving.insert(conn);
    }

    /// The connection of a worker ended without a good-bye: what ran there may be what ended it.
    pub(super) fn blame(&mut self, conn: ConnId) {
        if self.leaving.contains(&conn) {
            return;
        }
        let Some(process) = self.process_of.get(&conn) else {
            return;
        };
        // It connected again before the end of the old connection was noticed.
        if self
            .process_of
            .iter()
            .any(|(other, of)| *other > conn && of == process)
        {
            return;
        }
        let ran = |(grant, of): &(&Grant, &ConnId)| **of == conn && self.said.contains(grant);
        let ran = self.out.iter().filter(ran);
        let ran = ran.map(|(grant, _)| (grant.run, grant.case)).collect();
        self.blamed.insert(*process, ran);
    }

    /// A worker is there: nothing that ran took it down.
    pub(super) fn is_there(&mut self, conn: ConnId, process: u64) {
        self.process_of.insert(conn, process);
        self.blamed.remove(&process);
    }

    /// A new coordinator blames nobody.
    pub(super) fn blame_nobody(&mut self) {
        self.blamed.clear();
    }

    /// A lease is about to leave the coordinator.
    ///
    /// # Errors
    /// `culprit-is-stopped`
    pub(super) fn may_be_granted(&self, grant: Grant) -> Result<(), Violation> {
        let ran = |ran: &&Vec<_>| ran.contains(&(grant.run, grant.case));
        let blamed = self.blamed.values().filter(ran).count();
        if blamed < self.losses_max as usize {
            return Ok(());
        }
        violation("culprit-is-stopped", || {
            format!("{grant} is granted after {blamed} workers went down with it")
        })
    }

    /// A worker is given up: counts what is lost with it.
    pub(super) fn lost_with(&mut self, conn: ConnId) {
        for grant in self
            .out
            .iter()
            .filter(|(_, of)| **of == conn)
            .map(|(grant, _)| *grant)
        {
            *self.lost.entry((grant.run, grant.case)).or_default() += 1;
        }
    }

    /// A worker is given up: its leases are over.
    pub(super) fn worker_over(&mut self, conn: ConnId, now: u64) -> Vec<(ProcessId, u64)> {
        let held: Vec<Grant> = self
            .out
            .iter()
            .filter(|(_, of)| **of == conn)
            .map(|(grant, _)| *grant)
            .collect();
        held.into_iter()
            .filter_map(|grant| self.lease_over(grant, now))
            .collect()
    }

    /// All leases of a run are over, or of all runs.
    pub(super) fn all_over(&mut self, of: Option<RunId>, now: u64) -> Vec<(ProcessId, u64)> {
        let out = self
            .out
            .keys()
            .filter(|grant| of.is_none_or(|run| grant.run == run));
        let out: Vec<Grant> = out.copied().collect();
        out.into_iter()
            .filter_map(|grant| self.lease_over(grant, now))
            .collect()
    }

    /// A process starts. Returns when it must be gone, if its lease is over already.
    ///
    /// # Errors
    /// `lease-starts-one-process`
    pub(super) fn started(&mut self, seen: Seen, now: u64) -> Result<Option<u64>, Violation> {
        let Seen { conn, grant, .. } = seen;
        if !self.granted.contains(&(conn, grant)) {
            return violation("lease-starts-one-process", || {
                format!("{grant} runs and was not granted there")
            });
        }
        if !self.started.insert((conn, grant)) {
            return violation("lease-starts-one-process", || {
                format!("{grant} is started once more")
            });
        }
        self.processes.insert(seen.process, seen);
        if self.out.contains_key(&grant) {
            return Ok(None);
        }
        let over = self.over.get(&grant).copied().unwrap_or(now);
        Ok(Some(over + self.outlives_max))
    }

    pub(super) fn process_gone(&mut self, process: ProcessId) {
        self.processes.remove(&process);
    }

    /// A process ended by itself.
    pub(super) fn produced(&mut self, run: RunId, case: CaseIndex, outcome: &Outcome) {
        let outcomes = self.produced.entry((run, case)).or_default();
        if !outcomes.contains(outcome) {
            outcomes.push(outcome.clone());
        }
    }

    /// A case has its final status.
    ///
    /// # Errors
    /// `status-has-a-source`
    pub(super) fn settled(
        &mut self,
        request: &RunRequest,
        run: RunId,
        case: CaseIndex,
        status: &CaseStatus,
    ) -> Result<(), Violation> {
        let none = Vec::new();
        let produced = self.produced.get(&(run, case)).unwrap_or(&none);
        let lost = self.lost.get(&(run, case)).copied().unwrap_or(0);
        let planned = &request.cases[case.at()];
        let passed = produced.iter().any(Outcome::passes);
        let failed = produced.iter().any(|outcome| !outcome.passes());
        let has_source = match status {
            CaseStatus::Passed => produced.contains(&Outcome::Passed),
            CaseStatus::Reused => planned.reused,
            CaseStatus::Flaky { .. } => passed && failed,
            CaseStatus::Quarantined(_) if !planned.quarantined => false,
            CaseStatus::Ended(Outcome::TookWorker) | CaseStatus::Quarantined(Outcome::TookWorker) => {
                lost >= self.losses_max
            }
            CaseStatus::Ended(Outcome::Lost) => lost > 0,
            CaseStatus::Ended(outcome) | CaseStatus::Quarantined(outcome) => produced.contains(outcome),
            CaseStatus::NotRun => {
                self.not_run.insert(run);
                true
            }
        };
        if has_source {
            return Ok(());
        }
        violation("status-has-a-source", || {
            format!(
                "case {} of run {run}: {status:?}; its processes: {produced:?}, lost {lost}",
                case.0
            )
        })
    }

    /// After all that was committed with the status of a case.
    ///
    /// # Errors
    /// `settled-case-has-no-lease`
    pub(super) fn has_no_lease(&self, run: RunId, case: CaseIndex) -> Result<(), Violation> {
        let mut out = self.out.keys();
        match out.find(|grant| grant.run == run && grant.case == case) {
            Some(grant) => violation("settled-case-has-no-lease", || {
                format!("{grant} is out, and settled")
            }),
            None => Ok(()),
        }
    }

    /// A run ended.
    ///
    /// # Errors
    /// `complete-run-tried-every-case`
    pub(super) fn run_ended(&self, run: RunId, reason: StopReason) -> Result<(), Violation> {
        if reason == StopReason::Complete && self.not_run.contains(&run) {
            return violation("complete-run-tried-every-case", || {
                format!("run {run} is complete, and one of its cases was not run")
            });
        }
        Ok(())
    }

    /// Since when the lease of a process is over.
    pub(super) fn over_since(&self, process: ProcessId) -> Option<(Seen, u64)> {
        let seen = self.processes.get(&process)?;
        Some((*seen, *self.over.get(&seen.grant)?))
    }

    pub(super) fn outlives_max(&self) -> u64 {
        self.outlives_max
    }
}
