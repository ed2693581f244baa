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
    /// Returns the chunks that are neither there nor came, or came packed against what is not there; if there are any,
    /// the blob is not stored. What came is kept either way.
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
        let (mut missing, mut noted) = (Vec::new(), HashSet::new());
        for parts in recipe.parts().chunks(PARTS_AHEAD) {
            let came = take(parts, &mut coming);
            let came = came
                .par_iter()
                .map(|frame| Ok((frame.digest, or_gone(self.put(frame))?)));
            let came: HashMap<Digest, Option<Vec<u8>>> = came.collect::<Result<_, PackError>>()?;
            let contents = parts
                .par_iter()
                .map(|part| or_gone(self.part(&digest, part, &came)));
            for (part, content) in parts.iter().zip(contents.collect::<Result<Vec<_>, PackError>>()?) {
                match content {
                    Some(content) => update(&mut hasher, &content),
                    None if noted.insert(part.digest) => missing.push(part.digest),
                    None => {}
                }
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

    /// The content of a part of a blob.
    fn part(
        &self,
        blob: &Digest,
        part: &Part,
        came: &HashMap<Digest, Option<Vec<u8>>>,
    ) -> Result<Vec<u8>, PackError> {
        let content = match came.get(&part.digest) {
            Some(Some(content)) => content.clone(),
            // Its bases are gone; but it may be here.
            Some(None) | None => self.chunk(&part.digest)?,
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
        if self
            .recipe(&digest)
            .is_ok_and(|there| there.parts() == recipe.parts())
        {
            return Ok(());
        }
        // One that lists other chunks may be of a time when those were there.
        self.state().slots.remove(&(Kind::Recipe, digest));
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

/// The frames that bring some of these parts.
fn take<F: FnMut() -> Option<Frame>>(parts: &[Part], coming: &mut Coming<F>) -> Vec<Frame> {
    let mut seen = HashSet::new();
    let new = parts.iter().filter(|part| seen.insert(part.digest));
    new.filter_map(|part| coming.take(&part.digest)).collect()
}

/// `None` for what is not there, or was found damaged and dropped: whoever has it can send it.
fn or_gone(content: Result<Vec<u8>, PackError>) -> Result<Option<Vec<u8>>, PackError> {
    match content {
        Err(PackError::Missing { .. } | PackError::Damaged { .. }) => Ok(None),
        content => content.map(Some),
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
