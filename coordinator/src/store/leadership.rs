//! Being the one coordinator of several that acts.

use std::fmt;
use std::fs::File;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The right to act. It ends when this is dropped, when the process ends, or with the connection that holds it.
pub struct Leadership {
    epoch: u32,
    held: Held,
}

enum Held {
    /// A lock on a file; only its holder can let go of it.
    File { _lock: File },
    /// A lock of a connection that a task keeps alive; it says when the connection has died.
    Connection {
        lost: watch::Receiver<bool>,
        keeper: JoinHandle<()>,
    },
}

impl Leadership {
    pub(super) fn of_file(epoch: u32, lock: File) -> Self {
        Self {
            epoch,
            held: Held::File { _lock: lock },
        }
    }

    pub(super) fn of_connection(epoch: u32, lost: watch::Receiver<bool>, keeper: JoinHandle<()>) -> Self {
        Self {
            epoch,
            held: Held::Connection { lost, keeper },
        }
    }

    /// The number of this coordinator among all that were started on the store, from 1. Coordinators that
    /// started earlier can no longer write to the journal.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Waits until the right is lost, maybe for ever. Another coordinator may act by then.
    pub async fn lost(&self) {
        match &self.held {
            Held::File { .. } => std::future::pending().await,
            Held::Connection { lost, .. } => {
                // An error means that the task is gone, and the connection with it.
                let _ = lost.clone().wait_for(|lost| *lost).await;
            }
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if let Held::Connection { keeper, .. } = &self.held {
            keeper.abort();
        }
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}
