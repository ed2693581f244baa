//! Blobs made of the chunks that come, and of those that are here.

use rayon::prelude::*;
use thresh_cas::{Alignment, BlobStore, FrameError, StoreError, unpack};
use thresh_core::chunk::{Frame, Recipe};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;
use thresh_proto::convert::{InvalidMessage, digest_to_wire, frame_from_wire};
use thresh_proto::v1::{GetReply, Wanted};
use tokio::sync::mpsc;
use tonic::Code;

use super::error::PrepareError;

/// Why a blob could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}")]
    Connect(String),
    #[error("{}", .0.message())]
    Status(tonic::Status),
    #[error(transparent)]
    Answer(#[from] InvalidMessage),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it has {actual} bytes, not {expected}")]
    WrongSize { expected: u64, actual: u64 },
    #[error("what came is not what was asked for")]
    Unasked,
    #[error("not all that was asked for came")]
    CutOff,
    #[error("a chunk that was here is gone")]
    Gone,
}

impl FetchError {
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Frame(_) | Self::Unasked | Self::CutOff | Self::Gone => true,
            Self::Status(status) => !matches!(status.code(), Code::NotFound | Code::InvalidArgument),
            Self::Store(error) => {
                matches!(
                    error,
                    StoreError::WrongDigest { .. } | StoreError::WrongSize { .. }
                )
            }
            Self::Answer(_) | Self::WrongSize { .. } => false,
        }
    }

    /// Whether another sender may do better: it is not this machine's, and not the blob's.
    pub(super) fn is_the_senders(&self) -> bool {
        matches!(self, Self::Status(_)) || self.may_pass()
    }

    /// `what` was to be fetched.
    pub(super) fn about(self, what: &str) -> PrepareError {
        match self {
            Self::Store(StoreError::DiskFull { path }) => StoreError::DiskFull { path }.into(),
            error => {
                // What the coordinator does not have is missing for every worker.
                let fault = match &error {
                    Self::Status(status) if status.code() == Code::NotFound => Fault::Input,
                    _ => Fault::Environment,
                };
                PrepareError::other(fault, format!("fetch {what}: {error}"))
            }
        }
    }
}

/// Asks for a chunk, which may come packed against `bases`.
pub(super) fn wanted(digest: Digest, bases: &[Digest]) -> Wanted {
    Wanted {
        digest: digest_to_wire(digest),
        bases: bases.iter().copied().map(digest_to_wire).collect(),
    }
}

/// Stores blobs that are one chunk each.
pub(super) fn store_chunks(
    store: &BlobStore,
    mut replies: mpsc::Receiver<GetReply>,
) -> Result<(), FetchError> {
    while let Some(reply) = replies.blocking_recv() {
        reply.frames.into_par_iter().try_for_each(|frame| {
            let content = unpack(&frame_from_wire(frame)?, &[])?;
            store.put_bytes(&content)?;
            Ok::<(), FetchError>(())
        })?;
    }
    Ok(())
}

/// A blob of several chunks, some of which may be here.
#[derive(Debug)]
pub(super) struct LargeBlob {
    store: BlobStore,
    digest: Digest,
    recipe: Recipe,
    /// Where each part is to come from.
    sources: Vec<Source>,
}

#[derive(Debug)]
enum Source {
    /// It is within a blob that is here.
    Here,
    /// It is the same as the part before it.
    Again,
    /// It is to be asked for; these chunks, which are here, may resemble it.
    Wanted(Vec<Digest>),
}

impl LargeBlob {
    /// Decides what to ask for. `older` is the recipe of an older version that is here.
    pub(super) fn plan(store: BlobStore, digest: Digest, recipe: Recipe, older: Option<Recipe>) -> Self {
        let alignment = older
            .as_ref()
            .map(|older| (older, Alignment::new(&recipe, older)));
        let parts = recipe.parts();
        let source = |index: usize| {
            let part = parts[index].digest;
            if index > 0 && parts[index - 1].digest == part {
                return Source::Again;
            }
            if store.has_piece(&part) {
                return Source::Here;
            }
            let bases = alignment.as_ref().map(|(older, alignment)| {
                let bases = older.parts()[alignment.bases(index)].iter();
                let bases: Vec<Digest> = bases.map(|base| base.digest).collect();
                // All or none: they stand for one piece of content.
                if bases.iter().all(|base| store.has_piece(base)) {
                    bases
                } else {
                    Vec::new()
                }
            });
            Source::Wanted(bases.unwrap_or_default())
        };
        let sources = (0..parts.len()).map(source).collect();
        Self {
            store,
            digest,
            recipe,
            sources,
        }
    }

    /// What is to be asked for, in the order in which it must come.
    pub(super) fn wanted(&self) -> Vec<Wanted> {
        let parts = self.recipe.parts().iter().zip(&self.sources);
        let asked = parts.filter_map(|(part, source)| match source {
            Source::Wanted(bases) => Some(wanted(part.digest, bases)),
            Source::Here | Source::Again => None,
        });
        asked.collect()
    }

    /// Puts the blob together and stores it.
    pub(super) fn store(self, replies: mpsc::Receiver<GetReply>) -> Result<(), FetchError> {
        let mut writer = self.store.writer(self.digest, self.recipe.size())?;
        let mut coming = Coming::new(replies);
        let mut content = Vec::new();
        for (part, source) in self.recipe.parts().iter().zip(&self.sources) {
            match source {
                Source::Again => {}
                Source::Here => content = self.store.piece(&part.digest).ok_or(FetchError::Gone)?,
                Source::Wanted(_) => content = self.unpacked(coming.next()?, &part.digest)?,
            }
            writer.write(&content)?;
        }
        writer.commit()?;
        self.store.put_recipe(&self.digest, &self.recipe)?;
        Ok(())
    }

    fn unpacked(&self, frame: Frame, expected: &Digest) -> Result<Vec<u8>, FetchError> {
        if frame.digest != *expected {
            return Err(FetchError::Unasked);
        }
        let mut base = Vec::new();
        for digest in &frame.bases {
            base.extend_from_slice(&self.store.piece(digest).ok_or(FetchError::Gone)?);
        }
        Ok(unpack(&frame, &base)?)
    }
}

/// The frames that come, one by one.
struct Coming {
    replies: mpsc::Receiver<GetReply>,
    frames: std::vec::IntoIter<thresh_proto::v1::Frame>,
}

impl Coming {
    fn new(replies: mpsc::Receiver<GetReply>) -> Self {
        Self {
            replies,
            frames: Vec::new().into_iter(),
        }
    }

    fn next(&mut self) -> Result<Frame, FetchError> {
        loop {
            if let Some(frame) = self.frames.next() {
                return Ok(frame_from_wire(frame)?);
            }
            let reply = self.replies.blocking_recv().ok_or(FetchError::CutOff)?;
            self.frames = reply.frames.into_iter();
        }
    }
}
