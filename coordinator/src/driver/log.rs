//! What happened in a run, for those who follow it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message;
use thresh_core::time::Timestamp;
use thresh_proto::v1;
use thresh_proto::v1::run_event::Event;
use tokio::sync::watch;

use super::followers::Followers;

/// The most output and observations that one run's log keeps, in bytes. Beyond it the oldest are left out, which followers
/// have long had, unless they are very slow; the events themselves all stay.
const OUTPUT_BYTES_MAX: usize = 256 << 20;

/// The events of a run, numbered from 1 without gaps. After the end nothing is added. Followers see an event once
/// it is revealed: when it is as durable as it is to be.
#[derive(Debug)]
pub(crate) struct RunLog {
    /// What the run executes, if that is an action.
    action: Option<v1::Action>,
    /// Who follows the action.
    followers: Mutex<Followers>,
    entries: Mutex<Entries>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Entries {
    events: Vec<v1::RunEvent>,
    /// How many of them followers may see.
    revealed: usize,
    /// The positions of the events whose output is kept, oldest first, each with its bytes.
    with_output: VecDeque<(usize, usize)>,
    output_bytes: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    Ended,
    /// The coordinator ends before the run does.
    Abandoned,
}

/// What a follower gets at once.
#[derive(Debug, PartialEq)]
pub(crate) enum Chunk {
    /// Never empty.
    Events(Vec<v1::RunEvent>),
    /// All events were delivered, the run has ended.
    Ended,
    /// The coordinator is shutting down.
    Abandoned,
}

impl RunLog {
    pub(crate) fn new(action: Option<v1::Action>) -> Self {
        Self {
            action,
            followers: Mutex::default(),
            entries: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// A log with the events of an earlier coordinator.
    pub(super) fn restored(events: Vec<v1::RunEvent>, ended: bool, action: Option<v1::Action>) -> Self {
        let log = Self::new(action);
        {
            let mut entries = log.entries();
            entries.revealed = events.len();
            for event in events {
                entries.keep(event);
            }
            if ended {
                entries.phase = Phase::Ended;
            }
        }
        log
    }

    /// What the run executes, if that is an action.
    pub(crate) fn action(&self) -> Option<&v1::Action> {
        self.action.as_ref()
    }

    /// Who follows the action.
    pub(crate) fn followers(&self) -> MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, and returns it as it is kept; `None` after the end.
    pub(super) fn append<R>(
        &self,
        at: Timestamp,
        event: Event,
        look: impl FnOnce(&v1::RunEvent) -> R,
    ) -> Option<R> {
        let mut entries = self.entries();
        let number = entries.events.len() as u64 + 1;
        let event = v1::RunEvent {
            number,
            at_micros: at.as_micros(),
            event: Some(event),
        };
        if entries.phase != Phase::Open {
            return None;
        }
        let looked = look(&event);
        entries.keep(event);
        Some(looked)
    }

    /// Whether the end is published.
    pub(crate) fn has_ended(&self) -> bool {
        self.entries().phase != Phase::Open
    }

    /// The number of events.
    pub(super) fn len(&self) -> usize {
        self.entries().events.len()
    }

    /// Lets followers see the first `count` events, and wakes them.
    pub(super) fn reveal(&self, count: usize) {
        {
            let mut entries = self.entries();
            entries.revealed = entries.revealed.max(count.min(entries.events.len()));
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Adds the last event, and lets followers see everything.
    pub(crate) fn end(&self, at: Timestamp, ended: v1::RunEnded) {
        self.append(at, Event::Ended(ended), |_| ());
        let count = {
            let mut entries = self.entries();
            if entries.phase == Phase::Open {
                entries.phase = Phase::Ended;
            }
            entries.events.len()
        };
        self.reveal(count);
    }

    pub(super) fn abandon(&self) {
        {
            let mut entries = self.entries();
            if entries.phase == Phase::Open {
                entries.phase = Phase::Abandoned;
            }
        }
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Waits for events after number `after`; returns at most `max` of them.
    pub(crate) async fn read(&self, after: u64, max: usize) -> Chunk {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(chunk) = self.entries().after(after, max) {
                return chunk;
            }
            if changes.changed().await.is_err() {
                return Chunk::Abandoned;
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Every change is a single push or assignment, so that a panic elsewhere leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn keep(&mut self, event: v1::RunEvent) {
        self.events.push(event);
        self.bound_output(self.events.len() - 1, OUTPUT_BYTES_MAX);
    }

    /// Counts the output of the newest event, and leaves out the oldest while there is more than `bytes_max`.
    fn bound_output(&mut self, newest: usize, bytes_max: usize) {
        let event = &mut self.events[newest];
        let output: usize = streams(event)
            .map(|stream| stream.head.len() + stream.tail.len())
            .sum();
        let bytes = output + observed(event).map_or(0, |seen| seen.encoded_len());
        if bytes == 0 {
            return;
        }
        self.with_output.push_back((newest, bytes));
        self.output_bytes += bytes;
        while self.output_bytes > bytes_max
            && let Some((oldest, bytes)) = self.with_output.pop_front()
        {
            self.output_bytes -= bytes;
            if let Some(Event::Attempt(attempt)) = &mut self.events[oldest].event {
                attempt.observed = None;
            }
            for stream in streams(&mut self.events[oldest]) {
                stream.omitted_bytes += (stream.head.len() + stream.tail.len()) as u64;
                // Not cleared, which would keep the memory behind them.
                stream.head = Default::default();
                stream.tail = Default::default();
            }
        }
    }

    fn after(&self, after: u64, max: usize) -> Option<Chunk> {
        let from = usize::try_from(after).unwrap_or(usize::MAX).min(self.revealed);
        let events = &self.events[from..self.revealed];
        match self.phase {
            _ if !events.is_empty() => Some(Chunk::Events(events[..events.len().min(max)].to_vec())),
            Phase::Open => None,
            Phase::Ended => Some(Chunk::Ended),
            Phase::Abandoned => Some(Chunk::Abandoned),
        }
    }
}

/// What a case was seen to depend on, if an event tells.
fn observed(event: &v1::RunEvent) -> Option<&v1::Observation> {
    match &event.event {
        Some(Event::Attempt(attempt)) => attempt.observed.as_ref(),
        _ => None,
    }
}

/// The output that an event brings.
fn streams(event: &mut v1::RunEvent) -> impl Iterator<Item = &mut v1::Stream> {
    let output = match &mut event.event {
        Some(Event::Attempt(attempt)) => attempt.output.as_mut(),
        Some(Event::SetupScript(script)) => script.output.as_mut(),
        _ => None,
    };
    output
        .into_iter()
        .flat_map(|output| [&mut output.stdout, &mut output.stderr])
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(5);

    fn numbers(chunk: Chunk) -> Vec<u64> {
        match chunk {
            Chunk::Events(events) => events.iter().map(|event| event.number).collect(),
            Chunk::Ended | Chunk::Abandoned => Vec::new(),
        }
    }

    fn add(log: &RunLog) {
        log.append(AT, Event::Reused(v1::CaseReused::default()), |_| ());
    }

    #[tokio::test]
    async fn events_are_numbered_from_one_and_read_from_any_point() {
        let log = RunLog::new(None);
        for _ in 0..3 {
            add(&log);
        }
        log.reveal(9);
        assert_eq!(numbers(log.read(0, 2).await), [1, 2]);
        assert_eq!(numbers(log.read(2, 2).await), [3]);
        log.end(AT, v1::RunEnded::default());
        add(&log);
        assert_eq!(numbers(log.read(3, 9).await), [4], "nothing follows the end");
        assert_eq!(log.read(4, 9).await, Chunk::Ended);
        assert_eq!(log.read(u64::MAX, 9).await, Chunk::Ended);
    }

    #[test]
    fn the_oldest_output_is_left_out_beyond_the_limit() {
        let mut entries = Entries::default();
        for _ in 0..3 {
            let stdout = v1::Stream {
                head: vec![b'h'; 60].into(),
                tail: vec![b't'; 20].into(),
                omitted_bytes: 1,
            };
            let output = v1::Output {
                stdout: Some(stdout),
                stderr: None,
            };
            let event = v1::RunEvent {
                event: Some(Event::Attempt(v1::AttemptEnded {
                    output: Some(output),
                    ..Default::default()
                })),
                ..Default::default()
            };
            entries.events.push(event);
            entries.bound_output(entries.events.len() - 1, 200);
        }
        let mut kept = |at: usize| {
            let stream = streams(&mut entries.events[at]).next().unwrap();
            (stream.head.len(), stream.tail.len(), stream.omitted_bytes)
        };
        assert_eq!(
            [kept(0), kept(1), kept(2)],
            [(0, 0, 81), (60, 20, 1), (60, 20, 1)]
        );
        assert_eq!(entries.output_bytes, 160);
    }

    #[tokio::test]
    async fn a_reader_waits_for_what_is_not_there_yet() {
        let log = RunLog::new(None);
        let (chunk, ()) = tokio::join!(log.read(0, 9), async {
            add(&log);
            add(&log);
            log.reveal(1);
        });
        assert_eq!(numbers(chunk), [1], "the second is not revealed");
        let (chunk, ()) = tokio::join!(log.read(1, 9), async { log.abandon() });
        assert_eq!(chunk, Chunk::Abandoned);
    }
}
