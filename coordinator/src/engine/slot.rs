//! A slot of the engine: a worker of one slot to the driver, one action at a time to the engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thresh_core::id::{CaseIndex, Generation, RunId, WorkerId};
use thresh_core::outcome::Outcome;
use thresh_core::schedule::CordonReason;
use thresh_proto::convert::run_id_from_wire;
use thresh_proto::v1::coordinator_message::Message as Order;
use thresh_proto::v1::{Lease, LeasedCase, Output, Revoke, RunBrief, ShardReports, Stream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, interval};

use super::error::EngineError;
use super::shard::{ShardEnd, Shards};
use super::suspects::Suspects;
use crate::clock::Clock;
use crate::driver::{Handle, Joined, Measured, Refusal, Report, ReportNews, Said, WorkerProfile};
use crate::services::report_from_wire;

/// How often the driver hears that a slot is there.
const HEARTBEAT: Duration = Duration::from_millis(1_500);
/// What an action takes beside its cases, before it is known.
const OVERHEAD: Duration = Duration::from_millis(500);
/// A slot that fails so often in a row takes no more cases.
const FAILURES_MAX: u32 = 3;

/// What all slots of an engine share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) shards: Arc<Shards>,
    pub(super) suspects: Suspects,
    /// Setup scripts whose passing was told, by run.
    pub(super) scripts: Mutex<BTreeSet<(RunId, String)>>,
    /// What was said of the engine's machines.
    pub(super) notes: Mutex<BTreeSet<String>>,
}

type Grant = (CaseIndex, Generation);

/// A slot of the engine.
struct Slot {
    shared: Arc<Shared>,
    driver: Handle,
    clock: Clock,
    worker: WorkerId,
    briefs: BTreeMap<RunId, Arc<RunBrief>>,
    waiting: VecDeque<(RunId, LeasedCase)>,
    running: Option<Running>,
    overhead: Duration,
    failures: u32,
}

/// The action that is under way.
struct Running {
    run: RunId,
    /// What is still wanted of it.
    cases: BTreeMap<CaseIndex, Generation>,
    /// All that it was given.
    all: Vec<CaseIndex>,
    began: Instant,
    cancel: watch::Sender<bool>,
    task: JoinHandle<Result<ShardEnd, EngineError>>,
}

/// Has so many slots join. They leave when the driver ends; then nothing of theirs goes on at the engine.
///
/// # Errors
/// The driver takes none.
pub(super) async fn start(
    shared: &Arc<Shared>,
    slots: u32,
    platform: &str,
    driver: &Handle,
    clock: Clock,
) -> Result<JoinSet<()>, Refusal> {
    let mut tasks = JoinSet::new();
    for number in 1..=slots {
        let profile = WorkerProfile {
            name: format!("engine/{number}").into(),
            slots: 1,
            cpus: 1,
            platform: platform.to_owned(),
            in_place: false,
            remap_cause: None,
            shortfalls: Vec::new(),
            process: None,
        };
        let (outbound, orders) = mpsc::unbounded_channel();
        let Joined { worker } = driver.join(profile, outbound).await?;
        let slot = Slot {
            shared: shared.clone(),
            driver: driver.clone(),
            clock,
            worker,
            briefs: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: None,
            overhead: OVERHEAD,
            failures: 0,
        };
        slot.beat().await;
        tasks.spawn(slot.work(orders));
    }
    Ok(tasks)
}

type Orders = mpsc::UnboundedReceiver<Result<thresh_proto::v1::CoordinatorMessage, tonic::Status>>;

