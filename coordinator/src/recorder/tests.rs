use thresh_core::digest::Digest;
use thresh_core::estimate::CaseSamples;
use thresh_core::id::RunId;
use thresh_core::schedule::StopReason;
use thresh_core::verdict::Tally;
use thresh_proto::v1::run_event::Event;

use super::*;
use crate::driver::Chunk;
use crate::store::{CaseId, KnownPass, LastPass, PastCase, StoreError};

/// A store on a full disk.
struct FullStore;

fn full() -> StoreError {
    StoreError::Full {
        path: "thresh.db".into(),
    }
}

#[tonic::async_trait]
impl Store for FullStore {
    async fn record(&self, _: Batch) -> Result<(), StoreError> {
        Err(full())
    }
    async fn samples(&self, _: &str) -> Result<Vec<CaseSamples>, StoreError> {
        Err(full())
    }
    async fn history(&self, _: &str, _: &[String], _: u32) -> Result<Vec<PastCase>, StoreError> {
        Err(full())
    }
    async fn find_passes(&self, _: &[CaseKey]) -> Result<Vec<KnownPass>, StoreError> {
        Err(full())
    }
    async fn touch_passes(&self, _: &[CaseKey], _: Timestamp) -> Result<(), StoreError> {
        Err(full())
    }
    async fn last_passes(&self, _: &str, _: &[CaseId]) -> Result<Vec<Option<LastPass>>, StoreError> {
        Err(full())
    }
    async fn lists(&self, _: &[Digest], _: Timestamp) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        Err(full())
    }
    async fn put_lists(&self, _: &[(Digest, Vec<u8>)], _: Timestamp) -> Result<(), StoreError> {
        Err(full())
    }
    async fn sweep(&self, _: Timestamp) -> Result<bool, StoreError> {
        Err(full())
    }
    async fn close(&self) {}
}

#[tokio::test]
async fn a_run_ends_although_its_history_cannot_be_written_and_says_so() {
    let clock = Clock::start();
    let recorder = Recorder::start(Arc::new(FullStore), clock);
    let log = Arc::new(RunLog::new());
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
    assert_eq!(
        ended.message,
        "history was not written: failed to write thresh.db: the disk is full"
    );
    assert!(recorder.flush().await.unwrap().is_err());
}
