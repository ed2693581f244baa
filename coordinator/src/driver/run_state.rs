//! A run, as the driver sees it.

use std::sync::Arc;

use thresh_core::id::{CaseIndex, Generation, RunId, WorkerId};
use thresh_core::time::Timestamp;
use thresh_core::verdict::Tally;
use thresh_proto::v1::run_event::Event;

use super::log::RunLog;
use super::submission::Submission;
use crate::store::PassRecord;

/// A run, from its submission until a while after its end.
#[derive(Debug)]
pub(super) struct RunState {
    pub(super) submission: Submission,
    pub(super) log: Arc<RunLog>,
    pub(super) tally: Tally,
    pub(super) watchers: u32,
    pub(super) submitted: Timestamp,
    pub(super) ended: Option<Timestamp>,
    /// Passes that wait for the client to confirm its files.
    pub(super) unconfirmed: Vec<PassRecord>,
    /// The latest thing that people should know when the run ends badly.
    pub(super) remark: Option<String>,
    grants: Vec<Option<Grant>>,
    has_news: bool,
}

/// Who has a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) worker: WorkerId,
    pub(super) generation: Generation,
    pub(super) attempt: u32,
}

impl RunState {
    pub(super) fn new(submission: Submission, now: Timestamp) -> Self {
        let cases = submission.cases.len();
        Self {
            tally: Tally::new(u32::try_from(cases).unwrap_or(u32::MAX)),
            submission,
            log: Arc::new(RunLog::new()),
            watchers: 0,
            submitted: now,
            ended: None,
            unconfirmed: Vec::new(),
            remark: None,
            grants: vec![None; cases],
            has_news: false,
        }
    }

    pub(super) fn id(&self) -> RunId {
        self.submission.run
    }

    pub(super) fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    pub(super) fn publish(&mut self, at: Timestamp, event: Event) {
        if self.is_running() {
            self.log.append(at, event);
            self.has_news = true;
        }
    }

    /// Whether something was published that followers were not woken for.
    pub(super) fn has_news(&self) -> bool {
        self.has_news
    }

    /// Lets followers see what was published.
    pub(super) fn deliver(&mut self) {
        if std::mem::take(&mut self.has_news) {
            self.log.wake();
        }
    }

    pub(super) fn granted(&mut self, case: CaseIndex, grant: Grant) {
        if let Some(place) = self.grants.get_mut(case.at()) {
            *place = Some(grant);
        }
    }

    /// The attempt that a worker has under a generation; `None` when it has not, or no longer.
    pub(super) fn attempt_of(
        &self,
        worker: WorkerId,
        case: CaseIndex,
        generation: Generation,
    ) -> Option<u32> {
        let grant = (*self.grants.get(case.at())?)?;
        (grant.worker == worker && grant.generation == generation).then_some(grant.attempt)
    }

    pub(super) fn settled(&mut self, case: CaseIndex) {
        if let Some(place) = self.grants.get_mut(case.at()) {
            *place = None;
        }
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
