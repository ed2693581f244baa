//! What of a run is on the disk before anyone hears of it, so that another coordinator can carry it on.

use std::sync::Arc;

use prost::bytes::Bytes;
use thresh_core::id::RunId;
use thresh_core::time::Timestamp;

/// Something that must not be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalEntry {
    /// A run was accepted. Saying it again changes nothing.
    Submitted {
        /// The run.
        run: RunId,
        /// The project.
        project: Arc<str>,
        /// When.
        at: Timestamp,
        /// The submission, in any encoding.
        request: Bytes,
    },
    /// Events of a run. Saying events with the same first number again changes nothing.
    Events {
        /// The run; if it was never submitted, the events are dropped.
        run: RunId,
        /// The number of the first of them.
        first_number: u64,
        /// How many they are.
        count: u32,
        /// The events, in any encoding.
        payload: Bytes,
    },
    /// A run is over: nobody needs to carry it on.
    Closed {
        /// The run.
        run: RunId,
        /// When.
        at: Timestamp,
    },
}

/// A run as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRun {
    /// The run.
    pub run: RunId,
    /// The project.
    pub project: Arc<str>,
    /// When it was submitted.
    pub at: Timestamp,
    /// When it was over, if it is.
    pub closed: Option<Timestamp>,
    /// The submission, as it was given.
    pub request: Bytes,
    /// Its events, by the number of the first, ascending.
    pub events: Vec<EventBatch>,
}

/// Events that were given together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// The number of the first.
    pub first_number: u64,
    /// How many they are.
    pub count: u32,
    /// The events, as they were given.
    pub payload: Bytes,
}