impl Slot {
    async fn work(mut self, mut orders: Orders) {
        let mut beats = interval(HEARTBEAT);
        loop {
            self.begin().await;
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Ok(message)) => self.told(message.message).await,
                    // The driver has ended, or has given the slot up.
                    Some(Err(_)) | None => break,
                },
                ended = ended(&mut self.running) => self.end(ended).await,
                _ = beats.tick() => self.beat().await,
            }
        }
        if let Some(running) = self.running.take() {
            running.cancel.send_replace(true);
            // What came of it concerns nobody any more.
            let _ = running.task.await;
        }
        self.driver.leave(self.worker).await;
    }

    async fn beat(&self) {
        let said = Said::Heartbeat {
            sent_micros: self.clock.now().as_micros(),
            // What is granted ahead is reckoned by it.
            round_trip: Some(self.overhead),
        };
        self.driver.said(self.worker, said).await;
    }

    async fn report(&self, run: RunId, news: Vec<ReportNews>) {
        let reports: Vec<Report> = news.into_iter().map(|news| Report { run, news }).collect();
        if !reports.is_empty() {
            self.driver.said(self.worker, Said::Reports(reports)).await;
        }
    }

    async fn told(&mut self, order: Option<Order>) {
        match order {
            Some(Order::Run(brief)) => {
                let header = brief.header.as_ref();
                if let Ok(run) = run_id_from_wire(header.map_or(&[][..], |header| &header.run_id)) {
                    self.briefs.insert(run, Arc::new(brief));
                }
            }
            Some(Order::Lease(Lease { run_id, cases, .. })) => {
                if let Ok(run) = run_id_from_wire(&run_id) {
                    self.waiting.extend(cases.into_iter().map(|case| (run, case)));
                }
            }
            Some(Order::Revoke(revoke)) => self.revoked(revoke).await,
            Some(Order::Forget(forget)) => {
                if let Ok(run) = run_id_from_wire(&forget.run_id) {
                    self.forget(run);
                }
            }
            Some(Order::Welcome(_) | Order::Heartbeat(_)) | None => {}
        }
    }

    fn forget(&mut self, run: RunId) {
        self.briefs.remove(&run);
        self.waiting.retain(|(of, _)| *of != run);
        self.shared.suspects.forget(run);
        if let Some(running) = self.running.as_mut().filter(|running| running.run == run) {
            running.cases.clear();
            running.cancel.send_replace(true);
        }
    }

    async fn revoked(&mut self, revoke: Revoke) {
        let Ok(run) = run_id_from_wire(&revoke.run_id) else {
            return;
        };
        let meant: BTreeSet<Grant> = revoke
            .cases
            .iter()
            .map(|case| (CaseIndex(case.case), Generation(case.generation)))
            .collect();
        let is_meant = |grant: &Grant| meant.is_empty() || meant.contains(grant);
        let mut returned = Vec::new();
        self.waiting.retain(|(of, case)| {
            let grant = granted(case);
            let goes = *of == run && is_meant(&grant);
            if goes {
                returned.push(grant);
            }
            !goes
        });
        let mut news = Vec::new();
        if !returned.is_empty() {
            news.push(back(returned, "asked to".to_owned()));
        }
        if revoke.kill_running
            && let Some(running) = self.running.as_mut().filter(|running| running.run == run)
        {
            let killed: Vec<Grant> = running.grants().into_iter().filter(is_meant).collect();
            for grant in killed {
                running.cases.remove(&grant.0);
                news.push(attempt(
                    grant,
                    Outcome::Cancelled,
                    running.began,
                    self.clock,
                    None,
                ));
            }
            if running.cases.is_empty() {
                running.cancel.send_replace(true);
            }
        }
        self.report(run, news).await;
    }

    /// Makes an action of what waits, unless there is one.
    async fn begin(&mut self) {
        if self.running.is_some() {
            return;
        }
        let Some((run, cases)) = self.next() else { return };
        let Some(brief) = self.briefs.get(&run).cloned() else {
            let grants = cases.iter().map(granted).collect();
            let message = "the slot was not told of the run".to_owned();
            return self.report(run, vec![back(grants, message)]).await;
        };
        let started = cases.iter().map(granted);
        let started = started.map(|(case, generation)| ReportNews::Started { case, generation });
        self.report(run, started.collect()).await;
        let (cancel, cancelled) = watch::channel(false);
        let shards = self.shared.shards.clone();
        let grants: BTreeMap<_, _> = cases.iter().map(granted).collect();
        self.running = Some(Running {
            run,
            all: grants.keys().copied().collect(),
            cases: grants,
            began: Instant::now(),
            cancel,
            task: tokio::spawn(async move { shards.execute(run, brief, cases, cancelled).await }),
        });
    }

    /// The cases of the next action: all of a run that wait, but a suspect is alone.
    fn next(&mut self) -> Option<(RunId, Vec<LeasedCase>)> {
        let (run, first) = self.waiting.pop_front()?;
        let suspects = &self.shared.suspects;
        let is_suspect = |case: &LeasedCase| suspects.has(run, CaseIndex(case.case));
        let mut cases = vec![first];
        if !is_suspect(&cases[0]) {
            let mut later = VecDeque::new();
            for (of, case) in std::mem::take(&mut self.waiting) {
                if of == run && !is_suspect(&case) {
                    cases.push(case);
                } else {
                    later.push_back((of, case));
                }
            }
            self.waiting = later;
        }
        Some((run, cases))
    }

    async fn end(&mut self, ended: Result<ShardEnd, EngineError>) {
        let Some(running) = self.running.take() else {
            return;
        };
        let run = running.run;
        let took = running.began.elapsed();
        match ended {
            Ok(ShardEnd::Reports(reports)) => {
                self.failures = 0;
                let (news, in_cases) = self.shared.news(running, reports);
                self.overhead = (self.overhead + took.saturating_sub(in_cases)) / 2;
                self.report(run, news).await;
            }
            Ok(ShardEnd::WentDown(message)) => {
                let is_guilty = self.shared.suspects.went_down(run, &running.all);
                let news = match (is_guilty, running.grants().as_slice()) {
                    (true, [grant]) => {
                        let said = Some(message);
                        vec![attempt(
                            *grant,
                            Outcome::TookWorker,
                            running.began,
                            self.clock,
                            said,
                        )]
                    }
                    (_, grants) => {
                        tracing::info!(run = %run, cases = grants.len(), "a shard comes back: {message}");
                        vec![back(grants.to_vec(), message)]
                    }
                };
                self.report(run, news).await;
            }
            Ok(ShardEnd::Cancelled) => {
                let news = back(running.grants(), "the action was cancelled".to_owned());
                self.report(run, vec![news]).await;
            }
            Err(error) => self.failed(running, &error).await,
        }
    }

    async fn failed(&mut self, running: Running, error: &EngineError) {
        self.failures += 1;
        tracing::warn!(run = %running.run, fault = %error.fault(), "failed to {error}");
        if error.is_final() || self.failures >= FAILURES_MAX {
            let said = Said::Cordon(CordonReason::Fault, error.to_string());
            self.driver.said(self.worker, said).await;
        }
        let news = back(running.grants(), error.to_string());
        self.report(running.run, vec![news]).await;
    }
}

