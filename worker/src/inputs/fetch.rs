//! Brings blobs into the store.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use thresh_cas::{BlobStore, Manifest};
use thresh_core::chunk::{CHUNK_BYTES_MAX, Recipe};
use thresh_core::digest::Digest;
use thresh_core::fault::Fault;
use thresh_core::id::RunId;
use thresh_proto::convert::{digest_to_wire, recipe_from_wire, run_id_to_wire};
use thresh_proto::v1::{GetReply, RecipesRequest, WaitForRequest, Wanted};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Code;

use super::assembly::{FetchError, LargeBlob, store_chunks, wanted};
use super::error::PrepareError;
use super::neighbours::Neighbours;
use super::supply::Supply;

/// Fetches under way at once.
const FETCHES_MAX: usize = 4;
/// Short blobs fetched together.
const TOGETHER_MAX: usize = 256;
/// Messages of one fetch that wait for the disk: with [`FETCHES_MAX`] fetches, 12 MiB at most.
const MESSAGES_WAITING_MAX: usize = 3;
/// How long, and how long apart, a coordinator that is away is asked for what a client has to bring: less than who opens
/// a file is held up.
const DEMAND_PATIENCE: Duration = Duration::from_secs(35);
const DEMAND_PAUSE: Duration = Duration::from_millis(500);
/// How often a blob is asked for before it is given up.
const TRIES: u32 = 3;
/// How many workers of the site are asked for a blob in vain before the coordinator is.
const PEERS_TRIED_MAX: usize = 3;
/// How many versions back a blob is looked for that is here.
const VERSIONS_MAX: usize = 8;
/// No manifest is longer, in bytes.
const MANIFEST_BYTES_MAX: u64 = 512 << 20;

/// Brings blobs into the store. Each is verified before it becomes visible there.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    store: BlobStore,
    supply: Supply,
}

impl Fetcher {
    pub(super) fn new(store: BlobStore, supply: Supply) -> Self {
        Self { store, supply }
    }

    /// Fetches those of `wanted` (digests and lengths in bytes) that the store does not have.
    pub(super) async fn fetch(
        &self,
        wanted: impl IntoIterator<Item = (Digest, u64)>,
    ) -> Result<(), PrepareError> {
        let sizes: BTreeMap<Digest, u64> = wanted.into_iter().collect();
        let (store, digests) = (self.store.clone(), sizes.keys().copied().collect::<Vec<_>>());
        let missing = blocking(move || store.find_missing(&digests)).await?;
        let offered = sizes.iter().filter(|(_, size)| **size > CHUNK_BYTES_MAX as u64);
        let offered: Vec<Digest> = offered.map(|(digest, _)| *digest).collect();
        let (short, large): (Vec<Digest>, Vec<Digest>) =
            (missing.into_iter()).partition(|digest| sizes[digest] <= CHUNK_BYTES_MAX as u64);
        let large = match self.supply.neighbours() {
            Some(neighbours) => neighbours.in_order(large),
            None => large,
        };
        let mut fetches = JoinSet::new();
        for digest in large {
            let (fetcher, size) = (self.clone(), sizes[&digest]);
            start(
                &mut fetches,
                async move { fetcher.large(digest, Some(size)).await },
            )
            .await?;
        }
        for together in short.chunks(TOGETHER_MAX) {
            let (fetcher, together) = (self.clone(), together.to_vec());
            start(&mut fetches, async move { fetcher.short(together).await }).await?;
        }
        while let Some(fetch) = fetches.join_next().await {
            joined(Some(fetch))?;
        }
        self.offer(offered).await;
        Ok(())
    }

    /// Says to the site that blobs are here.
    async fn offer(&self, digests: Vec<Digest>) {
        if let Some(neighbours) = self.supply.neighbours()
            && !digests.is_empty()
            && let Ok(channel) = self.supply.channel().await
        {
            neighbours.hold(channel, digests).await;
        }
    }

