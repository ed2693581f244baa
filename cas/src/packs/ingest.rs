//! How a blob comes in as a stream of bytes.

use std::io::Read;

use thresh_core::chunk::{CHUNK_BYTES_MAX, Part, Recipe};
use thresh_core::digest::Digest;

use super::ahead::{Ahead, TOGETHER_BYTES};
use super::name::{BlobName, DigestFunction, NameHasher};
use super::record::Kind;
use super::{PackError, PackStore};
use crate::chunk::{Cutter, pack, pack_fast};
use crate::hash::fill;

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
            let (mut contents, mut bytes) = (Vec::new(), 0);
            while bytes < TOGETHER_BYTES
                && let Some(content) = cutter.next_content()
            {
                let content: Vec<u8> = content.map_err(|cause| PackError::Source { name: *name, cause })?;
                own.update(&content);
                if let Some(other) = &mut other {
                    other.update(&content);
                }
                bytes += content.len();
                contents.push(content);
            }
            Ok::<_, PackError>(contents)
        };
        // While some are packed, the next ones come and are hashed.
        let mut packing: Ahead<Result<Vec<Part>, PackError>> = Ahead::new(&self.inner.sharers);
        loop {
            let contents = next()?;
            if contents.is_empty() {
                break;
            }
            let store = self.clone();
            packing.begin(move || store.keep_chunks(&contents));
            while packing.count() > packing.limit() {
                parts.extend(packing.next().transpose()?.into_iter().flatten());
            }
        }
        while let Some(packed) = packing.next() {
            parts.extend(packed?);
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

    /// Stores chunks that were just cut, in order.
    fn keep_chunks(&self, contents: &[Vec<u8>]) -> Result<Vec<Part>, PackError> {
        let parts = contents.iter().map(|content| {
            let part = Part::of(content);
            if !self.contains(&part.digest) {
                self.append(Kind::Chunk, part.digest, &pack_fast(part.digest, content))?;
            }
            Ok(part)
        });
        parts.collect()
    }
}
