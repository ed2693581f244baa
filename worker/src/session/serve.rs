//! The loop of one session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, error::TryRecvError, error::TrySendError, unbounded_channel};
use tokio::sync::watch;

use super::connection::{Connection, said};
use super::live::Live;
use super::worker::{Order, Parts};
use crate::exec;
use crate::slots::Said;

/// Words of the slots that are taken before what they lead to is sent.
const WORDS_MAX: usize = 64;
/// While every slot is busy, reports wait until the last message is this old: very short cases then share
/// messages. It delays nobody, as the slots have what they need.
const PACE: Duration = Duration::from_millis(3);
/// How long to wait, when leaving, until the coordinator has read everything.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The worker was told to leave, and has left.
    Left,
    /// It is over for the given reason.
    Over(String),
}

/// Serves one session to its end. Afterwards nothing of it runs.
pub(super) async fn serve(
    parts: &Arc<Parts>,
    mut connection: Connection,
    told: &mut watch::Receiver<Order>,
) -> End {
    let (to_hear, mut heard) = unbounded_channel();
    let (to_learn, mut learnt) = unbounded_channel();
    let mut live = Live::new(
        parts.clone(),
        connection.terms,
        connection.greeted,
        to_hear,
        to_learn,
    );
    let mut sent = Instant::now();
    let stopped = loop {
        match *told.borrow_and_update() {
            Order::Stop => break true,
            Order::Drain if !live.draining => live.drain(),
            Order::Drain | Order::Work => {}
        }
        live.advance();
        let held_until = sent + PACE;
        let held = live.may_wait() && Instant::now() < held_until;
        if !held && send(&mut live, &connection) {
            sent = Instant::now();
        }
        if live.over.is_some() || live.is_done() {
            break false;
        }
        // Only while the core is not over, and then it has a deadline.
        let due = live.next_deadline().unwrap_or_else(Instant::now);
        let deadline = if held { due.min(held_until) } else { due };
        tokio::select! {
            biased;
            changed = told.changed() => if changed.is_err() {
                // The handle is gone, and with it the wish for a worker.
                break true;
            },
            message = connection.inbound.message() => match message {
                Ok(Some(message)) => live.receive(message),
                Ok(None) => live.end("the coordinator closed the connection".to_owned()),
                Err(status) => live.end(said(&status)),
            },
            Some(word) = heard.recv(), if live.outbox.has_room() => take_words(&mut live, word, &mut heard),
            Some((run, news)) = learnt.recv() => live.learnt(run, news),
            // There is room for what could not be sent above, or nobody there to read it.
            _ = connection.outbound.reserve(), if !held && !live.outbox.is_empty() => {}
            () = tokio::time::sleep_until(deadline.into()) => {}
        }
    };
    if stopped {
        live.end("the worker was stopped".to_owned());
    }
    let over = live.over.clone();
    if over.is_none() {
        say_farewell(connection).await;
    } else {
        drop(connection);
    }
    let leaves = stopped || live.draining;
    quiesce(live, heard).await;
    match over {
        Some(cause) if !leaves => End::Over(cause),
        _ => End::Left,
    }
}

/// Hands over what can be sent now. Returns whether that was anything.
fn send(live: &mut Live, connection: &Connection) -> bool {
    let mut any = false;
    while live.over.is_none() && !live.outbox.is_empty() {
        match connection.outbound.try_reserve() {
            Ok(permit) => {
                if let Some(message) = live.outbox.take() {
                    permit.send(message);
                    any = true;
                }
            }
            Err(TrySendError::Full(())) => break,
            Err(TrySendError::Closed(())) => live.end("the connection was closed".to_owned()),
        }
    }
    any
}

/// Takes the word, and those that have come since.
fn take_words(live: &mut Live, word: Said, heard: &mut UnboundedReceiver<Said>) {
    live.heard(word);
    for _ in 1..WORDS_MAX {
        match heard.try_recv() {
            Ok(word) => live.heard(word),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
        }
    }
}

/// Closes this side of the stream and waits for the other: then everything has been read.
async fn say_farewell(connection: Connection) {
    let Connection {
        mut inbound,
        outbound,
        ..
    } = connection;
    drop(outbound);
    let read = async { while let Ok(Some(_)) = inbound.message().await {} };
    if tokio::time::timeout(FAREWELL_MAX, read).await.is_err() {
        tracing::warn!("the coordinator did not close the connection; the last reports may be lost");
    }
}

/// Waits until nothing of the session runs any more. Everything that did has been killed, or has ended.
async fn quiesce(mut live: Live, mut heard: UnboundedReceiver<Said>) {
    let killed = live.over.is_some();
    let runs: Vec<_> = live.runs.keys().copied().collect();
    for run in runs {
        live.release(run);
    }
    while live.busy > 0 {
        match heard.recv().await {
            Some(word) => live.heard(word),
            None => break,
        }
    }
    while live.ending.join_next().await.is_some() {}
    if killed && tokio::task::spawn_blocking(exec::kill_leftovers).await.is_err() {
        tracing::error!("processes of the last session may have been left over");
    }
}
