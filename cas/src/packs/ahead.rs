//! Work on all cores whose results are wanted in order, a little later.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

/// Chunks of so many bytes together are packed, or unpacked, by one thread, one after the other.
pub(super) const TOGETHER_BYTES: usize = 512 << 10;
/// So often at once, while others come or are passed on: about 2 MiB for each blob that comes or goes.
const AHEAD: usize = 4;
/// So often for all blobs together, about 32 MiB, but for those that go out, of which each has 512 KiB ahead: where many come and go at once,
/// there is no core left for more.
const AHEAD_OF_ALL: usize = 64;

/// How many blobs come and go at once.
pub(super) type Sharers = Arc<AtomicUsize>;

/// What was begun and not yet asked for. Whoever drops it waits until all that was begun has ended, so that nothing
/// holds the folder any more.
#[derive(Debug)]
pub(super) struct Ahead<T> {
    begun: VecDeque<mpsc::Receiver<T>>,
    sharers: Sharers,
}

impl<T: Send + 'static> Ahead<T> {
    /// Begins work. On a thread that works for others it is done at once: such threads must not wait for each other.
    pub(super) fn begin(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        let (sender, receiver) = mpsc::sync_channel(1);
        let run = move || {
            let done = work();
            let _ = sender.send(done);
        };
        if rayon::current_thread_index().is_some() {
            run();
        } else {
            rayon::spawn(run);
        }
        self.begun.push_back(receiver);
    }
}

impl<T> Ahead<T> {
    /// Nothing yet, of one blob more.
    pub(super) fn new(sharers: &Sharers) -> Self {
        sharers.fetch_add(1, Ordering::Relaxed);
        Self {
            begun: VecDeque::new(),
            sharers: sharers.clone(),
        }
    }

    /// How much was begun and not yet asked for.
    pub(super) fn count(&self) -> usize {
        self.begun.len()
    }

    /// How much may be ahead of what is asked for.
    pub(super) fn limit(&self) -> usize {
        (AHEAD_OF_ALL / self.sharers.load(Ordering::Relaxed).max(1)).min(AHEAD)
    }

    /// Waits for the result of what was begun first; `None` where nothing was.
    pub(super) fn next(&mut self) -> Option<T> {
        let receiver = self.begun.pop_front()?;
        Some(receiver.recv().expect("the work does not panic"))
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        for receiver in self.begun.drain(..) {
            let _ = receiver.recv();
        }
        self.sharers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order() -> Vec<u32> {
        let mut ahead = Ahead::new(&Sharers::default());
        (0..100).for_each(|number| ahead.begin(move || number));
        assert_eq!(ahead.count(), 100);
        std::iter::from_fn(|| ahead.next()).collect()
    }

    #[test]
    fn results_come_in_order_also_where_all_threads_wait() {
        let expected: Vec<u32> = (0..100).collect();
        assert_eq!(in_order(), expected);
        assert!(
            rayon::broadcast(|_| in_order())
                .iter()
                .all(|order| *order == expected)
        );
    }

    #[test]
    fn many_blobs_share_what_is_done_ahead() {
        let sharers = Sharers::default();
        let one: Ahead<()> = Ahead::new(&sharers);
        assert_eq!(one.limit(), AHEAD);
        let many: Vec<Ahead<()>> = (0..AHEAD_OF_ALL).map(|_| Ahead::new(&sharers)).collect();
        assert_eq!(one.limit(), 0);
        drop(many);
        assert_eq!(one.limit(), AHEAD);
    }

    #[test]
    fn who_wants_no_more_waits_for_what_was_begun() {
        let held = Arc::new(());
        let mut ahead = Ahead::new(&Sharers::default());
        for _ in 0..10 {
            let held = held.clone();
            ahead.begin(move || drop(held));
        }
        drop(ahead);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
