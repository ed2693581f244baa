//! Folds the events of a run into reports and, at last, its summary.
//!
//! Every planned case gets exactly one final word. An event that was seen is dropped; one that contradicts what
//! was said before (a second end of a case, a case that does not exist) is dropped too, but then the run is
//! never green: whoever contradicts itself may have been wrong the first time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::{CaseIndex, RunId};
use thresh_core::outcome::Outcome;
use thresh_core::reuse::AuditFinding;
use thresh_core::schedule::StopReason;
use thresh_core::time::Timestamp;
use thresh_core::verdict::{CaseStatus, Tally, Verdict};
use thresh_proto::convert::{
    InvalidMessage, audited_from_wire, duration_or_zero, outcome_from_wire, stop_reason_from_wire,
};
use thresh_proto::v1::{self, run_event::Event, worker_news};

use crate::report::{
    AttemptRecord, Captured, CaseRecord, Floor, PlanNews, RemappedWorker, ReportEvent, Roster, RunSummary,
    ScriptRecord, WorkerChange, WorkerChangeKind,
};

/// What the fold must know of a case, besides its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldCase {
    /// Whether it passes when it passes only on a later attempt.
    pub flaky_passes: bool,
    /// How many slots it takes.
    pub weight: u32,
}

/// The run so far.
#[derive(Debug)]
pub struct Fold {
    run_id: RunId,
    roster: Arc<Roster>,
    cases: Vec<FoldCase>,
    skipped: usize,
    workers: Option<u32>,
    attempts: Vec<Vec<AttemptRecord>>,
    decided: Vec<Option<CaseRecord>>,
    scripts: Vec<ScriptRecord>,
    remapped: Vec<RemappedWorker>,
    /// Workers that cannot isolate as they should.
    less_isolated: BTreeSet<String>,
    /// Cases that cannot fail the run.
    quarantined: BTreeSet<CaseIndex>,
    /// Cases that could have been reused, with the runs of the passes that would have stood for them, where known.
    audited: BTreeMap<CaseIndex, Option<RunId>>,
    /// Those of them that do not pass.
    disagreed: Vec<(CaseIndex, Option<RunId>)>,
    seen: u64,
    contradictions: u32,
    /// Bytes of output in `attempts`, or handed from there to `decided`.
    kept_bytes: usize,
    summary: Option<RunSummary>,
}

/// Bytes of output that are kept for the end of the run. Once they are spent, only the edges of further output
/// are.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// What is kept of each end of a stream then.
const EDGE_BYTES: usize = 4 << 10;

impl Fold {
    /// Starts with no events. `cases` are in the order of the roster.
    pub fn new(
        run_id: RunId,
        roster: Arc<Roster>,
        cases: Vec<FoldCase>,
        skipped: usize,
        workers: Option<u32>,
    ) -> Self {
        let count = roster.cases.len();
        assert_eq!(count, cases.len(), "every case of the roster has its settings");
        Self {
            run_id,
            roster,
            cases,
            skipped,
            workers,
            attempts: vec![Vec::new(); count],
            decided: vec![None; count],
            scripts: Vec::new(),
            remapped: Vec::new(),
            less_isolated: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            audited: BTreeMap::new(),
            disagreed: Vec::new(),
            seen: 0,
            contradictions: 0,
            kept_bytes: 0,
            summary: None,
        }
    }

    /// All cases of the run.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The number of the last event that was taken.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The summary, once the run has ended.
    pub fn summary(&self) -> Option<&RunSummary> {
        self.summary.as_ref()
    }

    /// The audited cases that do not pass, in the order in which they ended, with the runs of the passes that would have
    /// stood for them, where known.
    pub fn disagreed(&self) -> &[(CaseIndex, Option<RunId>)] {
        &self.disagreed
    }

