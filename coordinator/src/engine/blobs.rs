//! The blobs of a run: their names on the engine, and whether it has them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bazel_remote_apis::build::bazel::remote::execution::v2::FindMissingBlobsRequest;
use bazel_remote_apis::build::bazel::remote::execution::v2::content_addressable_storage_client::ContentAddressableStorageClient;
use prost::bytes::Bytes;
use rayon::prelude::*;
use thresh_cas::{BlobName, DigestFunction, NameHasher};
use thresh_core::digest::Digest;
use tonic::Status;

use super::content::{Content, File};
use super::error::EngineError;
use super::upload::{Limits, upload};
use crate::remote::Remote;

/// Blobs that are asked for in one message.
const ASKED_MAX: usize = 10_000;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// The bytes of a blob.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Bytes(Bytes),
    Content(Arc<dyn Content>),
}

impl Source {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Bytes(_) => "a message".to_owned(),
            Self::Content(content) => content.name(),
        }
    }

    pub(super) fn open(&self) -> Result<Box<dyn Read + '_>, EngineError> {
        match self {
            Self::Bytes(bytes) => Ok(Box::new(Cursor::new(bytes))),
            Self::Content(content) => content
                .open()
                .map_err(|cause| EngineError::Unreadable(cause.to_string())),
        }
    }
}

/// Blobs that are needed together, again and again.
#[derive(Debug)]
pub(super) struct Together {
    names: Vec<BlobName>,
    /// The last round of doubts in which all were there.
    ensured: AtomicU64,
}

impl Together {
    pub(super) fn of(names: Vec<BlobName>) -> Self {
        Self {
            names,
            ensured: AtomicU64::new(0),
        }
    }
}

/// How much was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) blobs: usize,
    pub(super) bytes: u64,
}

/// The blobs of runs, and the engine's store.
#[derive(Debug)]
pub(super) struct Blobs {
    remote: Arc<Remote>,
    function: DigestFunction,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<Digest, BlobName>,
    sources: BTreeMap<BlobName, Source>,
    /// Those that the engine has.
    present: BTreeSet<BlobName>,
    /// How often that was doubted.
    doubts: u64,
}

impl Blobs {
    pub(super) fn new(remote: Arc<Remote>, function: DigestFunction, limits: Limits) -> Self {
        Self {
            remote,
            function,
            limits,
            state: Mutex::default(),
        }
    }

    pub(super) fn function(&self) -> DigestFunction {
        self.function
    }

    pub(super) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of a file that was delivered.
    pub(super) fn name_of(&self, digest: &Digest) -> Result<BlobName, EngineError> {
        let name = self.state().names.get(digest).copied();
        name.ok_or(EngineError::Undelivered(*digest))
    }

    /// Takes a message, or another short blob.
    pub(super) fn add_bytes(&self, bytes: Vec<u8>) -> BlobName {
        let name = BlobName::of(self.function, &bytes);
        self.state().sources.insert(name, Source::Bytes(bytes.into()));
        name
    }

    /// Takes files, and names them. `known` is what was learnt earlier. Returns what was learnt now. Blocks.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it was.
    pub(super) fn add_files(
        &self,
        files: Vec<File>,
        known: &BTreeMap<Digest, BlobName>,
    ) -> Result<BTreeMap<Digest, BlobName>, EngineError> {
        let name = |file: &File| match (self.function, known.get(&file.digest)) {
            (DigestFunction::Blake3, _) => Ok((BlobName::blake3(file.digest, file.size), false)),
            (_, Some(name)) if name.function == self.function => Ok((*name, false)),
            _ => hash(file, self.function).map(|name| (name, true)),
        };
        let named: Vec<(BlobName, bool)> = files.par_iter().map(name).collect::<Result<_, _>>()?;
        let mut learnt = BTreeMap::new();
        let mut state = self.state();
        for (file, (name, is_new)) in files.into_iter().zip(named) {
            state.names.insert(file.digest, name);
            state.sources.insert(name, Source::Content(file.content));
            if is_new {
                learnt.insert(file.digest, name);
            }
        }
        Ok(learnt)
    }

