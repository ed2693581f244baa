//! Work on all cores whose results are wanted in order, a little later.

use std::collections::VecDeque;
use std::sync::mpsc;

/// Chunks of so many bytes together are packed, or unpacked, by one thread, one after the other.
pub(super) const TOGETHER_BYTES: usize = 512 << 10;
/// So often at once, while others come or are passed on: at most 4 MiB for each blob that comes or goes.
pub(super) const AHEAD: usize = 4;

/// What was begun and not yet asked for. Whoever drops it waits until all that was begun has ended, so that nothing
/// holds the folder any more.
#[derive(Debug)]
pub(super) struct Ahead<T>(VecDeque<mpsc::Receiver<T>>);

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
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
        self.0.push_back(receiver);
    }
}

impl<T> Ahead<T> {
    /// How much was begun and not yet asked for.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits for the result of what was begun first; `None` where nothing was.
    pub(super) fn next(&mut self) -> Option<T> {
        let receiver = self.0.pop_front()?;
        Some(receiver.recv().expect("the work does not panic"))
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        for receiver in self.0.drain(..) {
            let _ = receiver.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_order() -> Vec<u32> {
        let mut ahead = Ahead::default();
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
    fn who_wants_no_more_waits_for_what_was_begun() {
        let held = std::sync::Arc::new(());
        let mut ahead = Ahead::default();
        for _ in 0..10 {
            let held = held.clone();
            ahead.begin(move || drop(held));
        }
        drop(ahead);
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
    }
}