    /// Fetches a blob that the run's client may have to bring first.
    pub(super) async fn demand(&self, run: RunId, digest: Digest, size: u64) -> Result<(), PrepareError> {
        let about = |error: FetchError| error.about(&format!("blob {digest}"));
        let request = WaitForRequest {
            run_id: run_id_to_wire(run),
            digest: digest_to_wire(digest),
        };
        let give_up = Instant::now() + DEMAND_PATIENCE;
        loop {
            let waited = match self.supply.client().await {
                Ok(mut client) => match client.wait_for(request.clone()).await {
                    Ok(_) => break,
                    Err(status) => self.supply.failed(status).await,
                },
                Err(error) => error,
            };
            // A coordinator that is away may be back, or another in its place.
            let is_away = match &waited {
                FetchError::Connect(_) => true,
                FetchError::Status(status) => matches!(status.code(), Code::Unavailable | Code::Unknown),
                _ => false,
            };
            if !is_away || Instant::now() >= give_up {
                return Err(about(waited));
            }
            tokio::time::sleep(DEMAND_PAUSE).await;
        }
        self.fetch([(digest, size)]).await
    }

    /// Reads a manifest; fetches it when the store does not have it, or not sound.
    pub(super) async fn manifest(&self, digest: Digest) -> Result<Manifest, PrepareError> {
        let held = match self.read(digest).await? {
            Some(encoded) => Some(encoded),
            None => {
                self.fetch_unmeasured(digest).await?;
                self.read(digest).await?
            }
        };
        let encoded = held.ok_or_else(|| {
            let message = format!("fetch manifest {digest}: it was damaged as soon as it was stored");
            PrepareError::other(Fault::Environment, message)
        })?;
        blocking(move || Manifest::parse(&encoded))
            .await?
            .map_err(|error| PrepareError::unreadable_manifest(&digest, &error))
    }

    async fn read(&self, digest: Digest) -> Result<Option<Vec<u8>>, PrepareError> {
        let store = self.store.clone();
        blocking(move || store.reader(&digest).and_then(|reader| reader.read_all()).ok()).await
    }

    /// Fetches a blob of which only the digest is known.
    async fn fetch_unmeasured(&self, digest: Digest) -> Result<(), PrepareError> {
        let alone = [digest];
        match retrying(|| self.try_short(&alone)).await {
            Err(FetchError::Status(status)) if status.code() == Code::NotFound => {
                self.large(digest, None).await
            }
            done => done.map_err(|error| error.about(&format!("blob {digest}"))),
        }
    }

    async fn short(&self, digests: Vec<Digest>) -> Result<(), PrepareError> {
        let fetched = retrying(|| self.try_short(&digests)).await;
        fetched.map_err(|error| match &digests[..] {
            [alone] => error.about(&format!("blob {alone}")),
            all => error.about(&format!("{} blobs", all.len())),
        })
    }

    async fn try_short(&self, digests: &[Digest]) -> Result<(), FetchError> {
        let wanted = digests.iter().map(|digest| wanted(*digest, &[])).collect();
        let store = self.store.clone();
        self.stream(None, wanted, move |frames| store_chunks(&store, frames))
            .await
    }

    async fn large(&self, digest: Digest, size: Option<u64>) -> Result<(), PrepareError> {
        let first = match self.supply.neighbours() {
            Some(neighbours) => self.try_site(neighbours, digest, size).await,
            None => self.try_large(None, digest, size).await,
        };
        let fetched = match first {
            Err(error) if error.may_pass() => retrying(|| self.try_large(None, digest, size)).await,
            first => first,
        };
        fetched.map_err(|error| error.about(&format!("blob {digest}")))
    }

