//! Blobs that workers ask for during a run.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_proto::MESSAGE_BYTES_MAX;
use thresh_proto::convert::{digest_to_wire, digests_from_wire, run_id_to_wire};
use thresh_proto::v1::blobs_client::BlobsClient;
use thresh_proto::v1::{CannotBringRequest, DemandsRequest};
use tonic::Code;
use tonic::transport::Channel;

use super::memory::Memory;
use super::shipment::BlobSource;
use super::upload::{UploadError, upload};

/// Between two attempts to hear what is asked for.
const PAUSE: Duration = Duration::from_secs(1);

/// What a client can bring during a run.
#[derive(Debug)]
pub struct Supplies {
    /// The blobs.
    pub blobs: BTreeMap<Digest, BlobSource>,
    /// Makes what is sent less.
    pub memory: Option<Memory>,
}

/// Sends what workers ask for, until it is dropped. A blob that cannot be sent costs lines in a backtrace, no verdict.
pub async fn supply(channel: Channel, run: RunId, supplies: Supplies) -> Infallible {
    loop {
        if let Err(error) = serve(&channel, run, &supplies).await {
            tracing::warn!("what workers ask for is not heard for a moment: failed to {error}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn serve(channel: &Channel, run: RunId, supplies: &Supplies) -> Result<(), UploadError> {
    let mut client = BlobsClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = DemandsRequest {
        run_id: run_id_to_wire(run),
    };
    let mut demands = client.demands(request).await?.into_inner();
    while let Some(demand) = demands.message().await? {
        for digest in digests_from_wire("digests", &demand.digests)? {
            if let Err(error) = bring(channel, supplies, digest).await {
                if is_cut_off(&error) {
                    return Err(error);
                }
                let request = CannotBringRequest {
                    run_id: run_id_to_wire(run),
                    digest: digest_to_wire(digest),
                    message: error.to_string(),
                };
                tracing::warn!("a backtrace may lack lines: failed to {error}");
                client.cannot_bring(request).await?;
            }
        }
    }
    Ok(())
}

/// Whether the farm could not be reached: then the demand will be heard again. What failed otherwise, for a file that
/// cannot be read or a farm that has no room, would fail again.
fn is_cut_off(error: &UploadError) -> bool {
    match error {
        UploadError::Refused(status) => {
            matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
        }
        _ => false,
    }
}

/// Sends a blob, if it is one that may be asked for.
async fn bring(channel: &Channel, supplies: &Supplies, digest: Digest) -> Result<(), UploadError> {
    let Some(source) = supplies.blobs.get(&digest) else {
        return Err(UploadError::Unknown(digest));
    };
    let blobs = BTreeMap::from([(digest, source.clone())]);
    let sent = upload(channel.clone(), &blobs, supplies.memory.as_ref(), |_| ()).await?;
    if let Some(memory) = supplies.memory.clone() {
        // Without it the next version is shipped whole.
        let _ = tokio::task::spawn_blocking(move || memory.remember(&sent.shipped)).await;
    }
    Ok(())
}
