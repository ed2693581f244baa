//! What the services share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thresh_cas::PackStore;
use thresh_core::digest::Digest;
use thresh_core::estimate::Estimates;
use thresh_core::id::RunId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::recent::Recent;
use super::uploads::Uploads;
use crate::bucket::Bucket;
use crate::clock::Clock;
use crate::demand::Demands;
use crate::driver::Handle;
use crate::services;
use crate::store::Store;

/// Streams at once: fewer than there are threads, which others need, too.
const STREAMS_MAX: usize = 192;
/// Trees that are read at once.
const EXPANSIONS_MAX: usize = 4;
/// Actions, commands and folders that are read at once.
const READINGS_MAX: usize = 8;
/// Of so many actions it is remembered which run executes them.
const RUNNING_MAX: usize = 100_000;
/// How long what is known of a project's actions is used before it is asked for again.
const ESTIMATES_TIME: Duration = Duration::from_secs(30);
/// Of so many projects it is remembered.
const PROJECTS_MAX: usize = 64;

/// By project, with when they were asked for.
type KnownEstimates = HashMap<String, (Instant, Arc<Estimates>)>;

/// Who executes an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shared {
    /// Someone is about to have it executed.
    Claimed,
    Running(RunId),
}

/// The right to have an action executed.
pub(super) struct Claim {
    reapi: Reapi,
    key: Digest,
    run: RunId,
    is_fulfilled: bool,
}

impl Claim {
    /// Its run is submitted: others may follow it.
    pub(super) fn fulfil(mut self) {
        lock(&self.reapi.running).insert(self.key, Shared::Running(self.run));
        self.is_fulfilled = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_fulfilled {
            lock(&self.reapi.running).remove(&self.key);
        }
        self.reapi.submitted.notify_waiters();
    }
}

/// What the services share. Clones share everything.
#[derive(Clone)]
pub(crate) struct Reapi {
    pub(super) blobs: PackStore,
    pub(super) driver: Handle,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    demands: Demands,
    /// Where blobs are, too.
    bucket: Option<Bucket>,
    pub(super) uploads: Uploads,
    pub(super) recent: Recent,
    /// Blobs that come or go as streams, each with a thread.
    pub(super) streams: Arc<Semaphore>,
    /// Who reads trees.
    expansions: Arc<Semaphore>,
    /// Who reads messages.
    readings: Arc<Semaphore>,
    /// The run of each action that is being executed and may be shared.
    running: Arc<Mutex<HashMap<Digest, Shared>>>,
    /// Whoever waits for an action to be submitted looks again.
    submitted: Arc<Notify>,
    estimates: Arc<Mutex<KnownEstimates>>,
}

impl Reapi {
    /// `None` where there are no blobs.
    pub(crate) fn new(shared: &services::Shared) -> Option<Self> {
        Some(Self {
            blobs: shared.blobs.clone()?,
            driver: shared.driver.clone(),
            store: shared.store.clone(),
            clock: shared.clock,
            demands: shared.demands.clone(),
            bucket: shared.bucket.clone(),
            uploads: Uploads::default(),
            recent: Recent::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            expansions: Arc::new(Semaphore::new(EXPANSIONS_MAX)),
            readings: Arc::new(Semaphore::new(READINGS_MAX)),
            running: Arc::default(),
            submitted: Arc::default(),
            estimates: Arc::default(),
        })
    }

    /// Blobs were stored.
    pub(super) fn note_stored(&self) {
        self.demands.note_stored();
        if let Some(bucket) = &self.bucket {
            bucket.note_stored();
        }
    }

    /// Has what a run needs where its workers look for it first.
    pub(super) async fn before_run(&self) {
        if let Some(bucket) = &self.bucket {
            bucket.before_run().await;
        }
    }

    /// Runs what blocks, and takes memory for a whole tree, on a thread: a few of those at once.
    pub(super) async fn expanding<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        holding(place(&self.expansions).await?, action).await
    }

    /// The same for the memory of a single message, so that those do not wait for trees.
    pub(super) async fn reading<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        holding(self.reading_place().await?, action).await
    }

    /// A place among those who read messages.
    pub(super) async fn reading_place(&self) -> Result<OwnedSemaphorePermit, Status> {
        place(&self.readings).await
    }

    /// A place for a stream.
    pub(super) fn stream(&self) -> Result<OwnedSemaphorePermit, Status> {
        let permit = self.streams.clone().try_acquire_owned();
        permit.map_err(|_| {
            Status::resource_exhausted(format!("{STREAMS_MAX} blobs are on their way; try again"))
        })
    }

    /// What is known of how long a project's actions take. A store that fails costs that knowledge.
    pub(super) async fn estimates(&self, project: &str) -> Arc<Estimates> {
        let fresh =
            |(at, known): &(Instant, Arc<Estimates>)| (at.elapsed() < ESTIMATES_TIME).then(|| known.clone());
        let known = lock(&self.estimates).get(project).and_then(fresh);
        if let Some(known) = known {
            return known;
        }
        let samples = self.store.samples(project).await.unwrap_or_else(|error| {
            tracing::warn!("actions go without estimates: failed to {error}");
            Vec::new()
        });
        let known = Arc::new(Estimates::new(&samples));
        let mut all = lock(&self.estimates);
        if all.len() >= PROJECTS_MAX {
            all.retain(|_, (at, _)| at.elapsed() < ESTIMATES_TIME);
        }
        all.insert(project.to_owned(), (Instant::now(), known.clone()));
        known
    }

    /// The run that executes an action. Where there is none yet, `run` is to: until the claim is
    /// [fulfilled](Claim::fulfil) others wait for it, and when it is dropped, one of them takes its place.
    pub(super) async fn share(&self, key: Digest, run: RunId) -> Result<Claim, RunId> {
        loop {
            let submitted = self.submitted.notified();
            {
                let mut running = lock(&self.running);
                if running.len() >= RUNNING_MAX {
                    // Of actions that nobody waited for to the end. Those that go on may be executed twice.
                    running.clear();
                }
                match running.get(&key) {
                    Some(Shared::Running(run)) => return Err(*run),
                    Some(Shared::Claimed) => {}
                    None => {
                        running.insert(key, Shared::Claimed);
                        return Ok(Claim {
                            reapi: self.clone(),
                            key,
                            run,
                            is_fulfilled: false,
                        });
                    }
                }
            }
            submitted.await;
        }
    }

    /// The run does not execute the action any more.
    pub(super) fn unshare(&self, key: &Digest, run: RunId) {
        let mut running = lock(&self.running);
        if running.get(key) == Some(&Shared::Running(run)) {
            running.remove(key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each change is a single step, so that a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let permit = places.clone().acquire_owned().await;
    permit.map_err(|_| Status::unavailable("the coordinator is shutting down"))
}

/// Runs what blocks, and holds a place until it has ended, also when nobody waits for it any more.
async fn holding<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    action: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    blocking(move || {
        let _permit = permit;
        action()
    })
    .await
}

/// Runs what blocks on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    action: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(action).await;
    done.map_err(|error| Status::internal(format!("a thread that handled blobs ended early: {error}")))?
}
