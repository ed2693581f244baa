//! Events of a run on their way to the journal.

use prost::Message;
use thresh_core::id::RunId;
use thresh_proto::v1::RunEvent;

use crate::store::JournalEntry;

/// The events of a run that are yet to be journaled, each after its length.
#[derive(Debug, Default)]
pub(super) struct Unjournaled {
    first_number: u64,
    count: u32,
    payload: Vec<u8>,
}

impl Unjournaled {
    /// Adds an event. Events come in the order of their numbers.
    pub(super) fn add(&mut self, event: &RunEvent) {
        if self.count == 0 {
            self.first_number = event.number;
        }
        self.count += 1;
        event
            .encode_length_delimited(&mut self.payload)
            .expect("a vector grows as far as it is written");
    }

    /// Takes what has come, as an entry of `run`.
    pub(super) fn take(&mut self, run: RunId) -> Option<JournalEntry> {
        let Self {
            first_number,
            count,
            payload,
        } = std::mem::take(self);
        (count > 0).then(|| JournalEntry::Events {
            run,
            first_number,
            count,
            payload: payload.into(),
        })
    }
}
