//! Blobs over the wire. The store blocks and computes, so that each transfer has a blocking thread, with a few
//! messages between it and the connection: that is all that it keeps in memory.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use thresh_cas::{PackError, PackStore};
use thresh_core::chunk::Frame;
use thresh_proto::convert::{
    bases_from_wire, digest_from_wire, digest_to_wire, digests_from_wire, frame_from_wire, recipe_from_wire,
    recipe_to_wire, run_id_from_wire,
};
use thresh_proto::v1;
use thresh_proto::v1::blobs_server::Blobs;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::sending::{Outbox, Part, find_parts, read_all};
use super::{Shared, status};

/// How many are sent blobs at a time. Each has a thread, of which there are 512; others are for what comes, and for short
/// questions.
const SENDINGS_MAX: usize = 192;
/// How many send blobs at a time. They have a thread each as well.
const RECEIVINGS_MAX: usize = 96;
/// How long who sends blobs may say nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages between a thread and its connection.
const MESSAGES_AHEAD: usize = 4;
/// How long a worker waits for a blob that the client has to bring: less than the time for which Linux lets one who
/// opens a file be held up (`/proc/sys/fs/lease-break-time`, 45 s).
const DEMAND_PATIENCE: Duration = Duration::from_secs(40);

/// See [`Blobs`].
pub(crate) struct BlobsService {
    shared: Shared,
    sendings: Arc<Semaphore>,
    receivings: Arc<Semaphore>,
}

impl BlobsService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared,
            sendings: Arc::new(Semaphore::new(SENDINGS_MAX)),
            receivings: Arc::new(Semaphore::new(RECEIVINGS_MAX)),
        }
    }

    fn store(&self) -> Result<PackStore, Status> {
        let none =
            || Status::failed_precondition("this coordinator takes in-place runs only: it has no blobs");
        self.shared.blobs.clone().ok_or_else(none)
    }
}

#[tonic::async_trait]
impl Blobs for BlobsService {
    async fn find_missing(
        &self,
        request: Request<v1::FindMissingRequest>,
    ) -> Result<Response<v1::FindMissingReply>, Status> {
        let store = self.store()?;
        let mut digests = digests_from_wire("digests", &request.into_inner().digests)?;
        // A long blob's recipe is read for each time that it is named.
        let mut named = HashSet::new();
        digests.retain(|digest| named.insert(*digest));
        let missing = blocking(move || Ok(store.find_missing(&digests))).await?;
        let digests = missing.into_iter().map(digest_to_wire).collect();
        Ok(Response::new(v1::FindMissingReply { digests }))
    }

    async fn put(
        &self,
        request: Request<Streaming<v1::PutRequest>>,
    ) -> Result<Response<v1::PutReply>, Status> {
        let store = self.store()?;
        let mut messages = request.into_inner();
        // Who says nothing takes no place.
        let Some(first) = patiently(&mut messages).await? else {
            return Ok(Response::new(v1::PutReply {}));
        };
        let _turn = turn(&self.receivings).await?;
        let frames = tokio_stream::once(Ok(first.frames)).chain(messages.map(|message| Ok(message?.frames)));
        receive(frames, move |inbox| store_all(&store, inbox)).await?;
        self.shared.note_stored();
        Ok(Response::new(v1::PutReply {}))
    }

    async fn put_blob(
        &self,
        request: Request<Streaming<v1::PutBlobRequest>>,
    ) -> Result<Response<v1::PutBlobReply>, Status> {
        let store = self.store()?;
        let mut messages = request.into_inner();
        let first = patiently(&mut messages).await?.unwrap_or_default();
        let _turn = turn(&self.receivings).await?;
        let digest = digest_from_wire("digest", &first.digest)?;
        let recipe = recipe_from_wire(&first.recipe.unwrap_or_default())?;
        let frames = tokio_stream::once(Ok(first.frames)).chain(messages.map(|message| Ok(message?.frames)));
        let missing = receive(frames, move |mut inbox| {
            let mut frames = Vec::new().into_iter();
            store.put_blob(digest, &recipe, || {
                loop {
                    if let Some(frame) = frames.next() {
                        return Some(frame);
                    }
                    frames = inbox.blocking_recv()?.into_iter();
                }
            })
        });
        let missing = missing.await?.into_iter().map(digest_to_wire).collect();
        self.shared.note_stored();
        Ok(Response::new(v1::PutBlobReply { missing }))
    }

    async fn recipes(
        &self,
        request: Request<v1::RecipesRequest>,
    ) -> Result<Response<v1::RecipesReply>, Status> {
        let store = self.store()?;
        let digests = digests_from_wire("digests", &request.into_inner().digests)?;
        let read = move || {
            let recipes = digests.iter().map(|digest| store.recipe(digest));
            recipes.map(|recipe| Ok(recipe_to_wire(&recipe?))).collect()
        };
        let recipes = blocking(read).await?;
        Ok(Response::new(v1::RecipesReply { recipes }))
    }