    /// Takes an event and tells `report` what it means.
    ///
    /// # Errors
    /// The event cannot be understood.
    pub fn apply(
        &mut self,
        event: v1::RunEvent,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) -> Result<(), InvalidMessage> {
        if event.number <= self.seen || self.summary.is_some() {
            return Ok(());
        }
        if event.number != self.seen + 1 {
            self.contradictions += 1;
        }
        self.seen = event.number;
        let at = Timestamp::from_micros(event.at_micros);
        match event.event {
            // An event of a newer coordinator; the protocol's version says that it may be left out.
            None => {}
            // Why is said at the end.
            Some(Event::Stopping(_)) => {}
            Some(Event::Planned(planned)) => {
                self.quarantined = planned.quarantined.iter().copied().map(CaseIndex).collect();
                let audited = planned.audited.iter().map(audited_from_wire);
                self.audited = audited.collect::<Result<_, _>>()?;
                report(at, &ReportEvent::Planned(&self.plan(&planned)));
            }
            Some(Event::Reused(reused)) => self.reused(at, &reused.cases, report),
            Some(Event::Started(started)) => self.started(at, &started, report),
            Some(Event::Slow(slow)) => self.slow(at, &slow, report),
            Some(Event::Attempt(attempt)) => self.attempt(at, attempt, report)?,
            Some(Event::SetupScript(script)) => self.script(at, script, report)?,
            Some(Event::Worker(news)) => report(at, &ReportEvent::Worker(&worker_change(news)?)),
            Some(Event::InputsRemapped(remapped)) => self.inputs_remapped(at, remapped, report),
            Some(Event::IsolationReduced(reduced)) => self.isolation_reduced(at, reduced, report),
            Some(Event::Ended(ended)) => {
                let reason = stop_reason_from_wire(ended.reason)?;
                let took = duration_or_zero(ended.took);
                self.end(at, reason, ended.message, took, ended.slots, report);
            }
        }
        Ok(())
    }

    /// Ends the run without the coordinator's word: what is not decided was not run.
    pub fn abandon(
        &mut self,
        at: Timestamp,
        reason: StopReason,
        message: String,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) {
        if self.summary.is_none() {
            self.end(at, reason, message, Duration::ZERO, 0, report);
        }
    }

    fn plan(&self, planned: &v1::Planned) -> PlanNews {
        PlanNews {
            cases: planned.cases,
            reused: planned.reused,
            audited: u32::try_from(planned.audited.len()).unwrap_or(u32::MAX),
            slots: planned.slots,
            workers: self.workers,
            total: duration_or_zero(planned.total),
            longest: duration_or_zero(planned.longest),
            known: planned.known,
        }
    }

    /// The case, if there is one and it is not decided.
    fn open(&self, case: u32) -> Option<CaseIndex> {
        let index = CaseIndex(case);
        self.decided
            .get(index.at())
            .is_some_and(Option::is_none)
            .then_some(index)
    }

    /// The same for an event that decides: that there is no such case contradicts what was said before.
    fn open_for_word(&mut self, case: u32) -> Option<CaseIndex> {
        let open = self.open(case);
        self.contradictions += u32::from(open.is_none());
        open
    }

    fn decide(
        &mut self,
        at: Timestamp,
        case: CaseIndex,
        status: CaseStatus,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) {
        let attempts = std::mem::take(&mut self.attempts[case.at()]);
        let record = self.decided[case.at()].insert(CaseRecord { status, attempts });
        report(at, &ReportEvent::CaseEnded { case, record });
        let Some(past_run) = self.audited.remove(&case) else {
            return;
        };
        let Some(finding) = AuditFinding::of(&record.status) else {
            return;
        };
        if matches!(finding, AuditFinding::Disagreed(_)) {
            self.disagreed.push((case, past_run));
        }
        let finding = &finding;
        report(
            at,
            &ReportEvent::CaseAudited {
                case,
                finding,
                past_run,
            },
        );
    }

