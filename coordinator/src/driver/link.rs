//! A connected worker, as the driver sees it.

use std::collections::BTreeSet;
use std::sync::Arc;

use thresh_core::id::RunId;
use thresh_proto::v1::CoordinatorMessage;
use thresh_proto::v1::coordinator_message::Message;
use tokio::sync::mpsc;
use tonic::Status;

use super::command::WorkerProfile;
use super::outlet::Departure;
use super::submission::Submission;

/// Where messages for a worker go. Unbounded, since the driver may not wait for one worker; what can pile up
/// is bounded all the same: leases by the scheduler's limit of held cases, briefs and the rest by the number
/// of runs, and a worker that reads nothing is soon given up.
pub(crate) type Outbound = mpsc::UnboundedSender<Result<CoordinatorMessage, Status>>;

/// A connected worker. Dropping it ends the stream of messages.
#[derive(Debug)]
pub(super) struct Link {
    profile: WorkerProfile,
    outbound: Outbound,
    briefed: BTreeSet<RunId>,
    pub(super) cordoned: bool,
}

impl Link {
    pub(super) fn new(profile: WorkerProfile, outbound: Outbound) -> Self {
        Self {
            profile,
            outbound,
            briefed: BTreeSet::new(),
            cordoned: false,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.profile.name
    }

    pub(super) fn slots(&self) -> u32 {
        self.profile.slots
    }

    /// Why cases see a run's files at other paths here; `None` when they do not.
    pub(super) fn remap_cause(&self) -> Option<&str> {
        self.profile.remap_cause.as_deref()
    }

    pub(super) fn shortfalls(&self) -> &[String] {
        &self.profile.shortfalls
    }

    pub(super) fn describe(&self) -> String {
        let WorkerProfile {
            name,
            platform,
            in_place,
            ..
        } = &self.profile;
        let cordoned = if self.cordoned { ", cordoned" } else { "" };
        let in_place = if *in_place { ", in-place runs only" } else { "" };
        format!("{name} ({platform}{in_place}{cordoned})")
    }

    /// Whether it is of the right kind for a run.
    pub(super) fn suits(&self, platform: &str, in_place: bool) -> bool {
        self.profile.in_place == in_place && (in_place || self.profile.platform == platform)
    }

    pub(super) fn suits_run(&self, submission: &Submission) -> bool {
        self.suits(&submission.request.platform, submission.is_in_place())
    }

    /// Notes that the worker knows a run; false when it knew it before.
    pub(super) fn brief(&mut self, run: RunId) -> bool {
        self.briefed.insert(run)
    }

    pub(super) fn knows(&self, run: RunId) -> bool {
        self.briefed.contains(&run)
    }

    /// Notes that the worker is to forget a run; false when it never knew it.
    pub(super) fn forget(&mut self, run: RunId) -> bool {
        self.briefed.remove(&run)
    }

    /// A message on its way, once everything before it is durable.
    pub(super) fn message(&self, message: Message) -> Departure {
        let message = CoordinatorMessage {
            message: Some(message),
        };
        Departure::Message(self.outbound.clone(), Box::new(message))
    }

    /// Sends what commits nobody to anything, so that it need not wait.
    pub(super) fn send_now(&self, message: Message) {
        // A closed channel means a connection that is gone, of which its reading side tells.
        let _ = self.outbound.send(Ok(CoordinatorMessage {
            message: Some(message),
        }));
    }

    /// Ends the stream with a reason.
    pub(super) fn close(self, why: Status) {
        let _ = self.outbound.send(Err(why));
    }
}
