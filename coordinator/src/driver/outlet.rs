//! What leaves the coordinator, held back until everything before it is on the disk.

use std::sync::Arc;

use thresh_proto::v1::CoordinatorMessage;
use tokio::sync::{mpsc, oneshot, watch};

use super::command::Reply;
use super::link::Outbound;
use super::log::RunLog;
use super::refusal::Refusal;
use super::task::answer;
use crate::recorder::{End, Recorder};
use crate::store::{AttemptRecord, AuditRecord, JournalEntry, PassRecord};

/// Something that others learn of.
#[derive(Debug)]
pub(crate) enum Departure {
    /// A message for a worker.
    Message(Outbound, Box<CoordinatorMessage>),
    /// Followers of a run see its first events.
    Reveal(Arc<RunLog>, usize),
    /// A client is told.
    Answer(Reply<()>, Result<(), Refusal>),
    /// An attempt goes into the history.
    Attempt(Box<AttemptRecord>),
    /// A pass may be reused.
    Pass(Box<PassRecord>),
    /// An audit found something.
    Audit(Box<AuditRecord>),
    /// A run's end is recorded in the history, and then published.
    End(Box<End>),
    /// Whoever waits for all before it.
    Mark(oneshot::Sender<()>),
}

impl Departure {
    pub(crate) fn go(self, recorder: &Recorder) {
        // Whoever it is for may be gone, each time.
        match self {
            Self::Message(outbound, message) => drop(outbound.send(Ok(*message))),
            Self::Reveal(log, count) => log.reveal(count),
            Self::Answer(reply, result) => answer(reply, result),
            Self::Attempt(record) => recorder.attempt(*record),
            Self::Pass(record) => recorder.pass(*record),
            Self::Audit(record) => recorder.audit(*record),
            Self::End(end) => recorder.end(*end),
            Self::Mark(mark) => drop(mark.send(())),
        }
    }
}

/// What one turn of the driver leads to: the departures leave when the entries are on the disk.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) entries: Vec<JournalEntry>,
    pub(crate) departures: Vec<Departure>,
}

/// Whether the journal is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum JournalState {
    #[default]
    Written,
    /// Not at present, and why. It is tried again and again.
    Stuck(String),
    /// Another coordinator leads; nothing leaves this one any more.
    Superseded(String),
}

/// Where turns go.
#[derive(Debug)]
pub(crate) enum Outlet {
    /// Nothing is journaled: everything leaves at once, history to the recorder.
    Open(Recorder),
    /// To the task that commits. Unbounded, since the driver goes on while the disk is slow; what can pile up is
    /// bounded by what workers hold: no lease leaves before the commit.
    Journaled {
        turns: mpsc::UnboundedSender<Turn>,
        state: watch::Receiver<JournalState>,
    },
}

impl Outlet {
    pub(super) fn is_journaled(&self) -> bool {
        matches!(self, Self::Journaled { .. })
    }

    pub(crate) fn send(&self, turn: Turn) {
        match self {
            Self::Open(recorder) => turn.departures.into_iter().for_each(|next| next.go(recorder)),
            // Closed when another coordinator leads: then nothing may leave.
            Self::Journaled { turns, .. } => drop(turns.send(turn)),
        }
    }

    /// Why nothing can be made durable now.
    pub(crate) fn trouble(&self) -> Option<String> {
        match self {
            Self::Open(_) => None,
            Self::Journaled { state, .. } => match &*state.borrow() {
                JournalState::Written => None,
                JournalState::Stuck(why) | JournalState::Superseded(why) => Some(why.clone()),
            },
        }
    }
}