    fn reused(&mut self, at: Timestamp, cases: &[u32], report: &mut impl FnMut(Timestamp, &ReportEvent<'_>)) {
        for case in cases {
            let Some(index) = self.open_for_word(*case) else {
                continue;
            };
            if self.attempts[index.at()].is_empty() {
                self.decide(at, index, CaseStatus::Reused, report);
            } else {
                self.contradictions += 1;
            }
        }
    }

    fn started(
        &self,
        at: Timestamp,
        started: &v1::CaseStarted,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) {
        if let Some(case) = self.open(started.case) {
            let (attempt, worker) = (started.attempt, started.worker.as_str());
            report(
                at,
                &ReportEvent::CaseStarted {
                    case,
                    attempt,
                    worker,
                },
            );
        }
    }

    fn slow(&self, at: Timestamp, slow: &v1::CaseSlow, report: &mut impl FnMut(Timestamp, &ReportEvent<'_>)) {
        if let Some(case) = self.open(slow.case) {
            let (elapsed, will_terminate) = (duration_or_zero(slow.elapsed), slow.will_terminate);
            report(
                at,
                &ReportEvent::CaseSlow {
                    case,
                    attempt: slow.attempt,
                    elapsed,
                    will_terminate,
                },
            );
        }
    }

    fn attempt(
        &mut self,
        at: Timestamp,
        attempt: v1::AttemptEnded,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) -> Result<(), InvalidMessage> {
        let Some(case) = self.open_for_word(attempt.case) else {
            return Ok(());
        };
        let mut record = attempt_record(attempt)?;
        report(
            at,
            &ReportEvent::AttemptEnded {
                case,
                attempt: &record,
            },
        );
        bound(&mut record, &mut self.kept_bytes);
        let last = record.last;
        self.attempts[case.at()].push(record);
        if last {
            let status = self.status(case);
            self.decide(at, case, status, report);
        }
        Ok(())
    }

    /// The status of a case after its last attempt.
    fn status(&self, case: CaseIndex) -> CaseStatus {
        let status = status(&self.attempts[case.at()], self.cases[case.at()].flaky_passes);
        match status {
            CaseStatus::Flaky { .. } if self.quarantined.contains(&case) => {
                CaseStatus::Flaky { passes: true }
            }
            CaseStatus::Ended(outcome)
                if outcome.is_about_the_case() && !outcome.passes() && self.quarantined.contains(&case) =>
            {
                CaseStatus::Quarantined(outcome)
            }
            status => status,
        }
    }

    fn script(
        &mut self,
        at: Timestamp,
        script: v1::SetupScriptEnded,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) -> Result<(), InvalidMessage> {
        let outcome = outcome_from_wire(script.outcome.as_ref())?;
        let took = duration_or_zero(script.took);
        let (stdout, stderr) = Captured::of_output(script.output);
        let record = ScriptRecord {
            id: script.id,
            worker: script.worker,
            outcome,
            took,
            stdout,
            stderr,
        };
        report(at, &ReportEvent::SetupScriptEnded(&record));
        self.scripts.push(record);
        Ok(())
    }

    /// Says it once for each worker: one that reconnects counts as new to the coordinator.
    fn inputs_remapped(
        &mut self,
        at: Timestamp,
        remapped: v1::InputsRemapped,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) {
        let v1::InputsRemapped { worker, cause } = remapped;
        if self.remapped.iter().all(|known| known.worker != worker) {
            let worker = RemappedWorker { worker, cause };
            report(at, &ReportEvent::InputsRemapped(&worker));
            self.remapped.push(worker);
        }
    }

    /// The same here.
    fn isolation_reduced(
        &mut self,
        at: Timestamp,
        reduced: v1::IsolationReduced,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) {
        let v1::IsolationReduced { worker, shortfalls } = reduced;
        if self.less_isolated.insert(worker.clone()) {
            for message in &shortfalls {
                let worker = &worker;
                report(at, &ReportEvent::IsolationReduced { worker, message });
            }
        }
    }

    fn end(
        &mut self,
        at: Timestamp,
        reason: StopReason,
        mut message: String,
        took: Duration,
        slots: u32,
        report: &mut impl FnMut(Timestamp, &ReportEvent<'_>),
    ) {
        for position in 0..self.decided.len() {
            if self.decided[position].is_none() {
                // Attempts may be there: the last failed, and the run ended before the next.
                let index = CaseIndex(u32::try_from(position).expect("cases are numbered in 32 bits"));
                self.decide(at, index, CaseStatus::NotRun, report);
            }
        }
        let cases: Vec<CaseRecord> = self
            .decided
            .iter_mut()
            .map(|record| record.take().expect("every case was just decided"))
            .collect();
        let mut tally = Tally::new(u32::try_from(cases.len()).expect("cases are numbered in 32 bits"));
        cases.iter().for_each(|record| tally.count(&record.status));
        let verdict = match tally.verdict() {
            Verdict::Pass | Verdict::Flaky if self.contradictions > 0 => {
                message = format!("the coordinator's events contradict one another {message}")
                    .trim_end()
                    .to_owned();
                Verdict::Incomplete
            }
            verdict => verdict,
        };
        let load = cases
            .iter()
            .zip(&self.cases)
            .map(|(record, case)| (record.took(), case.weight));
        let floor = Floor::of(load, slots, took);
        let summary = RunSummary {
            run_id: self.run_id,
            roster: Arc::clone(&self.roster),
            cases,
            scripts: std::mem::take(&mut self.scripts),
            remapped: std::mem::take(&mut self.remapped),
            tally,
            verdict,
            reason,
            message,
            skipped: self.skipped,
            took,
            floor,
        };
        report(at, &ReportEvent::RunEnded(&summary));
        self.summary = Some(summary);
    }
}

/// The status of a case after its last attempt, were it not quarantined. Attempts that the farm lost say nothing
/// about it.
fn status(attempts: &[AttemptRecord], flaky_passes: bool) -> CaseStatus {
    let Some((last, earlier)) = attempts.split_last() else {
        return CaseStatus::NotRun;
    };
    let failed = |attempt: &AttemptRecord| attempt.outcome.is_about_the_case() && !attempt.outcome.passes();
    if last.outcome.passes() && earlier.iter().any(failed) {
        CaseStatus::Flaky { passes: flaky_passes }
    } else if last.outcome == Outcome::Passed {
        CaseStatus::Passed
    } else {
        CaseStatus::Ended(last.outcome.clone())
    }
}

/// Makes room: cuts the output of `record` to its edges where `kept_bytes` leave none for it.
fn bound(record: &mut AttemptRecord, kept_bytes: &mut usize) {
    let bytes = |record: &AttemptRecord| record.stdout.kept_bytes() + record.stderr.kept_bytes();
    if kept_bytes.saturating_add(bytes(record)) > KEPT_BYTES_MAX {
        record.stdout.keep_edges(EDGE_BYTES);
        record.stderr.keep_edges(EDGE_BYTES);
    }
    *kept_bytes = kept_bytes.saturating_add(bytes(record));
}

fn attempt_record(attempt: v1::AttemptEnded) -> Result<AttemptRecord, InvalidMessage> {
    let (stdout, stderr) = Captured::of_output(attempt.output);
    Ok(AttemptRecord {
        number: attempt.attempt,
        number_max: attempt.attempts_max,
        worker: attempt.worker,
        outcome: outcome_from_wire(attempt.outcome.as_ref())?,
        started: Timestamp::from_micros(attempt.started_micros),
        took: duration_or_zero(attempt.took),
        stdout,
        stderr,
        last: attempt.last,
    })
}

fn worker_change(news: v1::WorkerNews) -> Result<WorkerChange, InvalidMessage> {
    use worker_news::Kind;
    let kind = match news.kind() {
        Kind::Joined => WorkerChangeKind::Joined,
        Kind::Left => WorkerChangeKind::Left,
        Kind::Lost => WorkerChangeKind::Lost,
        Kind::Cordoned => WorkerChangeKind::Cordoned,
        Kind::Unknown => return Err(InvalidMessage::new("worker.kind", "is unknown")),
    };
    let v1::WorkerNews {
        worker,
        message,
        requeued,
        slots,
        ..
    } = news;
    Ok(WorkerChange {
        worker,
        kind,
        message,
        requeued,
        slots,
    })
}

#[cfg(test)]
mod tests;