    /// Fetches a blob from whom the coordinator names: a worker of the site, or itself.
    async fn try_site(
        &self,
        neighbours: &Neighbours,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<(), FetchError> {
        let mut unable = Vec::new();
        while unable.len() < PEERS_TRIED_MAX {
            let place = neighbours
                .place(self.supply.channel().await?, digest, &unable)
                .await;
            let tried = self.try_large(place.address.as_deref(), digest, size).await;
            match (tried, place.address.clone()) {
                (Ok(()), _) => {
                    // Before the place is free again: whoever gets it next may come here.
                    self.offer(vec![digest]).await;
                    return Ok(());
                }
                (Err(error), Some(address)) if error.is_the_senders() => {
                    tracing::debug!("{address} does not give blob {digest}: {error}");
                    unable.push(address);
                }
                (Err(error), _) => return Err(error),
            }
        }
        self.try_large(None, digest, size).await
    }

    /// Fetches a blob from the worker at `peer`, or from the coordinator.
    async fn try_large(
        &self,
        peer: Option<&str>,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<(), FetchError> {
        let recipe = self.recipe(digest).await?;
        let size_max = size.unwrap_or(MANIFEST_BYTES_MAX);
        if recipe.size() > size_max || size.is_some_and(|size| recipe.size() != size) {
            return Err(FetchError::WrongSize {
                expected: size_max,
                actual: recipe.size(),
            });
        }
        let older = self.older_version(&recipe).await?;
        let store = self.store.clone();
        let planned = tokio::task::spawn_blocking(move || LargeBlob::plan(store, digest, recipe, older));
        let blob = planned
            .await
            .map_err(|ended| FetchError::Connect(ended.to_string()))?;
        let wanted = blob.wanted();
        self.stream(peer, wanted, move |frames| blob.store(frames)).await
    }

    async fn recipe(&self, digest: Digest) -> Result<Recipe, FetchError> {
        let request = RecipesRequest {
            digests: vec![digest_to_wire(digest)],
        };
        let reply = self.supply.client().await?.recipes(request).await;
        let reply = match reply {
            Ok(reply) => reply.into_inner(),
            Err(status) => return Err(self.supply.failed(status).await),
        };
        Ok(recipe_from_wire(
            &reply.recipes.into_iter().next().unwrap_or_default(),
        )?)
    }

    /// The recipe of the last version before that is here.
    async fn older_version(&self, recipe: &Recipe) -> Result<Option<Recipe>, FetchError> {
        let mut base = recipe.base();
        for _ in 0..VERSIONS_MAX {
            let Some(digest) = base else { return Ok(None) };
            if let Some(recipe) = self.store.recipe(&digest) {
                return Ok(Some(recipe));
            }
            base = match self.recipe(digest).await {
                Ok(recipe) => recipe.base(),
                Err(FetchError::Status(status)) if status.code() == Code::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
        }
        Ok(None)
    }

    /// Asks for chunks and hands what comes to `take`, on a thread that may block. They come from the worker at `peer`,
    /// or from the coordinator.
    async fn stream(
        &self,
        peer: Option<&str>,
        chunks: Vec<Wanted>,
        take: impl FnOnce(mpsc::Receiver<GetReply>) -> Result<(), FetchError> + Send + 'static,
    ) -> Result<(), FetchError> {
        let (replies, received) = mpsc::channel(MESSAGES_WAITING_MAX);
        let taking = tokio::task::spawn_blocking(move || take(received));
        let sent = match peer {
            Some(address) => self.supply.chunks_of_peer(address, chunks, replies).await,
            None => self.supply.chunks(chunks, replies).await,
        };
        match taking.await {
            // What was cut off says so; the stream's end says why.
            Ok(Err(FetchError::CutOff)) => sent.and(Err(FetchError::CutOff)),
            Ok(taken) => taken.and(sent),
            Err(ended) => Err(FetchError::Connect(ended.to_string())),
        }
    }
}

/// Starts a fetch; waits first until one has ended where as many as may be are under way.
async fn start(
    fetches: &mut JoinSet<Result<(), PrepareError>>,
    fetch: impl Future<Output = Result<(), PrepareError>> + Send + 'static,
) -> Result<(), PrepareError> {
    if fetches.len() == FETCHES_MAX {
        joined(fetches.join_next().await)?;
    }
    fetches.spawn(fetch);
    Ok(())
}

async fn retrying<T, F>(mut action: impl FnMut() -> F) -> Result<T, FetchError>
where
    F: Future<Output = Result<T, FetchError>>,
{
    let mut tries = 1;
    loop {
        match action().await {
            Err(error) if error.may_pass() && tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

/// Runs what blocks on a thread for that.
pub(super) async fn blocking<T: Send + 'static>(
    action: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PrepareError> {
    tokio::task::spawn_blocking(action)
        .await
        .map_err(|ended| ended_early(&ended))
}

fn joined(
    fetch: Option<Result<Result<(), PrepareError>, tokio::task::JoinError>>,
) -> Result<(), PrepareError> {
    fetch.unwrap_or(Ok(Ok(()))).map_err(|ended| ended_early(&ended))?
}

fn ended_early(ended: &tokio::task::JoinError) -> PrepareError {
    PrepareError::other(
        Fault::Internal,
        format!("a part of the worker ended early: {ended}"),
    )
}
