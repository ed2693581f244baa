//! Blobs that workers ask for during a run.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use thresh_core::digest::Digest;
use thresh_core::id::RunId;
use thresh_proto::MESSAGE_BYTES_MAX;
use thresh_proto::convert::{digests_from_wire, run_id_to_wire};
use thresh_proto::v1::DemandsRequest;
use thresh_proto::v1::blobs_client::BlobsClient;
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
            tracing::warn!("workers may have to do without debug sections for now: failed to {error}");
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
        let asked = digests_from_wire("digests", &demand.digests)?;
        let blobs = asked
            .iter()
            .filter_map(|digest| supplies.blobs.get_key_value(digest));
        let blobs: BTreeMap<Digest, BlobSource> =
            blobs.map(|(digest, source)| (*digest, source.clone())).collect();
        let sent = upload(channel.clone(), &blobs, supplies.memory.as_ref(), |_| ()).await?;
        if let Some(memory) = supplies.memory.clone() {
            let kept = tokio::task::spawn_blocking(move || memory.keep(&sent.shipped)).await;
            if let Ok(Err(error)) = kept {
                tracing::warn!("what is shipped is not remembered: failed to {error}");
            }
        }
    }
    Ok(())
}
