//! Blobs of several chunks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thresh_cas::{Alignment, Cutter, pack, pack_against};
use thresh_core::chunk::{Part, Recipe};
use thresh_core::digest::Digest;
use thresh_proto::convert::{digest_to_wire, digests_from_wire, recipe_to_wire};
use thresh_proto::v1::PutBlobRequest;
use tokio_stream::StreamExt;
use tonic::Code;

use super::content::Content;
use super::memory::{Memory, Older, Shipped};
use super::put::{Produced, Producer, Sender};
use super::shipment::BlobSource;
use super::upload::{Link, Sent, UploadError};

/// How often chunks are sent that the farm had and then dropped.
const ROUNDS_MAX: u32 = 3;

/// A blob of several chunks, on its way to the farm.
#[derive(Debug)]
pub(super) struct LargeFile {
    digest: Digest,
    source: BlobSource,
    memory: Option<Memory>,
}

/// What is sent, and against what.
#[derive(Debug)]
struct Cut {
    recipe: Recipe,
    older: Option<Older>,
}

impl LargeFile {
    pub(super) fn new(digest: Digest, source: BlobSource, memory: Option<Memory>) -> Self {
        Self {
            digest,
            source,
            memory,
        }
    }

    /// Sends the chunks that the farm does not have, and has the farm put the blob together.
    pub(super) async fn send(self, mut link: Link) -> Result<Sent, UploadError> {
        let this = Arc::new(self);
        let mut cut = Arc::new(blocking(&this, Self::cut).await?);
        let parts = || cut.recipe.parts().iter().map(|part| part.digest);
        let older = cut.older.iter().flat_map(|older| older.recipe.parts().iter());
        let asked: BTreeSet<Digest> = parts().chain(older.map(|part| part.digest)).collect();
        let missing = link.find_missing(&asked.into_iter().collect::<Vec<_>>()).await?;
        let mut missing: BTreeSet<Digest> = missing.into_iter().collect();
        let reused_chunks = parts().filter(|part| !missing.contains(part)).count();
        for _ in 0..ROUNDS_MAX {
            missing = this.put(&link, &cut, missing).await?;
            if missing.is_empty() {
                return Ok(Sent {
                    blobs: 1,
                    bytes: this.source.size(),
                    chunks: cut.recipe.parts().len(),
                    reused_chunks,
                    shipped: this.shipped(&cut.recipe),
                });
            }
            // What the farm had of the older version may be gone as well.
            cut = Arc::new(Cut {
                recipe: cut.recipe.clone(),
                older: None,
            });
        }
        Err(UploadError::Dropped(this.path()))
    }

    /// Sends the blob, as far as it is `missing`. Returns what is missing afterwards.
    async fn put(
        self: &Arc<Self>,
        link: &Link,
        cut: &Arc<Cut>,
        missing: BTreeSet<Digest>,
    ) -> Result<BTreeSet<Digest>, UploadError> {
        let first = PutBlobRequest {
            digest: digest_to_wire(self.digest),
            recipe: Some(recipe_to_wire(&cut.recipe)),
            frames: Vec::new(),
        };
        let (file, cut) = (self.clone(), cut.clone());
        let (producer, frames) = Producer::start(link.shipped.clone(), move |sender| {
            file.produce(&cut, &missing, sender)
        });
        let further = frames.map(|frames| PutBlobRequest {
            frames,
            ..PutBlobRequest::default()
        });
        let reply = link
            .client
            .clone()
            .put_blob(tokio_stream::once(first).chain(further))
            .await;
        match producer.reply(reply).await {
            Ok(reply) => Ok(digests_from_wire("missing", &reply.missing)?
                .into_iter()
                .collect()),
            // The chunks are what they were cut as, so it is the file that was another before.
            Err(UploadError::Refused(status)) if status.code() == Code::InvalidArgument => {
                Err(UploadError::Changed(self.path()))
            }
            Err(error) => Err(error),
        }
    }

    /// What to call it.
    fn path(&self) -> PathBuf {
        match self.source.path() {
            Some(path) => path.to_owned(),
            None => self.digest.to_string().into(),
        }
    }

    fn older(&self) -> Option<Older> {
        self.memory.as_ref()?.older(&self.source)
    }

    fn cut(&self) -> Result<Cut, UploadError> {
        let older = self.older();
        let path = self.path();
        let parts = Cutter::new(Content::of(&self.source)?.into_reader()).map(|piece| Ok(piece?.part));
        let parts = parts.collect::<io::Result<Vec<Part>>>();
        let parts = parts.map_err(UploadError::file(&path))?;
        let recipe = Recipe::new(parts).expect("a cutter makes parts of the right length");
        if recipe.size() != self.source.size() {
            return Err(UploadError::Changed(self.path()));
        }
        let recipe = recipe.with_base(older.as_ref().map(|older| older.digest));
        Ok(Cut { recipe, older })
    }

    /// Packs the chunks that the farm does not have, against those of the older version that it has.
    fn produce(&self, cut: &Cut, missing: &BTreeSet<Digest>, sender: &mut Sender) -> Produced {
        let mut wanted: BTreeMap<Digest, (usize, u64)> = BTreeMap::new();
        for (index, (offset, part)) in cut.recipe.located().enumerate() {
            if missing.contains(&part.digest) {
                wanted.entry(part.digest).or_insert((index, offset));
            }
        }
        let mut wanted: Vec<(usize, u64)> = wanted.into_values().collect();
        wanted.sort_unstable();
        let content = Content::of(&self.source)?;
        sender.send_packed(&wanted, |(index, offset)| {
            let part = &cut.recipe.parts()[*index];
            let content = content.part(part, *offset)?;
            let bases = cut.older.as_ref().and_then(|older| {
                let range = Alignment::new(&cut.recipe, &older.recipe).bases(*index);
                older.bases(range, missing)
            });
            Ok(match bases {
                Some((bases, base)) => pack_against(part.digest, &content, bases, &base),
                None => pack(part.digest, &content),
            })
        })
    }

    /// What the next version is to be compared with.
    fn shipped(&self, recipe: &Recipe) -> Option<Shipped> {
        self.source.path()?;
        Some(Shipped {
            source: self.source.clone(),
            digest: self.digest,
            recipe: recipe.clone(),
        })
    }
}

async fn blocking<T: Send + 'static>(
    file: &Arc<LargeFile>,
    action: impl FnOnce(&LargeFile) -> Result<T, UploadError> + Send + 'static,
) -> Result<T, UploadError> {
    let file = file.clone();
    let done = tokio::task::spawn_blocking(move || action(&file)).await;
    done.map_err(|ended| UploadError::ended_early(&ended))?
}
