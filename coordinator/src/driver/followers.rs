//! Who wants an action that several clients may have asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Who closes a stream and then cancels does so within this time.
const LEAVING: Duration = Duration::from_secs(60);

/// Clients that follow an action. They are not told apart: all of them know the operation by the same name, and each may
/// cancel it.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    streams: usize,
    /// When those left that have not cancelled.
    left: VecDeque<Instant>,
}

impl Followers {
    /// One begins to follow.
    pub(crate) fn come(&mut self) {
        self.streams += 1;
    }

    /// One follows no longer; it may cancel yet.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.forget(now);
        self.streams = self.streams.saturating_sub(1);
        self.left.push_back(now);
    }

    /// One does not want the action any more. Returns whether nobody else does: who has just left is taken to be the one
    /// who cancels, so that those who still follow keep what they asked for.
    pub(crate) fn cancel(&mut self, now: Instant) -> bool {
        self.forget(now);
        match self.left.pop_front() {
            Some(_) => self.streams == 0,
            None => self.streams <= 1,
        }
    }

    fn forget(&mut self, now: Instant) {
        while self
            .left
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= LEAVING)
        {
            self.left.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_ends_the_action_before_and_after_its_stream() {
        let now = Instant::now();
        let mut followers = Followers::default();
        assert!(followers.cancel(now), "nobody follows");
        followers.come();
        assert!(followers.cancel(now));
        followers.leave(now);
        assert!(followers.cancel(now));
    }

    #[test]
    fn who_cancels_after_its_stream_has_closed_leaves_the_action_to_others() {
        let now = Instant::now();
        let mut followers = Followers::default();
        followers.come();
        followers.come();
        assert!(!followers.cancel(now), "two follow");
        followers.leave(now);
        assert!(!followers.cancel(now), "it was the one that left");
        assert!(followers.cancel(now), "it is the one that is there");
    }

    #[test]
    fn who_left_long_ago_does_not_cancel() {
        let now = Instant::now();
        let mut followers = Followers::default();
        followers.come();
        followers.come();
        followers.leave(now);
        assert!(followers.cancel(now + LEAVING));
    }
}
