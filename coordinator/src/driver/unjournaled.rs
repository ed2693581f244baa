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
    /// What has come before, in pieces that any database takes.
    pieces: Vec<Piece>,
}

/// The number of the first event, how many they are, and the events.
type Piece = (u64, u32, Vec<u8>);

/// A piece is ended when it has so many bytes.
const PIECE_BYTES: usize = 16 << 20;

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
        if self.payload.len() >= PIECE_BYTES {
            self.end_piece();
        }
    }

    fn end_piece(&mut self) {
        if self.count > 0 {
            let payload = std::mem::take(&mut self.payload);
            self.pieces.push((self.first_number, self.count, payload));
            self.count = 0;
        }
    }

    /// Takes what has come, as entries of `run`.
    pub(super) fn take(&mut self, run: RunId) -> impl Iterator<Item = JournalEntry> + use<> {
        self.end_piece();
        let pieces = std::mem::take(&mut self.pieces).into_iter();
        pieces.map(move |(first_number, count, payload)| JournalEntry::Events {
            run,
            first_number,
            count,
            payload: payload.into(),
        })
    }
}