    /// Has the engine have these blobs; `progress` is told of what it lacks, and then of what was sent.
    ///
    /// # Errors
    /// It refuses or goes away, or a file is not what it was.
    pub(super) async fn ensure(
        &self,
        names: &[BlobName],
        mut progress: impl FnMut(Sent, Sent),
    ) -> Result<(), EngineError> {
        let asked: BTreeSet<BlobName> = {
            let state = self.state();
            let unknown = names.iter().filter(|name| !state.present.contains(name));
            unknown.copied().collect()
        };
        let asked: Vec<BlobName> = asked.into_iter().collect();
        let mut missing = Vec::new();
        for names in asked.chunks(ASKED_MAX) {
            missing.extend(self.find_missing(names).await?);
        }
        let mut sources = Vec::with_capacity(missing.len());
        {
            let state = self.state();
            for name in missing {
                let source = state.sources.get(&name).cloned();
                let undelivered = || EngineError::Undelivered(Digest::from_bytes(name.hash));
                sources.push((name, source.ok_or_else(undelivered)?));
            }
        }
        upload(&self.remote, self.limits, sources, &mut progress).await?;
        self.state().present.extend(asked);
        Ok(())
    }

    /// The same for blobs that may have been ensured before.
    pub(super) async fn ensure_together(&self, together: &Together) -> Result<(), EngineError> {
        let round = self.state().doubts + 1;
        if together.ensured.load(Ordering::Relaxed) < round {
            self.ensure(&together.names, |_, _| ()).await?;
            together.ensured.store(round, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The engine has dropped something: nothing is believed to be there any more.
    pub(super) fn doubt(&self) {
        let mut state = self.state();
        state.present.clear();
        state.doubts += 1;
    }

    /// Forgets blobs that are not needed again.
    pub(super) fn forget(&self, names: &[BlobName]) {
        let mut state = self.state();
        for name in names {
            state.sources.remove(name);
            state.present.remove(name);
        }
    }

    async fn find_missing(&self, names: &[BlobName]) -> Result<Vec<BlobName>, EngineError> {
        let request = FindMissingBlobsRequest {
            instance_name: self.remote.instance(),
            blob_digests: names.iter().map(BlobName::to_wire).collect(),
            digest_function: self.function.to_wire().into(),
        };
        let reply = self.remote.patiently(|| {
            let mut client = ContentAddressableStorageClient::new(self.remote.channel());
            let request = request.clone();
            async move { client.find_missing_blobs(request).await }
        });
        let missing = reply.await.map_err(self.refused("look for blobs"))?;
        let missing = missing.missing_blob_digests;
        let read = |digest| BlobName::from_wire(self.function, digest);
        Ok(missing.iter().filter_map(read).collect())
    }

    pub(super) fn refused(&self, doing: &'static str) -> impl Fn(Status) -> EngineError {
        let address = self.remote.address().clone();
        move |status| EngineError::Refused {
            doing,
            address: address.clone(),
            status: Box::new(status),
        }
    }
}

fn hash(file: &File, function: DigestFunction) -> Result<BlobName, EngineError> {
    let unreadable = |cause: std::io::Error| EngineError::Unreadable(cause.to_string());
    let mut reader = file.content.open().map_err(unreadable)?;
    let (mut own, mut hasher) = (NameHasher::new(DigestFunction::Blake3), NameHasher::new(function));
    let mut piece = vec![0; PIECE_BYTES.min(usize::try_from(file.size).unwrap_or(usize::MAX).max(1))];
    loop {
        let read = reader.read(&mut piece).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        own.update(&piece[..read]);
        hasher.update(&piece[..read]);
    }
    // Else another file would be remembered by the name of this one.
    if own.finish() != BlobName::blake3(file.digest, file.size) {
        return Err(EngineError::Changed(file.content.name()));
    }
    Ok(hasher.finish())
}