    type GetStream = ReceiverStream<Result<v1::GetReply, Status>>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let store = self.store()?;
        let v1::GetRequest { chunks, elsewhere } = request.into_inner();
        let wanted = chunks.into_iter().map(|wanted| {
            let digest = digest_from_wire("chunks.digest", &wanted.digest)?;
            Ok((digest, bases_from_wire("chunks.bases", &wanted.bases)?))
        });
        let wanted = Arc::new(wanted.collect::<Result<Vec<_>, Status>>()?);
        let parts = match &self.shared.bucket {
            Some(bucket) if elsewhere => find_parts(bucket, &store, &wanted).await?,
            _ => vec![Part::Here(wanted.len())],
        };
        let (replies, stream) = mpsc::channel(MESSAGES_AHEAD);
        let turn = turn(&self.sendings).await?;
        let outbox = Outbox::new(replies);
        spawn_blocking(move || {
            read_all(&store, &wanted, parts, &outbox);
            drop(turn);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn wait_for(
        &self,
        request: Request<v1::WaitForRequest>,
    ) -> Result<Response<v1::WaitForReply>, Status> {
        let v1::WaitForRequest { run_id, digest } = request.into_inner();
        let (run, digest) = (run_id_from_wire(&run_id)?, digest_from_wire("digest", &digest)?);
        let store = self.store()?;
        let there = || {
            let store = store.clone();
            blocking(move || Ok(store.find_missing(&[digest]).is_empty()))
        };
        // Who has it already does not have it asked for.
        if there().await? {
            return Ok(Response::new(v1::WaitForReply {}));
        }
        tokio::select! {
            arrived = self.shared.demands.demand(run, digest).arrival(there) => arrived?,
            () = self.shared.driver.ended() => {
                return Err(Status::unavailable("the coordinator is shutting down"));
            }
            () = tokio::time::sleep(DEMAND_PATIENCE) => {
                let late = "the run's client did not bring it in time";
                return Err(Status::deadline_exceeded(late));
            }
        }
        Ok(Response::new(v1::WaitForReply {}))
    }

    async fn cannot_bring(
        &self,
        request: Request<v1::CannotBringRequest>,
    ) -> Result<Response<v1::CannotBringReply>, Status> {
        let v1::CannotBringRequest {
            run_id,
            digest,
            message,
        } = request.into_inner();
        let (run, digest) = (run_id_from_wire(&run_id)?, digest_from_wire("digest", &digest)?);
        self.shared.demands.refuse(run, &digest, message);
        Ok(Response::new(v1::CannotBringReply {}))
    }

    type DemandsStream = ReceiverStream<Result<v1::DemandsReply, Status>>;

    async fn demands(
        &self,
        request: Request<v1::DemandsRequest>,
    ) -> Result<Response<Self::DemandsStream>, Status> {
        let run = run_id_from_wire(&request.into_inner().run_id)?;
        self.store()?;
        let (mut news, driver) = (self.shared.demands.news(run), self.shared.driver.clone());
        let (replies, stream) = mpsc::channel(MESSAGES_AHEAD);
        tokio::spawn(async move {
            loop {
                let wanted = tokio::select! {
                    wanted = news.next() => wanted,
                    () = driver.ended() => return,
                    () = replies.closed() => return,
                };
                let digests = wanted.into_iter().map(digest_to_wire).collect();
                if replies.send(Ok(v1::DemandsReply { digests })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    action: impl FnOnce() -> Result<T, PackError> + Send + 'static,
) -> Result<T, Status> {
    let done = spawn_blocking(action)
        .await
        .map_err(|ended| ended_early(&ended))?;
    done.map_err(|error| status::of_blob(&error))
}

/// Hands the chunks that come to `store`, on a thread of its own, which goes on to their end.
async fn receive<T: Send + 'static>(
    mut messages: impl Stream<Item = Result<Vec<v1::Frame>, Status>> + Unpin,
    store: impl FnOnce(mpsc::Receiver<Vec<Frame>>) -> Result<T, PackError> + Send + 'static,
) -> Result<T, Status> {
    let (frames, inbox) = mpsc::channel(MESSAGES_AHEAD);
    let storing = tokio::spawn(blocking(move || store(inbox)));
    let mut cut_off = None;
    let silent = |_| Some(Err(silent()));
    while let Some(message) = timeout(PATIENCE, messages.next()).await.unwrap_or_else(silent) {
        let read = message.and_then(|message| {
            let read = message
                .into_iter()
                .map(frame_from_wire)
                .collect::<Result<Vec<_>, _>>();
            Ok(read?)
        });
        match read {
            Ok(read) => {
                // A closed channel means that storing failed; its result says how.
                if frames.send(read).await.is_err() {
                    break;
                }
            }
            Err(status) => {
                cut_off = Some(status);
                break;
            }
        }
    }
    drop(frames);
    let stored = storing.await.map_err(|ended| ended_early(&ended))?;
    cut_off.map_or(stored, Err)
}

/// Waits until one more may have a thread.
async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let turn = turns.clone().acquire_owned().await;
    turn.map_err(|_| Status::unavailable("the coordinator is shutting down"))
}

/// The next message, if it comes in time.
async fn patiently<T>(messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
    timeout(PATIENCE, messages.message())
        .await
        .unwrap_or_else(|_| Err(silent()))
}

fn silent() -> Status {
    Status::deadline_exceeded(format!("nothing came for {} s", PATIENCE.as_secs()))
}

fn ended_early(error: &tokio::task::JoinError) -> Status {
    Status::internal(format!("a thread that handled blobs ended early: {error}"))
}

/// Stores what comes until the sender goes away.
fn store_all(store: &PackStore, mut inbox: mpsc::Receiver<Vec<Frame>>) -> Result<(), PackError> {
    while let Some(frames) = inbox.blocking_recv() {
        frames
            .par_iter()
            .try_for_each(|frame| store.put(frame).map(drop))?;
    }
    Ok(())
}