impl Shared {
    /// What is to be passed on of a runner's reports, and how long its cases took together.
    fn news(&self, mut running: Running, reports: ShardReports) -> (Vec<ReportNews>, Duration) {
        self.note(&reports);
        let (mut news, mut in_cases) = (Vec::new(), Duration::ZERO);
        for report in reports.reports {
            let read = match report_from_wire(report) {
                Ok(read) if read.run == running.run => read.news,
                // Who plays a runner can only say what concerns its own cases.
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(run = %running.run, "a runner said what cannot be understood: {error}");
                    continue;
                }
            };
            match read {
                ReportNews::Attempt {
                    case,
                    generation,
                    outcome,
                    measured,
                } => {
                    in_cases += measured.took;
                    if running.takes((case, generation)) {
                        news.push(ReportNews::Attempt {
                            case,
                            generation,
                            outcome,
                            measured,
                        });
                    }
                }
                ReportNews::Returned { cases, message } => {
                    let cases: Vec<Grant> = cases.into_iter().filter(|grant| running.takes(*grant)).collect();
                    if !cases.is_empty() {
                        news.push(back(cases, message));
                    }
                }
                ReportNews::SetupScript { ended, outcome } => {
                    in_cases += thresh_proto::convert::duration_or_zero(ended.took);
                    // Each action has its own; that it passes again is no news.
                    let mut told = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
                    if !outcome.passes() || told.insert((running.run, ended.id.clone())) {
                        news.push(ReportNews::SetupScript { ended, outcome });
                    }
                }
                ReportNews::Started { .. } | ReportNews::Slow { .. } => {}
            }
        }
        let rest = running.grants();
        if !rest.is_empty() {
            news.push(back(rest, "the runner said nothing of them".to_owned()));
        }
        (news, in_cases)
    }

    /// Says once what the engine's machines do otherwise than workers should.
    fn note(&self, reports: &ShardReports) {
        let mut said = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let remap = &reports.remap_cause;
        if !remap.is_empty() && said.insert(remap.clone()) {
            tracing::warn!(
                "the engine's machines offer no mount namespaces ({remap}): inputs appear there at other paths than here, so \
                 cases with compiled-in paths may fail"
            );
        }
        for shortfall in &reports.isolation_shortfalls {
            if said.insert(shortfall.clone()) {
                tracing::info!("isolation on the engine's machines: {shortfall}");
            }
        }
    }
}

impl Running {
    fn grants(&self) -> Vec<Grant> {
        self.cases
            .iter()
            .map(|(case, generation)| (*case, *generation))
            .collect()
    }

    /// Whether something is still wanted of this case; afterwards it is not.
    fn takes(&mut self, (case, generation): Grant) -> bool {
        let is_wanted = self.cases.get(&case) == Some(&generation);
        if is_wanted {
            self.cases.remove(&case);
        }
        is_wanted
    }
}

async fn ended(running: &mut Option<Running>) -> Result<ShardEnd, EngineError> {
    match running {
        None => std::future::pending().await,
        Some(running) => match (&mut running.task).await {
            Ok(ended) => ended,
            Err(ended) => Err(EngineError::Outcomes(ended.to_string())),
        },
    }
}

fn granted(case: &LeasedCase) -> Grant {
    (CaseIndex(case.case), Generation(case.generation))
}

fn back(cases: Vec<Grant>, message: String) -> ReportNews {
    ReportNews::Returned { cases, message }
}

fn attempt(
    (case, generation): Grant,
    outcome: Outcome,
    began: Instant,
    clock: Clock,
    said: Option<String>,
) -> ReportNews {
    let took = began.elapsed();
    let stderr = said.map(|said| Stream {
        head: said.into_bytes().into(),
        ..Stream::default()
    });
    ReportNews::Attempt {
        case,
        generation,
        outcome,
        measured: Measured {
            started: clock.now().before(took),
            took,
            output: Some(Output { stdout: None, stderr }),
            outputs: Default::default(),
            observed: None,
        },
    }
}

#[cfg(test)]
mod tests;
