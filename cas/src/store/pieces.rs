//! Chunks within the blobs: what a newer version of a blob need not fetch.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use thresh_core::chunk::Recipe;
use thresh_core::digest::Digest;

use super::{BlobStore, StoreError, Variant};
use crate::chunk::{decode_recipe, encode_recipe};

/// How the name of a recipe ends, after its blob's digest.
pub(super) const RECIPE: char = 'r';

/// Where a chunk is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    blob: Digest,
    offset: u64,
    size: u32,
}

impl BlobStore {
    /// Keeps how a blob is put together, for as long as it is there, so that its chunks can be found.
    ///
    /// # Errors
    /// The disk is full or cannot be written to.
    pub fn put_recipe(&self, digest: &Digest, recipe: &Recipe) -> Result<(), StoreError> {
        let path = self.recipe_path(digest);
        let failed = |cause| StoreError::io("write", &path, cause);
        let mut file = tempfile::NamedTempFile::new_in(&self.inner.tmp).map_err(failed)?;
        file.write_all(&encode_recipe(recipe)).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        if let Some(pieces) = &mut *self.pieces() {
            note(pieces, digest, recipe);
        }
        Ok(())
    }

    /// How a blob that is here is put together, if that was kept.
    pub fn recipe(&self, digest: &Digest) -> Option<Recipe> {
        self.path(digest, Variant::Plain).symlink_metadata().ok()?;
        decode_recipe(&fs::read(self.recipe_path(digest)).ok()?).ok()
    }

    /// Whether a chunk is within a blob that is here, and sound when it was last verified.
    pub fn has_piece(&self, chunk: &Digest) -> bool {
        self.place(chunk).is_some()
    }

    /// The content of a chunk that is within a blob that is here; verified.
    pub fn piece(&self, chunk: &Digest) -> Option<Vec<u8>> {
        let place = self.place(chunk)?;
        let file = File::open(self.path(&place.blob, Variant::Plain)).ok()?;
        let mut content = vec![0; place.size as usize];
        file.read_exact_at(&mut content, place.offset).ok()?;
        (Digest::of(&content) == *chunk).then_some(content)
    }

    fn place(&self, chunk: &Digest) -> Option<Place> {
        let place = self.noted(chunk)?;
        if self.path_verified(&place.blob).is_ok() {
            return Some(place);
        }
        // The blob was trimmed or damaged; others may have the same chunk.
        *self.pieces() = None;
        let _ = fs::remove_file(self.recipe_path(&place.blob));
        self.noted(chunk)
            .filter(|place| self.path_verified(&place.blob).is_ok())
    }

    fn noted(&self, chunk: &Digest) -> Option<Place> {
        let mut pieces = self.pieces();
        pieces
            .get_or_insert_with(|| self.all_pieces())
            .get(chunk)
            .copied()
    }

    fn pieces(&self) -> MutexGuard<'_, Option<HashMap<Digest, Place>>> {
        // Each change of the map is a single insertion or removal.
        self.inner.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_pieces(&self) -> HashMap<Digest, Place> {
        let mut pieces = HashMap::new();
        for entry in walkdir::WalkDir::new(&self.inner.dir).min_depth(2).max_depth(2) {
            // What cannot be read is fetched again.
            let Ok(entry) = entry else { continue };
            let name = entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_suffix(RECIPE));
            let Some(Ok(digest)) = name.map(str::parse) else {
                continue;
            };
            if let Some(recipe) = self.recipe(&digest) {
                note(&mut pieces, &digest, &recipe);
            }
        }
        pieces
    }

    pub(super) fn recipe_path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.path(digest, Variant::Plain).into_os_string();
        path.push(RECIPE.to_string());
        path.into()
    }
}

fn note(pieces: &mut HashMap<Digest, Place>, blob: &Digest, recipe: &Recipe) {
    for (offset, part) in recipe.located() {
        let place = Place {
            blob: *blob,
            offset,
            size: part.size,
        };
        pieces.insert(part.digest, place);
    }
}
