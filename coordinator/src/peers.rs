//! Who of a site gives blobs to whom: the handle on [`Spread`]. Not decisions of runs, so they bypass the driver, and
//! nothing is durable: who is cut off asks again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thresh_core::digest::Digest;
use thresh_core::spread::{Assigned, Source, Spread, SpreadPolicy, Wish};
use tokio::sync::oneshot;

use crate::clock::Clock;

/// Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
}

#[derive(Debug)]
struct Inner {
    spread: Spread,
    answers: BTreeMap<u64, oneshot::Sender<Source>>,
    last: u64,
}

impl Peers {
    pub(crate) fn new(policy: SpreadPolicy, clock: Clock) -> Self {
        let inner = Inner {
            spread: Spread::new(policy),
            answers: BTreeMap::new(),
            last: 0,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            clock,
        }
    }

    /// Asks where to take a blob from. `wish` gets a number.
    pub(crate) fn want(&self, wish: Wish) -> Wanting {
        let mut inner = self.inner();
        inner.last += 1;
        let number = inner.last;
        let (sender, answer) = oneshot::channel();
        inner.answers.insert(number, sender);
        inner.apply(|spread, out| spread.want(self.clock.now(), Wish { number, ..wish }, out));
        Wanting {
            peers: self.clone(),
            number,
            answer,
        }
    }

    /// A worker of a site has blobs.
    pub(crate) fn hold(&self, site: &str, digests: &[Digest], address: &str) {
        let mut inner = self.inner();
        for digest in digests {
            inner.apply(|spread, out| spread.hold(site, *digest, address, out));
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic of the core would leave hints at worst.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn apply(&mut self, change: impl FnOnce(&mut Spread, &mut Vec<Assigned>)) {
        let mut out = Vec::new();
        change(&mut self.spread, &mut out);
        for Assigned { number, source } in out {
            if let Some(answer) = self.answers.remove(&number) {
                // Whoever asked may have gone: the end of its wish follows.
                let _ = answer.send(source);
            }
        }
    }
}

/// Someone has asked where to take a blob from; its place there is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Wanting {
    peers: Peers,
    number: u64,
    answer: oneshot::Receiver<Source>,
}

impl Wanting {
    /// Waits for the answer.
    pub(crate) async fn answer(&mut self) -> Source {
        loop {
            let deadline = self.peers.inner().spread.next_deadline();
            let deadline = deadline.and_then(|at| self.peers.clock.instant_of(at));
            let time = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Without an answer nobody knows better than the store.
                source = &mut self.answer => return source.unwrap_or(Source::Store),
                () = time => {
                    let now = self.peers.clock.now();
                    self.peers.inner().apply(|spread, out| spread.advance(now, out));
                }
            }
        }
    }
}

impl Drop for Wanting {
    fn drop(&mut self) {
        let mut inner = self.peers.inner();
        inner.answers.remove(&self.number);
        inner.apply(|spread, out| spread.end(self.number, out));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_place_is_free_when_who_had_it_goes() {
        let policy = SpreadPolicy {
            patience: Duration::from_millis(20),
            ..SpreadPolicy::default()
        };
        let peers = Peers::new(policy, Clock::start());
        let wish = |name: &str| Wish {
            number: 0,
            site: "site".to_owned(),
            digest: Digest::of(b"blob"),
            address: name.to_owned(),
            unable: BTreeSet::new(),
        };
        let mut all: Vec<Wanting> = ["a", "b", "c", "d"].map(|name| peers.want(wish(name))).into();
        assert_eq!(all[0].answer().await, Source::Store);
        assert_eq!(all[1].answer().await, Source::Store);
        drop(all.remove(0));
        assert_eq!(
            all[1].answer().await,
            Source::Store,
            "the third has the place of the first"
        );
        // The fourth has waited long enough.
        assert_eq!(all[2].answer().await, Source::Store);
        drop(all);
        assert!(peers.inner().answers.is_empty());
    }
}
