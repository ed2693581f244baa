//! What this worker gives to others of its site: chunks of the blobs that it has.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use thresh_cas::{BlobStore, pack, pack_against};
use thresh_core::chunk::{BASE_BYTES_MAX, CHUNK_BYTES_MAX};
use thresh_core::digest::Digest;
use thresh_proto::MESSAGE_BYTES_MAX;
use thresh_proto::convert::{bases_from_wire, digest_from_wire, frame_to_wire};
use thresh_proto::v1::peers_server::{Peers, PeersServer};
use thresh_proto::v1::{Frame, GetReply, GetRequest};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Requests that are answered at once; more wait. The coordinator sends no more here by itself.
const REQUESTS_MAX: usize = 8;
/// A connection that is silent for so long is asked whether it lives, and closed after as long again.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Who takes nothing for so long is given nothing more.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages between a thread and its connection.
const MESSAGES_AHEAD: usize = 3;
/// Chunks in one message: with the longest ones 1 MiB.
const FRAMES_MAX: usize = thresh_proto::FRAMES_BYTES_MAX / CHUNK_BYTES_MAX;

/// Serves other workers until it is dropped.
#[derive(Debug)]
pub(crate) struct PeerServer {
    serving: AbortHandle,
}

impl PeerServer {
    /// Listens at `address`. Must be called within a runtime.
    ///
    /// # Errors
    /// It is taken, or not this machine's.
    pub(crate) fn start(address: SocketAddr, store: BlobStore) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let service = Service {
            store,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
        };
        let serving = tokio::spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let peers = PeersServer::new(service).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let server = Server::builder()
                .http2_keepalive_interval(Some(KEEPALIVE))
                .http2_keepalive_timeout(Some(KEEPALIVE))
                .add_service(peers);
            if let Err(error) = server.serve_with_incoming(incoming).await {
                tracing::error!("other workers of the site are no longer served: {error}");
            }
        });
        Ok(Self {
            serving: serving.abort_handle(),
        })
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Service {
    store: BlobStore,
    requests: Arc<Semaphore>,
}

#[tonic::async_trait]
impl Peers for Service {
    type GetStream = ReceiverStream<Result<GetReply, Status>>;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<Self::GetStream>, Status> {
        let wanted = request.into_inner().chunks.into_iter().map(|wanted| {
            let digest = digest_from_wire("chunks.digest", &wanted.digest)?;
            Ok((digest, bases_from_wire("chunks.bases", &wanted.bases)?))
        });
        let wanted = wanted.collect::<Result<Vec<_>, Status>>()?;
        let turn = self.requests.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("the worker is ending"))?;
        let store = self.store.clone();
        let (replies, stream) = mpsc::channel(MESSAGES_AHEAD);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            send(&runtime, &store, &wanted, &replies);
            drop(turn);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Sends chunks until the receiver goes away, or one is not here.
fn send(
    runtime: &Handle,
    store: &BlobStore,
    wanted: &[(Digest, Vec<Digest>)],
    replies: &mpsc::Sender<Result<GetReply, Status>>,
) {
    for wanted in wanted.chunks(FRAMES_MAX) {
        let frames = wanted
            .par_iter()
            .map(|(digest, bases)| frame(store, digest, bases));
        let frames = frames.collect::<Option<Vec<Frame>>>();
        let reply = frames.ok_or_else(|| Status::not_found("a chunk is not here"));
        let reply = reply.map(|frames| GetReply {
            frames,
            elsewhere: None,
        });
        let failed = reply.is_err();
        // Who does not read would keep others from being served.
        let sent = runtime.block_on(replies.send_timeout(reply, PATIENCE));
        if sent.is_err() || failed {
            return;
        }
    }
}

fn frame(store: &BlobStore, digest: &Digest, bases: &[Digest]) -> Option<Frame> {
    let content = store.piece(digest)?;
    let frame = match base(store, bases) {
        Some(base) if !base.is_empty() => pack_against(*digest, &content, bases.to_vec(), &base),
        // Without them the whole is what there is.
        _ => pack(*digest, &content),
    };
    Some(frame_to_wire(frame))
}

/// The content of chunks together, if all are here, and no longer than it may be.
fn base(store: &BlobStore, bases: &[Digest]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    for base in bases {
        content.extend_from_slice(&store.piece(base)?);
        if content.len() > BASE_BYTES_MAX {
            return None;
        }
    }
    Some(content)
}
