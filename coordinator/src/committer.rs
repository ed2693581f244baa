//! The task that makes what the driver decided durable, and then lets it leave.
//!
//! While one commit is under way the turns of the driver gather; the next commit takes them all. What cannot be
//! written is tried again until it can: meanwhile the workers are kept (their heartbeats are answered), finish
//! what they hold, and get nothing new; new runs are refused. A coordinator that was superseded stops for good.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::driver::{JournalState, Outlet, Turn};
use crate::recorder::Recorder;
use crate::store::{JournalEntry, Store, StoreError};

/// So many turns go into one commit at most.
const TURNS_MAX: usize = 4_096;

/// How soon a failed commit is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Starts the task, in the name of the coordinator that began `epoch`. It ends when the outlet is gone, or when
/// another coordinator leads. Returns with the outlet how it fares.
pub(crate) fn start(
    store: Arc<dyn Store>,
    recorder: Recorder,
    epoch: u32,
) -> (Outlet, watch::Receiver<JournalState>) {
    let (turns, inbox) = mpsc::unbounded_channel();
    let (tell, state) = watch::channel(JournalState::Written);
    let committer = Committer {
        store,
        recorder,
        epoch,
        tell,
    };
    tokio::spawn(committer.run(inbox));
    let outlet = Outlet::Journaled {
        turns,
        state: state.clone(),
    };
    (outlet, state)
}

struct Committer {
    store: Arc<dyn Store>,
    recorder: Recorder,
    epoch: u32,
    tell: watch::Sender<JournalState>,
}

impl Committer {
    async fn run(self, mut inbox: mpsc::UnboundedReceiver<Turn>) {
        let mut turns = Vec::new();
        while inbox.recv_many(&mut turns, TURNS_MAX).await > 0 {
            let (mut entries, mut departures) = (Vec::new(), Vec::new());
            for turn in turns.drain(..) {
                entries.extend(turn.entries);
                departures.extend(turn.departures);
            }
            if !entries.is_empty()
                && let Err(why) = self.commit(&entries).await
            {
                tracing::error!("this coordinator stops: failed to {why}");
                self.tell.send_replace(JournalState::Superseded(why.to_string()));
                return;
            }
            departures
                .into_iter()
                .for_each(|departure| departure.go(&self.recorder));
        }
    }

    /// Fails only when this coordinator has been superseded.
    async fn commit(&self, entries: &[JournalEntry]) -> Result<(), StoreError> {
        loop {
            match self.store.journal(self.epoch, entries).await {
                Ok(()) => {
                    let mended = |state: &mut JournalState| std::mem::take(state) != JournalState::Written;
                    if self.tell.send_if_modified(mended) {
                        tracing::info!("the journal is being written again");
                    }
                    return Ok(());
                }
                Err(superseded @ StoreError::Superseded { .. }) => return Err(superseded),
                Err(error) => self.stuck(&error),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn stuck(&self, error: &StoreError) {
        let stuck = JournalState::Stuck(error.to_string());
        let is_news = |state: &mut JournalState| {
            let is_news = *state != stuck;
            state.clone_from(&stuck);
            is_news
        };
        if self.tell.send_if_modified(is_news) {
            tracing::warn!("nothing is decided until the journal can be written: failed to {error}");
        }
    }
}

#[cfg(test)]
mod tests;
