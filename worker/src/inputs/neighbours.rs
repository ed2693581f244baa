//! Other workers of the site: what is asked of the coordinator about them, and of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use thresh_core::digest::Digest;
use thresh_proto::MESSAGE_BYTES_MAX;
use thresh_proto::causes;
use thresh_proto::convert::digest_to_wire;
use thresh_proto::v1::peers_client::PeersClient;
use thresh_proto::v1::sites_client::SitesClient;
use thresh_proto::v1::{GetReply, GetRequest, HoldRequest, SourceReply, SourceRequest, Wanted};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::assembly::FetchError;
use crate::session::Site;

/// A worker of one's own site answers soon, or is gone.
const CONNECTING_TIME: Duration = Duration::from_secs(2);
/// One that says nothing for so long may be frozen.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// The other workers of a site.
#[derive(Debug)]
pub(super) struct Neighbours {
    site: Site,
    connections: Mutex<BTreeMap<String, PeersClient<Channel>>>,
}

/// Where a blob is to be taken from. The place is this worker's until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// The worker that gives it; `None`: the coordinator.
    pub(super) address: Option<String>,
    /// The coordinator takes its end for the end of the fetch.
    _held: Option<Streaming<SourceReply>>,
}

impl Neighbours {
    pub(super) fn new(site: Site) -> Self {
        Self {
            site,
            connections: Mutex::default(),
        }
    }

    /// The order in which blobs are fetched: every worker begins elsewhere, so that each soon has what others lack.
    pub(super) fn in_order(&self, mut digests: Vec<Digest>) -> Vec<Digest> {
        let address = Digest::of(self.site.address.to_string().as_bytes());
        if !digests.is_empty() {
            let begin = usize::from(u16::from_le_bytes([address.as_bytes()[0], address.as_bytes()[1]]));
            let length = digests.len();
            digests.rotate_left(begin % length);
        }
        digests
    }

    /// Asks where to take a blob from. Where nobody can say so, it is the coordinator.
    pub(super) async fn place(&self, coordinator: Channel, digest: Digest, unable: &[String]) -> Place {
        let request = SourceRequest {
            digest: digest_to_wire(digest),
            site: self.site.name.clone(),
            address: self.site.address.to_string(),
            unable: unable.to_vec(),
        };
        let at_the_coordinator = Place {
            address: None,
            _held: None,
        };
        let Ok(answer) = SitesClient::new(coordinator).source(request).await else {
            return at_the_coordinator;
        };
        let mut answer = answer.into_inner();
        let Ok(Some(SourceReply { address })) = answer.message().await else {
            return at_the_coordinator;
        };
        Place {
            address: (!address.is_empty()).then_some(address),
            _held: Some(answer),
        }
    }

    /// Says that blobs are here.
    pub(super) async fn hold(&self, coordinator: Channel, digests: Vec<Digest>) {
        let request = HoldRequest {
            digests: digests.into_iter().map(digest_to_wire).collect(),
            site: self.site.name.clone(),
            address: self.site.address.to_string(),
        };
        if let Err(status) = SitesClient::new(coordinator).hold(request).await {
            // Others fetch them elsewhere.
            tracing::debug!("failed to offer blobs to the site: {}", status.message());
        }
    }

    /// Asks a worker for chunks.
    pub(super) async fn get(
        &self,
        address: &str,
        chunks: Vec<Wanted>,
    ) -> Result<Streaming<GetReply>, FetchError> {
        let mut client = self.client(address).await?;
        let request = GetRequest {
            chunks,
            elsewhere: false,
        };
        match in_time(client.get(request)).await {
            Ok(stream) => Ok(stream.into_inner()),
            Err(status) => {
                self.connections().remove(address);
                Err(FetchError::Status(status))
            }
        }
    }

    /// The next chunks of what a worker was asked for.
    pub(super) async fn next(
        &self,
        stream: &mut Streaming<GetReply>,
    ) -> Result<Option<GetReply>, FetchError> {
        in_time(stream.message()).await.map_err(FetchError::Status)
    }

    async fn client(&self, address: &str) -> Result<PeersClient<Channel>, FetchError> {
        if let Some(client) = self.connections().get(address) {
            return Ok(client.clone());
        }
        let failed = |error: tonic::transport::Error| FetchError::Connect(causes(&error));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
        let endpoint = endpoint.connect_timeout(CONNECTING_TIME).tcp_nodelay(true);
        let channel = tokio::time::timeout(CONNECTING_TIME, endpoint.connect())
            .await
            .map_err(|_| FetchError::Connect(format!("{address} does not answer")))?
            .map_err(failed)?;
        let client = PeersClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        self.connections().insert(address.to_owned(), client.clone());
        Ok(client)
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, PeersClient<Channel>>> {
        // Each change is a single step.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(SILENCE_MAX, answer)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("the worker says nothing")))
}
