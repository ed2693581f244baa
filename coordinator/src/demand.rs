//! Blobs that workers wait for and clients bring only when asked: not decisions, so they bypass the driver, and
//! nothing is durable: who was cut off asks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use tokio::sync::watch;
use tonic::Status;

/// What is waited for. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demands {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Who waits for each blob of a run.
    waiting: Mutex<BTreeMap<RunId, BTreeMap<Digest, Waiting>>>,
    /// Counts demands.
    demanded: watch::Sender<u64>,
    /// Counts blobs that were stored.
    stored: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    /// Why the client cannot bring it.
    refused: Option<String>,
}

impl Demands {
    /// Asks for a blob, until the answer is dropped.
    pub(crate) fn demand(&self, run: RunId, digest: Digest) -> Demand {
        self.waiting()
            .entry(run)
            .or_default()
            .entry(digest)
            .or_default()
            .count += 1;
        self.inner.demanded.send_modify(|count| *count += 1);
        Demand {
            stored: self.inner.stored.subscribe(),
            demands: self.clone(),
            run,
            digest,
        }
    }

    /// Tells of what is asked for, from now on.
    pub(crate) fn news(&self, run: RunId) -> News {
        News {
            changes: self.inner.demanded.subscribe(),
            demands: self.clone(),
            run,
            told: BTreeSet::new(),
        }
    }

    /// What is asked for now.
    fn of(&self, run: RunId) -> BTreeSet<Digest> {
        let waiting = self.waiting();
        let digests = waiting.get(&run).into_iter().flat_map(BTreeMap::keys);
        digests.copied().collect()
    }

    /// The client cannot bring a blob; who waits for it now need not go on.
    pub(crate) fn refuse(&self, run: RunId, digest: &Digest, why: String) {
        if let Some(waiting) = self.waiting().get_mut(&run).and_then(|run| run.get_mut(digest)) {
            waiting.refused = Some(why);
        }
        self.note_stored();
    }

    /// A blob was stored.
    pub(crate) fn note_stored(&self) {
        self.inner.stored.send_modify(|count| *count += 1);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<RunId, BTreeMap<Digest, Waiting>>> {
        // Each change is a single step, so that a panic elsewhere leaves nothing half done.
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Someone waits for a blob.
#[derive(Debug)]
pub(crate) struct Demand {
    demands: Demands,
    stored: watch::Receiver<u64>,
    run: RunId,
    digest: Digest,
}

impl Demand {
    /// Waits until the blob is `there`, or until the client says that it cannot bring it. Was it there before the
    /// demand, that is seen at once.
    pub(crate) async fn arrival<F>(mut self, there: impl Fn() -> F) -> Result<(), Status>
    where
        F: Future<Output = Result<bool, Status>>,
    {
        loop {
            if there().await? {
                return Ok(());
            }
            if let Some(why) = self.refused() {
                let why = format!("the run's client cannot bring it: {why}");
                return Err(Status::not_found(why));
            }
            // The sender lives in the demands, so that there is always a next change.
            let _ = self.stored.changed().await;
        }
    }

    /// Why the client cannot bring it, if that is so.
    fn refused(&self) -> Option<String> {
        let waiting = self.demands.waiting();
        waiting.get(&self.run)?.get(&self.digest)?.refused.clone()
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        let mut waiting = self.demands.waiting();
        let Some(digests) = waiting.get_mut(&self.run) else {
            return;
        };
        if let Some(waiting) = digests.get_mut(&self.digest) {
            waiting.count -= 1;
            if waiting.count == 0 {
                digests.remove(&self.digest);
            }
        }
        if digests.is_empty() {
            waiting.remove(&self.run);
        }
    }
}

/// What is asked for of one run, each blob once for as long as someone waits for it.
#[derive(Debug)]
pub(crate) struct News {
    demands: Demands,
    run: RunId,
    changes: watch::Receiver<u64>,
    told: BTreeSet<Digest>,
}

impl News {
    /// What has been asked for since the last call; waits until there is something.
    pub(crate) async fn next(&mut self) -> Vec<Digest> {
        loop {
            self.changes.mark_unchanged();
            let wanted = self.demands.of(self.run);
            let new: Vec<Digest> = wanted.difference(&self.told).copied().collect();
            self.told = wanted;
            if !new.is_empty() {
                return new;
            }
            // The sender lives in the demands, so that there is always a next change.
            let _ = self.changes.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_lasts_as_long_as_someone_waits() {
        let (demands, run) = (Demands::default(), RunId::from_u128(1));
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let first = demands.demand(run, a);
        let again = demands.demand(run, a);
        let other = demands.demand(run, b);
        drop(first);
        assert_eq!(demands.of(run), BTreeSet::from([a, b]));
        assert!(demands.of(RunId::from_u128(2)).is_empty());
        demands.refuse(run, &a, "gone".to_owned());
        assert_eq!(
            (again.refused(), other.refused()),
            (Some("gone".to_owned()), None)
        );
        drop((again, other));
        assert!(demands.waiting().is_empty());
    }
}
