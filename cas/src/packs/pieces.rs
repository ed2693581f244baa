//! How a blob goes out as a stream of bytes.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::vec;

use thresh_core::chunk::Part;
use thresh_core::digest::Digest;

use super::ahead::{Ahead, TOGETHER_BYTES};
use super::{PackError, PackStore};

/// How a chunk is read.
pub(super) type ReadChunk = fn(&PackStore, &Digest) -> Result<Vec<u8>, PackError>;

/// What came of reading some chunks.
type Contents = VecDeque<Result<Vec<u8>, PackError>>;

impl PackStore {
    /// The whole content of a blob, for one that is known to be short.
    ///
    /// # Errors
    /// It is missing, was damaged, or cannot be read.
    pub fn read_whole(&self, digest: &Digest) -> Result<Vec<u8>, PackError> {
        let mut content = Vec::new();
        for piece in self.read_from(digest, 0)? {
            content.extend(piece?);
        }
        Ok(content)
    }

    /// The content of a blob from a position on.
    ///
    /// # Errors
    /// It is missing.
    pub fn read_from(&self, digest: &Digest, position: u64) -> Result<BlobPieces, PackError> {
        let (parts, skip) = match self.recipe(digest) {
            Ok(recipe) => {
                let first = recipe.part_at(position);
                let skip = position.saturating_sub(recipe.offset(first));
                (recipe.parts()[first..].to_vec(), skip)
            }
            Err(PackError::Missing { .. }) => {
                let size = self.size(digest).ok_or(PackError::Missing { digest: *digest })?;
                let part = Part {
                    digest: *digest,
                    size: u32::try_from(size).unwrap_or(u32::MAX),
                };
                (Vec::from_iter((position < size).then_some(part)), position)
            }
            Err(error) => return Err(error),
        };
        Ok(BlobPieces {
            skip: usize::try_from(skip).unwrap_or(usize::MAX),
            ..self.pieces(parts, Self::chunk)
        })
    }

    /// The content of chunks, read one by one as `read` does.
    pub(super) fn pieces(&self, parts: Vec<Part>, read: ReadChunk) -> BlobPieces {
        BlobPieces {
            store: self.clone(),
            read,
            parts: parts.into_iter(),
            coming: Ahead::new(&self.inner.sharers),
            ready: VecDeque::new(),
            skip: 0,
        }
    }
}

/// A blob from a position on, piece by piece. Each piece was verified. Not to be taken to a thread of a pool that others
/// need.
#[derive(Debug)]
pub struct BlobPieces {
    store: PackStore,
    read: ReadChunk,
    parts: vec::IntoIter<Part>,
    /// Chunks that were read.
    ready: Contents,
    /// Those behind them, which are being read.
    coming: Ahead<Contents>,
    /// Bytes of the next chunk that are not wanted.
    skip: usize,
}

impl BlobPieces {
    /// Waits for the next chunks, and has those behind them read meanwhile.
    fn refill(&mut self) {
        while self.coming.count() < self.coming.limit().max(1) && !self.parts.as_slice().is_empty() {
            let (store, read, parts) = (self.store.clone(), self.read, self.take_parts());
            let reading = move || parts.iter().map(|part| read(&store, &part.digest)).collect();
            self.coming.begin(reading);
        }
        self.ready = self.coming.next().unwrap_or_default();
    }

    fn take_parts(&mut self) -> Vec<Part> {
        let mut bytes = 0;
        let more = |part: &&Part| {
            let before = bytes;
            bytes += part.size as usize;
            before < TOGETHER_BYTES
        };
        let count = self.parts.as_slice().iter().take_while(more).count();
        self.parts.by_ref().take(count).collect()
    }
}

impl Iterator for BlobPieces {
    type Item = Result<Vec<u8>, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            self.refill();
        }
        let skip = std::mem::take(&mut self.skip);
        Some(self.ready.pop_front()?.map(|mut content| {
            content.drain(..skip.min(content.len()));
            content
        }))
    }
}

/// [`BlobPieces`] as a stream of bytes.
#[derive(Debug)]
pub struct BlobReading {
    pieces: BlobPieces,
    piece: Vec<u8>,
    at: usize,
}

impl From<BlobPieces> for BlobReading {
    fn from(pieces: BlobPieces) -> Self {
        Self {
            pieces,
            piece: Vec::new(),
            at: 0,
        }
    }
}

impl Read for BlobReading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.next() {
                None => return Ok(0),
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
            }
            self.at = 0;
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
