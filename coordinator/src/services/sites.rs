//! Which worker of a site takes a blob from which.

use std::pin::Pin;

use thresh_core::spread::{Source, Wish};
use thresh_proto::convert::{digest_from_wire, digests_from_wire};
use thresh_proto::v1;
use thresh_proto::v1::sites_server::Sites;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::Shared;

/// The longest name of a site, and address, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Addresses that could not give a blob.
const UNABLE_MAX: usize = 64;

/// See [`Sites`].
pub(crate) struct SitesService {
    shared: Shared,
}

impl SitesService {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

#[tonic::async_trait]
impl Sites for SitesService {
    type SourceStream = Pin<Box<dyn Stream<Item = Result<v1::SourceReply, Status>> + Send>>;

    async fn source(
        &self,
        request: Request<v1::SourceRequest>,
    ) -> Result<Response<Self::SourceStream>, Status> {
        let v1::SourceRequest {
            digest,
            site,
            address,
            unable,
        } = request.into_inner();
        let digest = digest_from_wire("digest", &digest)?;
        check_peer(&site, &address)?;
        if unable.len() > UNABLE_MAX {
            return Err(Status::invalid_argument(format!(
                "unable: more than {UNABLE_MAX} addresses"
            )));
        }
        let mut wanting = self.shared.peers.want(Wish {
            number: 0,
            site,
            digest,
            address,
            unable: unable.into_iter().collect(),
        });
        let source = wanting.answer().await;
        let address = match source {
            Source::Store => String::new(),
            Source::Peer(address) => address,
        };
        let answer = tokio_stream::once(Ok(v1::SourceReply { address }));
        // The stream holds the place until the worker ends it.
        let held = tokio_stream::pending().map(move |(): ()| {
            let _ = &wanting;
            Ok(v1::SourceReply::default())
        });
        Ok(Response::new(Box::pin(answer.chain(held))))
    }

    async fn hold(&self, request: Request<v1::HoldRequest>) -> Result<Response<v1::HoldReply>, Status> {
        let v1::HoldRequest {
            digests,
            site,
            address,
        } = request.into_inner();
        check_peer(&site, &address)?;
        let digests = digests_from_wire("digests", &digests)?;
        self.shared.peers.hold(&site, &digests, &address);
        Ok(Response::new(v1::HoldReply {}))
    }
}

/// Names of sites and addresses are short.
fn check_peer(site: &str, address: &str) -> Result<(), Status> {
    if address.is_empty() || address.len() > NAME_BYTES_MAX || site.len() > NAME_BYTES_MAX {
        return Err(Status::invalid_argument(format!(
            "site, address: an address is needed, and no more than {NAME_BYTES_MAX} bytes of each"
        )));
    }
    Ok(())
}
