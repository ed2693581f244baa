//! What was shipped before: the next version is sent as what differs from it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use thresh_cas::{PackError, PackStore, pack};
use thresh_core::chunk::{Part, Recipe};
use thresh_core::digest::Digest;

use super::content::Content;
use super::put::PACKED_TOGETHER;
use super::shipment::BlobSource;

/// So many bytes are kept for each workspace; what was longest unused goes first.
const BYTES_MAX: u64 = 1 << 30;
/// The file that says which blob was at which path.
const NAMES: &str = "names.json";

/// The large files of a workspace as they were last shipped. Clones share everything.
#[derive(Clone, Debug)]
pub struct Memory {
    store: PackStore,
    /// By [`name`].
    names: Arc<Mutex<BTreeMap<String, Digest>>>,
    names_path: PathBuf,
}

/// A file that was shipped.
#[derive(Clone, Debug)]
pub struct Shipped {
    pub(super) source: BlobSource,
    pub(super) digest: Digest,
    pub(super) recipe: Recipe,
}

/// An older version of a file.
#[derive(Debug)]
pub(super) struct Older {
    pub(super) digest: Digest,
    pub(super) recipe: Recipe,
    store: PackStore,
}

impl Older {
    /// Some of its chunks with their content together; `None` when the farm, or the memory, does not have them.
    pub(super) fn bases(
        &self,
        range: Range<usize>,
        missing: &BTreeSet<Digest>,
    ) -> Option<(Vec<Digest>, Vec<u8>)> {
        let parts = &self.recipe.parts()[range];
        let bases: Vec<Digest> = parts.iter().map(|part| part.digest).collect();
        if bases.is_empty() || bases.iter().any(|base| missing.contains(base)) {
            return None;
        }
        let mut content = Vec::new();
        for base in &bases {
            content.extend_from_slice(&self.store.chunk(base).ok()?);
        }
        Some((bases, content))
    }
}

impl Memory {
    /// Opens the memory in a folder, which is made if absent.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(folder: &Path) -> Result<Self, PackError> {
        let store = PackStore::open(folder)?;
        let names_path = folder.join(NAMES);
        // Without it nothing is remembered, and everything is shipped.
        let names = std::fs::read(&names_path).ok();
        let names = names.and_then(|names| serde_json::from_slice::<BTreeMap<String, String>>(&names).ok());
        let names = names.unwrap_or_default().into_iter();
        let names = names.filter_map(|(path, digest)| Some((path, digest.parse().ok()?)));
        Ok(Self {
            store,
            names: Arc::new(Mutex::new(names.collect())),
            names_path,
        })
    }

    /// What was last shipped of a file.
    pub(super) fn older(&self, source: &BlobSource) -> Option<Older> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = *names.get(&name(source)?)?;
        Some(Older {
            digest,
            recipe: self.store.recipe(&digest).ok()?,
            store: self.store.clone(),
        })
    }

    /// [Keeps](Self::keep) what was shipped; where that fails, the next version will be shipped whole. Blocks.
    pub fn remember(&self, shipped: &[Shipped]) {
        if let Err(error) = self.keep(shipped) {
            tracing::warn!("what is shipped is not remembered: failed to {error}");
        }
    }

    /// Keeps what was shipped, drops what is too much, and writes down what it is to know next time. A file that
    /// is another by now is left out.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep(&self, shipped: &[Shipped]) -> Result<(), PackError> {
        for file in shipped {
            if let Ok(content) = Content::of(&file.source) {
                self.keep_file(file, &content)?;
            }
        }
        self.write_names()?;
        self.store.sweep(BYTES_MAX, u32::MAX).map(|_| ())
    }

    fn keep_file(&self, file: &Shipped, content: &Content<'_>) -> Result<(), PackError> {
        let parts: Vec<(u64, &Part)> = file.recipe.located().collect();
        for parts in parts.chunks(PACKED_TOGETHER) {
            let new = parts
                .par_iter()
                .filter(|(_, part)| !self.store.contains(&part.digest));
            let frames = new.map(|(offset, part)| {
                let content = content.part(part, *offset).ok()?;
                Some(pack(part.digest, &content))
            });
            let Some(frames) = frames.collect::<Option<Vec<_>>>() else {
                return Ok(());
            };
            frames
                .iter()
                .try_for_each(|frame| self.store.put(frame).map(drop))?;
        }
        self.store.put_recipe(file.digest, &file.recipe)?;
        if let Some(name) = name(&file.source) {
            let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.insert(name, file.digest);
        }
        Ok(())
    }

    fn write_names(&self) -> Result<(), PackError> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeMap<&String, String> = (names.iter())
            .map(|(path, digest)| (path, digest.to_string()))
            .collect();
        let names = serde_json::to_vec(&names).expect("text can be written");
        std::fs::write(&self.names_path, names).map_err(|cause| PackError::Io {
            action: "write",
            path: self.names_path.clone(),
            cause,
        })
    }
}

/// Under which name a file is remembered: its path, as far as that is text, with a mark for one without debug sections.
fn name(source: &BlobSource) -> Option<String> {
    let path = source.path()?.to_str()?;
    Some(match source {
        BlobSource::Lean(_) => format!("{path}\0lean"),
        _ => path.to_owned(),
    })
}
