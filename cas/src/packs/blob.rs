//! How blobs of several chunks come in.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use thresh_core::chunk::{Codec, Frame, Part, Recipe};
use thresh_core::digest::Digest;

use super::record::Kind;
use super::{PackError, PackStore};
use crate::chunk::encode_recipe;
use crate::hash::{finish, update};

/// Chunks of a blob that are unpacked at once, on all cores: at most 4 MiB.
const PARTS_AHEAD: usize = 16;

impl PackStore {
    /// Stores a blob, after its whole content was verified. `frames` brings those of its chunks that are not there, in
    /// the order of the recipe, each once.
    ///
    /// Returns the chunks that are neither there nor came; if there are any, the blob is not stored. What came is kept
    /// either way.
    ///
    /// # Errors
    /// A frame is not what it says, the chunks make another blob, or the disk is full.
    pub fn put_blob(
        &self,
        digest: Digest,
        recipe: &Recipe,
        frames: impl FnMut() -> Option<Frame>,
    ) -> Result<Vec<Digest>, PackError> {
        let mut coming = Coming { frames, next: None };
        let mut hasher = blake3::Hasher::new();
        let mut missing = Vec::new();
        for parts in recipe.parts().chunks(PARTS_AHEAD) {
            let came = self.take(parts, &mut coming, &mut missing);
            let came = came.par_iter().map(|frame| Ok((frame.digest, self.put(frame)?)));
            let came: HashMap<Digest, Vec<u8>> = came.collect::<Result<_, PackError>>()?;
            if !missing.is_empty() {
                continue;
            }
            let contents = parts.par_iter().map(|part| self.part(&digest, part, &came));
            for content in contents.collect::<Result<Vec<_>, _>>()? {
                update(&mut hasher, &content);
            }
        }
        if !missing.is_empty() {
            return Ok(missing);
        }
        match finish(&hasher) {
            actual if actual == digest => self.put_recipe(digest, recipe).map(|()| missing),
            actual => Err(PackError::WrongDigest {
                expected: digest,
                actual,
            }),
        }
    }

    /// The frames that bring these parts; those that none brings are `missing` if they are not there either.
    fn take<F: FnMut() -> Option<Frame>>(
        &self,
        parts: &[Part],
        coming: &mut Coming<F>,
        missing: &mut Vec<Digest>,
    ) -> Vec<Frame> {
        let (mut came, mut seen) = (Vec::new(), HashSet::new());
        for part in parts.iter().filter(|part| seen.insert(part.digest)) {
            if let Some(frame) = coming.take(&part.digest) {
                came.push(frame);
            } else if !self.contains(&part.digest) {
                missing.push(part.digest);
            }
        }
        came
    }

    /// The content of a part of a blob.
    fn part(
        &self,
        blob: &Digest,
        part: &Part,
        came: &HashMap<Digest, Vec<u8>>,
    ) -> Result<Vec<u8>, PackError> {
        let content = match came.get(&part.digest) {
            Some(content) => content.clone(),
            None => self.chunk(&part.digest)?,
        };
        if content.len() == part.size as usize {
            return Ok(content);
        }
        Err(PackError::WrongSize {
            digest: *blob,
            chunk: part.digest,
            expected: part.size,
            actual: content.len(),
        })
    }

    /// Stores how a blob is put together whose content the caller has verified.
    ///
    /// # Errors
    /// The disk is full or cannot be written to.
    pub fn put_recipe(&self, digest: Digest, recipe: &Recipe) -> Result<(), PackError> {
        let encoded = encode_recipe(recipe);
        let data = zstd::bulk::compress(&encoded, 3).unwrap_or_default();
        let (codec, data) = match data.len() {
            1.. if data.len() < encoded.len() => (Codec::Zstd, data),
            _ => (Codec::Raw, encoded.clone()),
        };
        let frame = Frame {
            digest,
            size: u32::try_from(encoded.len()).unwrap_or(u32::MAX),
            bases: Vec::new(),
            codec,
            data,
        };
        self.append(Kind::Recipe, digest, &frame)
    }
}

/// The frames that come, with one of them at hand.
struct Coming<F> {
    frames: F,
    next: Option<Frame>,
}

impl<F: FnMut() -> Option<Frame>> Coming<F> {
    /// The next frame, if it brings this chunk.
    fn take(&mut self, digest: &Digest) -> Option<Frame> {
        if self.next.is_none() {
            self.next = (self.frames)();
        }
        self.next.take_if(|frame| frame.digest == *digest)
    }
}
