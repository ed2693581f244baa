//! What goes on beside: complete packs are copied as they come, small ones put together, old ones removed.

use std::collections::BTreeMap;
use std::time::Duration;

use object_store::ObjectStoreExt;
use thresh_core::digest::Digest;
use thresh_core::time::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Bucket;
use crate::driver::Handle;

/// How often all is copied that nobody has asked to be.
const EVERY: Duration = Duration::from_secs(60);
/// An object that is no longer needed is removed after this time: whoever was told its address may still read it.
const REMOVED_AFTER: Duration = Duration::from_secs(30 * 60);
/// Small packs that are left alone: every run that brought something makes one.
const SMALL_MAX: usize = 64;
/// How long a run waits for its blobs to be copied before it goes on without.
const PATIENCE: Duration = Duration::from_secs(30);

/// What upkeep remembers.
struct Chores {
    /// Objects that are not needed any more, and since when.
    unneeded: BTreeMap<Digest, Timestamp>,
    /// When all is looked after again.
    next: Instant,
}

impl Bucket {
    /// Looks after the bucket until the driver ends.
    pub(crate) fn start_upkeep(&self, driver: Handle) {
        let bucket = self.clone();
        tokio::spawn(async move {
            let mut chores = Chores {
                unneeded: BTreeMap::new(),
                next: Instant::now() + EVERY,
            };
            loop {
                tokio::select! {
                    // Also in the middle of something: another coordinator may lead by then.
                    biased;
                    () = driver.ended() => return,
                    () = bucket.look_after(&mut chores) => {}
                }
            }
        });
    }

    /// Blobs were stored.
    pub(crate) fn note_stored(&self) {
        self.inner.news.notify_one();
    }

    /// Copies what a run needs before it begins. Where that cannot be done soon, it goes on: its blobs come from here.
    pub(crate) async fn before_run(&self) {
        if self.is_away() {
            return;
        }
        let bucket = self.clone();
        // It goes on also when nobody waits any more, so that the next run need not begin again.
        let mut copying = tokio::spawn(async move {
            let copied = bucket.copy_all().await;
            bucket.note_use(&copied);
            told("copy blobs", copied);
        });
        if tokio::time::timeout(PATIENCE, &mut copying).await.is_err() {
            tracing::warn!(
                "blobs are not yet copied to {} after {PATIENCE:?}",
                self.inner.address
            );
        }
    }

    async fn look_after(&self, chores: &mut Chores) {
        let next = self
            .tried_again_at()
            .map_or(chores.next, |at| at.min(chores.next));
        tokio::select! {
            () = self.inner.news.notified() => told("copy blobs", self.copy_complete().await),
            () = tokio::time::sleep_until(next) => {
                self.tidy(&mut chores.unneeded).await;
                chores.next = Instant::now() + EVERY;
            }
        }
    }

    async fn tidy(&self, unneeded: &mut BTreeMap<Digest, Timestamp>) {
        if !self.is_attached() {
            told("take in blobs", self.attach_all().await);
        }
        let packs = self.inner.packs.clone();
        let merged = spawn_blocking(move || packs.merge(SMALL_MAX));
        match merged.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("small packs are not put together: failed to {error}"),
            Err(ended) => tracing::error!("small packs are not put together: {ended}"),
        }
        let copied = self.copy_all().await;
        self.note_use(&copied);
        told("copy blobs", copied);
        self.remove_unneeded(unneeded).await;
    }

    async fn remove_unneeded(&self, unneeded: &mut BTreeMap<Digest, Timestamp>) {
        let now = self.inner.clock.now();
        let mut gone = self.there();
        for needed in self.inner.packs.names() {
            gone.remove(&needed);
        }
        unneeded.retain(|pack, _| gone.contains(pack));
        for pack in gone {
            let since = *unneeded.entry(pack).or_insert(now);
            if now.since(since) < REMOVED_AFTER {
                continue;
            }
            match self.inner.store.delete(&self.path(&pack)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => self.forget(&pack),
                Err(cause) => return told("remove", Err(self.failed("remove old blobs from")(cause))),
            }
        }
    }
}

fn told(what: &str, done: Result<(), super::BucketError>) {
    if let Err(error) = done {
        tracing::warn!("{what}: failed to {error}; it is tried again");
    }
}
