//! How everyone else talks to the driver.

use std::sync::Arc;

use thresh_core::id::{RunId, WorkerId};
use thresh_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::command::{Capacity, Command, Confirmed, Joined, Reply, Said, WorkerProfile};
use super::link::Outbound;
use super::log::RunLog;
use super::refusal::Refusal;
use super::submission::Submission;

/// A cheap handle to the driver. All methods fail with [`Refusal::ShuttingDown`] once it has ended.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    journaled: bool,
}

impl Handle {
    pub(super) fn new(commands: mpsc::Sender<Command>, journaled: bool) -> Self {
        Self { commands, journaled }
    }

    /// Starts a run. On a farm it is durable when this returns.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<(), Refusal> {
        // Here and not in the driver, which has others to serve.
        let encoded = if self.journaled {
            Some(submission.encode()?)
        } else {
            None
        };
        self.ask(|reply| Command::Submit(Box::new(submission), encoded, reply))
            .await
    }

    /// Cancels a run. One that has ended already is left as it is.
    pub(crate) async fn cancel(&self, run: RunId) -> Result<(), Refusal> {
        self.ask(|reply| Command::Cancel(run, reply)).await
    }

    /// Begins to follow a run; each time to be undone by [`unwatch`](Self::unwatch).
    pub(crate) async fn watch(&self, run: RunId) -> Result<Arc<RunLog>, Refusal> {
        self.ask(|reply| Command::Watch(run, reply)).await
    }

    pub(crate) async fn unwatch(&self, run: RunId) {
        self.tell(Command::Unwatch(run)).await;
    }

    /// Stores the passes of an ended run that wait for its client; returns how many.
    pub(crate) async fn confirm(&self, run: RunId, confirmed: Confirmed) -> Result<u32, Refusal> {
        self.ask(|reply| Command::Confirm(run, confirmed, reply)).await
    }

    /// Connects a worker. Messages for it go to `outbound`, the welcome first.
    pub(crate) async fn join(&self, profile: WorkerProfile, outbound: Outbound) -> Result<Joined, Refusal> {
        self.ask(|reply| Command::Join(profile, outbound, reply)).await
    }

    pub(crate) async fn said(&self, worker: WorkerId, said: Said) {
        self.tell(Command::Said(worker, said)).await;
    }

    pub(crate) async fn leave(&self, worker: WorkerId) {
        self.tell(Command::Leave(worker)).await;
    }

    /// What is connected now; with a platform and whether in place: only what takes such runs.
    pub(crate) async fn capacity(&self, of: Option<(String, bool)>) -> Result<Capacity, Refusal> {
        self.ask(|reply| Command::Capacity(of, reply)).await
    }

    /// When the oldest run that goes on was submitted.
    pub(crate) async fn oldest_run(&self) -> Result<Option<Timestamp>, Refusal> {
        self.ask(Command::OldestRun).await
    }

    /// Ends the driver: connections close; with `orderly` what was decided is written first, as far as that is
    /// possible soon.
    pub(crate) async fn shutdown(&self, orderly: bool) {
        // An error says that it has ended already.
        let _ = self.ask(|reply| Command::Shutdown { orderly, reply }).await;
    }

    /// Waits until the driver has ended.
    pub(crate) async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Whether runs are journaled.
    pub(crate) fn is_journaled(&self) -> bool {
        self.journaled
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| Refusal::ShuttingDown)?;
        answer.await.map_err(|_| Refusal::ShuttingDown)?
    }

    async fn tell(&self, command: Command) {
        // A driver that has ended has no use for news.
        let _ = self.commands.send(command).await;
    }
}
