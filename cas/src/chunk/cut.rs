//! Where a blob is cut.

use std::io::{self, Read};

use fastcdc::v2020::FastCDC;
use thresh_core::chunk::{CHUNK_BYTES_MAX, Part};

use super::{CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MIN};
use crate::hash::fill;

/// Bytes read at once: several chunks, so that what is left of a read is moved seldom. Each blob that comes has so many in memory.
const READ_BYTES: usize = 2 * CHUNK_BYTES_MAX;

/// A chunk and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its place in the recipe.
    pub part: Part,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// Cuts a stream into chunks as FastCDC does (Xia et al., "The Design of Fast Content-Defined Chunking for Data
/// Deduplication Based Storage Systems", 2020).
#[derive(Debug)]
pub struct Cutter<R> {
    source: R,
    buffer: Vec<u8>,
    /// What was read and not yet cut: `buffer[begin..end]`.
    begin: usize,
    end: usize,
}

impl<R: Read> Cutter<R> {
    /// Cuts `source`.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; READ_BYTES],
            begin: 0,
            end: 0,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.end - self.begin >= CHUNK_BYTES_MAX {
            return Ok(());
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end -= self.begin;
        self.begin = 0;
        self.end += fill(&mut self.source, &mut self.buffer[self.end..])?;
        Ok(())
    }

    /// The content of the next chunk; `None` at the end.
    pub(crate) fn next_content(&mut self) -> Option<io::Result<Vec<u8>>> {
        if let Err(cause) = self.refill() {
            return Some(Err(cause));
        }
        let window = (self.end - self.begin).min(CHUNK_BYTES_MAX);
        let window = &self.buffer[self.begin..self.begin + window];
        let mut cuts = FastCDC::new(window, CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX);
        let content = window[..cuts.next()?.length].to_vec();
        self.begin += content.len();
        Some(Ok(content))
    }
}

impl<R: Read> Iterator for Cutter<R> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<io::Result<Piece>> {
        let piece = |content: Vec<u8>| Piece {
            part: Part::of(&content),
            content,
        };
        Some(self.next_content()?.map(piece))
    }
}
