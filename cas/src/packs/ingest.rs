//! How a blob comes in as a stream of bytes, and goes out as one.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::vec;

use rayon::prelude::*;
use thresh_core::chunk::{CHUNK_BYTES_MAX, Part, Recipe};
use thresh_core::digest::Digest;

use super::name::{BlobName, DigestFunction, NameHasher};
use super::record::Kind;
use super::{PackError, PackStore};
use crate::chunk::{Cutter, Piece, pack};
use crate::hash::fill;

/// Chunks that are packed or unpacked at once, on all cores: at most 4 MiB.
const PIECES_AHEAD: usize = 16;

impl PackStore {
    /// Stores a blob under a name, after its whole content was verified, and returns its digest. In memory there is
    /// never more of it than a few chunks.
    ///
    /// # Errors
    /// `source` cannot be read, brings something else than the name says, or the disk is full.
    pub fn ingest(&self, name: &BlobName, source: impl Read) -> Result<Digest, PackError> {
        // One byte more tells that there is more than announced.
        let mut source = source.take(name.size.saturating_add(1));
        let mut first =
            vec![0; (CHUNK_BYTES_MAX + 1).min(usize::try_from(name.size).unwrap_or(usize::MAX)) + 1];
        let length =
            fill(&mut source, &mut first).map_err(|cause| PackError::Source { name: *name, cause })?;
        first.truncate(length);
        if first.len() <= CHUNK_BYTES_MAX {
            return self.ingest_chunk(name, &first);
        }
        self.ingest_chunks(name, first.chain(source))
    }

    fn ingest_chunk(&self, name: &BlobName, content: &[u8]) -> Result<Digest, PackError> {
        let actual = BlobName::of(name.function, content);
        if actual != *name {
            return Err(PackError::WrongContent {
                expected: *name,
                actual,
            });
        }
        let digest = match name.function {
            DigestFunction::Blake3 => Digest::from_bytes(name.hash),
            DigestFunction::Sha256 => Digest::of(content),
        };
        if !content.is_empty() {
            self.put(&pack(digest, content))?;
            self.put_alias(name, &digest)?;
        }
        Ok(digest)
    }

    fn ingest_chunks(&self, name: &BlobName, source: impl Read) -> Result<Digest, PackError> {
        let mut own = NameHasher::new(DigestFunction::Blake3);
        let mut other = (name.function != DigestFunction::Blake3).then(|| NameHasher::new(name.function));
        let mut parts: Vec<Part> = Vec::new();
        let mut cutter = Cutter::new(source);
        let mut next = || {
            let pieces = cutter.by_ref().take(PIECES_AHEAD);
            let pieces = pieces.collect::<io::Result<Vec<Piece>>>();
            let pieces = pieces.map_err(|cause| PackError::Source { name: *name, cause })?;
            for piece in &pieces {
                own.update(&piece.content);
                if let Some(other) = &mut other {
                    other.update(&piece.content);
                }
            }
            Ok::<_, PackError>(pieces)
        };
        // While some are packed, the next ones come and are hashed.
        let mut pieces = next()?;
        while !pieces.is_empty() {
            parts.extend(pieces.iter().map(|piece| piece.part));
            let packed = &pieces;
            let (coming, kept) = if rayon::current_thread_index().is_some() {
                // One of those threads that would have to do the packing: it must not wait for the others.
                let kept = self.keep_pieces(packed);
                (next(), kept)
            } else {
                std::thread::scope(|scope| {
                    let keeping = scope.spawn(|| self.keep_pieces(packed));
                    let coming = next();
                    (coming, keeping.join().expect("keeping does not panic"))
                })
            };
            kept?;
            pieces = coming?;
        }
        let own = own.finish();
        let actual = other.map_or(own, NameHasher::finish);
        if actual != *name {
            return Err(PackError::WrongContent {
                expected: *name,
                actual,
            });
        }
        let digest = Digest::from_bytes(own.hash);
        let recipe = Recipe::new(parts).expect("what was cut is not empty");
        self.put_recipe(digest, &recipe)?;
        self.put_alias(name, &digest)?;
        Ok(digest)
    }

    /// Stores chunks that were just cut, and named by their content.
    fn keep_pieces(&self, pieces: &[Piece]) -> Result<(), PackError> {
        pieces.par_iter().try_for_each(|piece| {
            let digest = piece.part.digest;
            if self.contains(&digest) {
                return Ok(());
            }
            self.append(Kind::Chunk, digest, &pack(digest, &piece.content))
        })
    }

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
        let parts = match self.recipe(digest) {
            Ok(recipe) => recipe.parts().to_vec(),
            Err(PackError::Missing { .. }) => {
                let size = self.size(digest).ok_or(PackError::Missing { digest: *digest })?;
                let size = u32::try_from(size).unwrap_or(u32::MAX);
                let digest = *digest;
                Vec::from_iter((size > 0).then_some(Part { digest, size }))
            }
            Err(error) => return Err(error),
        };
        let mut skipped = 0;
        let before = parts.iter().take_while(|part| {
            let is_before = skipped + u64::from(part.size) <= position;
            skipped += if is_before { u64::from(part.size) } else { 0 };
            is_before
        });
        let before = before.count();
        let mut parts = parts.into_iter();
        parts.by_ref().take(before).for_each(drop);
        Ok(BlobPieces {
            store: self.clone(),
            parts,
            ready: VecDeque::new(),
            skip: usize::try_from(position - skipped.min(position)).unwrap_or(usize::MAX),
        })
    }
}

/// A blob from a position on, piece by piece. Each piece was verified.
#[derive(Debug)]
pub struct BlobPieces {
    store: PackStore,
    parts: vec::IntoIter<Part>,
    /// Chunks that were read, several at once on all cores.
    ready: VecDeque<Result<Vec<u8>, PackError>>,
    /// Bytes of the next chunk that are not wanted.
    skip: usize,
}

impl Iterator for BlobPieces {
    type Item = Result<Vec<u8>, PackError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            let parts: Vec<Part> = self.parts.by_ref().take(PIECES_AHEAD).collect();
            let read = parts.par_iter().map(|part| self.store.chunk(&part.digest));
            self.ready = read.collect::<Vec<_>>().into();
        }
        let skip = std::mem::take(&mut self.skip);
        Some(self.ready.pop_front()?.map(|mut content| {
            content.drain(..skip.min(content.len()));
            content
        }))
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
