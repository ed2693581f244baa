//! A run, as the driver sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use thresh_core::id::{CaseIndex, Generation, LeaseId, RunId, WorkerId};
use thresh_core::schedule::GrantReason;
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;
use thresh_proto::v1;
use thresh_proto::v1::run_event::Event;

use super::log::RunLog;
use super::outlet::Departure;
use super::submission::Submission;
use super::unjournaled::Unjournaled;
use crate::restore::RestoredRun;
use crate::store::{AuditRecord, JournalEntry, PassRecord};

/// How long an ended run can still be followed and confirmed: longer than a client tries to reach a coordinator.
pub(crate) const KEPT_AFTER_END: Duration = Duration::from_secs(180);

/// A run, from its submission until a while after its end.
#[derive(Debug)]
pub(super) struct RunState {
    pub(super) submission: Submission,
    pub(super) log: Arc<RunLog>,
    pub(super) tally: Tally,
    pub(super) watchers: u32,
    pub(super) submitted: Timestamp,
    pub(super) ended: Option<Timestamp>,
    /// Passes that wait for the client to confirm its files, or to say what was seen.
    pub(super) passes: Vec<(CaseIndex, PassRecord)>,
    /// What audits found that waits for the same: files that change meanwhile make a case fail as well. A coordinator that
    /// ends takes them along, as it does the passes.
    pub(super) findings: Vec<AuditRecord>,
    /// What audited cases wrote that are not settled and have not passed.
    pub(super) audit_outputs: BTreeMap<CaseIndex, v1::Output>,
    /// The latest thing that people should know when the run ends badly.
    pub(super) remark: Option<String>,
    /// Who has which case, or had it last: one worker, or two where it has a second copy.
    grants: BTreeMap<CaseIndex, Vec<Grant>>,
    has_news: bool,
    /// Where the run is journaled: the events that are not.
    unjournaled: Option<Unjournaled>,
}

/// Who has a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) worker: WorkerId,
    pub(super) generation: Generation,
    pub(super) attempt: u32,
    pub(super) lease: LeaseId,
    pub(super) reason: GrantReason,
    pub(super) at: Timestamp,
    /// When its process was said to have been started.
    pub(super) started: Option<Timestamp>,
}

impl RunState {
    pub(super) fn new(submission: Submission, now: Timestamp, journaled: bool) -> Self {
        let cases = submission.cases.len();
        let action = submission.header.action.clone();
        Self {
            tally: Tally::new(u32::try_from(cases).unwrap_or(u32::MAX)),
            submission,
            log: Arc::new(RunLog::new(action)),
            watchers: 0,
            submitted: now,
            ended: None,
            passes: Vec::new(),
            findings: Vec::new(),
            audit_outputs: BTreeMap::new(),
            remark: None,
            grants: BTreeMap::new(),
            has_news: false,
            unjournaled: journaled.then(Unjournaled::default),
        }
    }

    /// A run of an earlier coordinator.
    pub(super) fn restored(now: Timestamp, run: RestoredRun) -> Self {
        let mut state = Self::new(run.submission, run.submitted, true);
        for (_, status) in run.recovery.statuses() {
            state.tally.count(status);
        }
        let action = state.submission.header.action.clone();
        state.log = Arc::new(RunLog::restored(run.events, run.ended.is_some(), action));
        // Its client may have waited for this coordinator.
        state.ended = run.ended.map(|_| now);
        state
    }

    pub(super) fn id(&self) -> RunId {
        self.submission.run
    }

    pub(super) fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// When nobody needs the run any more; not known before its end is published.
    pub(super) fn forgotten_at(&self) -> Option<Timestamp> {
        let ended = self.ended.filter(|_| self.log.has_ended())?;
        Some(ended.after(KEPT_AFTER_END))
    }

    pub(super) fn publish(&mut self, at: Timestamp, event: Event) {
        if !self.is_running() {
            return;
        }
        let unjournaled = &mut self.unjournaled;
        self.log.append(at, event, |event| {
            if let Some(unjournaled) = unjournaled {
                unjournaled.add(event);
            }
        });
        self.has_news = true;
    }

    /// Journals the last event, which is published when the history has it.
    pub(super) fn journal_end(&mut self, at: Timestamp, ended: v1::RunEnded) {
        if let Some(unjournaled) = &mut self.unjournaled {
            unjournaled.add(&v1::RunEvent {
                number: self.log.len() as u64 + 1,
                at_micros: at.as_micros(),
                event: Some(Event::Ended(ended)),
            });
        }
    }

    /// Takes what is to be journaled.
    pub(super) fn take_unjournaled(&mut self) -> impl Iterator<Item = JournalEntry> + use<> {
        let run = self.id();
        let unjournaled = self.unjournaled.as_mut();
        unjournaled
            .into_iter()
            .flat_map(move |events| events.take(run))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether something was published that followers were not woken for.
    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    /// What lets followers see what was published.
    pub(super) fn deliver(&mut self) -> Option<Departure> {
        let has_news = std::mem::take(&mut self.has_news);
        has_news.then(|| Departure::Reveal(self.log.clone(), self.log.len()))
    }

    pub(super) fn granted(&mut self, case: CaseIndex, grant: Grant) {
        let grants = self.grants.entry(case).or_default();
        grants.retain(|other| other.worker != grant.worker);
        grants.push(grant);
    }

    /// Notes that a worker has started the process of a case.
    pub(super) fn started(&mut self, worker: WorkerId, case: CaseIndex, at: Timestamp) {
        let grants = self
            .grants
            .get_mut(&case)
            .map(Vec::as_mut_slice)
            .unwrap_or_default();
        for grant in grants.iter_mut().filter(|grant| grant.worker == worker) {
            grant.started.get_or_insert(at);
        }
    }

    /// The attempt that a worker has under a generation; `None` when it has not, or no longer.
    pub(super) fn attempt_of(
        &self,
        worker: WorkerId,
        case: CaseIndex,
        generation: Generation,
    ) -> Option<u32> {
        let grant = self.grant_of(worker, case)?;
        (grant.generation == generation).then_some(grant.attempt)
    }

    /// What a worker was last granted of a case that is not settled.
    pub(super) fn grant_of(&self, worker: WorkerId, case: CaseIndex) -> Option<&Grant> {
        let grants = self.grants.get(&case)?;
        grants.iter().find(|grant| grant.worker == worker)
    }

    pub(super) fn settled(&mut self, case: CaseIndex) {
        self.grants.remove(&case);
    }

    /// The most attempts that a case can have by its settings.
    pub(super) fn attempts_max(&self, case: CaseIndex) -> u32 {
        let header = &self.submission.header;
        let case = self.submission.cases.get(case.at());
        let settings = case.and_then(|case| header.settings.get(case.settings as usize));
        let retries = settings
            .and_then(|settings| settings.retries)
            .map_or(0, |retries| retries.count);
        retries.saturating_add(1)
    }
}
