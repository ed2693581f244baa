use thresh_core::id::RunId;
use thresh_core::time::Timestamp;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::clock::Clock;
use crate::driver::Departure;
use crate::store::bad::{BadStore, busy, full};

/// A turn with something to journal, and what tells that its departure has left.
fn turn() -> (Turn, oneshot::Receiver<()>) {
    let (mark, marked) = oneshot::channel();
    let entry = JournalEntry::Closed {
        run: RunId::from_u128(1),
        at: Timestamp::default(),
    };
    let turn = Turn {
        entries: vec![entry],
        departures: vec![Departure::Mark(mark)],
    };
    (turn, marked)
}

fn started(store: BadStore) -> (Outlet, watch::Receiver<JournalState>) {
    let store = Arc::new(store);
    let recorder = Recorder::start(store.clone(), Clock::start(), None);
    start(store, recorder, 1)
}

fn superseded() -> StoreError {
    StoreError::Superseded {
        at: "thresh.db".parse().unwrap(),
        epoch: 1,
        leader: 2,
    }
}

#[tokio::test]
async fn nothing_leaves_before_it_is_written_and_everything_then() {
    for error in [full as fn() -> StoreError, busy] {
        let (outlet, mut state) = started(BadStore::new(3, error));
        let (first, mut left) = turn();
        outlet.send(first);
        state.changed().await.unwrap();
        assert!(matches!(&*state.borrow_and_update(), JournalState::Stuck(_)));
        assert!(outlet.trouble().is_some_and(|why| why.contains("thresh.db")));
        assert_eq!(left.try_recv(), Err(TryRecvError::Empty));
        left.await.unwrap();
        assert_eq!(
            (&*state.borrow(), outlet.trouble()),
            (&JournalState::Written, None)
        );
    }
}

#[tokio::test]
async fn nothing_leaves_a_coordinator_that_was_superseded() {
    let (outlet, mut state) = started(BadStore::new(1, superseded));
    let (first, left) = turn();
    outlet.send(first);
    assert!(left.await.is_err());
    let is_superseded = |state: &JournalState| matches!(state, JournalState::Superseded(_));
    state.wait_for(is_superseded).await.unwrap();
    let (second, left) = turn();
    outlet.send(second);
    assert!(left.await.is_err());
}
