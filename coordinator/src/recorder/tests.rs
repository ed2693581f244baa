use thresh_core::id::RunId;
use thresh_core::schedule::StopReason;
use thresh_core::verdict::Tally;
use thresh_proto::v1::run_event::Event;

use super::*;
use crate::driver::Chunk;
use crate::store::bad::{BadStore, busy, full};

/// Ends a run; returns what its last event says, and what the answer to a flush is.
async fn end_of_run(store: BadStore) -> (String, Result<(), String>) {
    let clock = Clock::start();
    let recorder = Recorder::start(Arc::new(store), clock, None);
    let log = Arc::new(RunLog::new(None));
    let record = RunRecord {
        run: RunId::from_u128(1),
        project: "p".into(),
        title: String::new(),
        started: clock.now(),
        took: Duration::ZERO,
        reason: StopReason::Complete,
        tally: Tally::new(0),
    };
    recorder.end(End {
        record,
        at: clock.now(),
        ended: v1::RunEnded::default(),
        log: log.clone(),
    });
    let Chunk::Events(events) = log.read(0, 9).await else {
        panic!("the end is published")
    };
    let Some(Event::Ended(ended)) = &events[0].event else {
        panic!("the end is the only event")
    };
    (ended.message.clone(), recorder.flush().await.unwrap())
}

#[tokio::test]
async fn a_run_ends_although_its_history_cannot_be_written_and_says_so() {
    let (message, flushed) = end_of_run(BadStore::new(u32::MAX, full)).await;
    assert_eq!(
        message,
        "history was not written: failed to write thresh.db: the disk is full"
    );
    assert!(flushed.is_err());
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    let (message, flushed) = end_of_run(BadStore::new(2, busy)).await;
    assert_eq!((&*message, flushed), ("", Ok(())));
}
