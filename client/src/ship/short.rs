//! Blobs that are one chunk each.

use std::fs;

use thresh_core::digest::Digest;
use thresh_proto::v1::PutRequest;
use tokio_stream::StreamExt;

use super::put::Producer;
use super::shipment::BlobSource;
use super::upload::{Link, Sent, UploadError};

/// Sends blobs, each of them no longer than a chunk.
pub(super) async fn put_short(link: Link, blobs: Vec<(Digest, BlobSource)>) -> Result<Sent, UploadError> {
    let sent = Sent {
        blobs: blobs.len(),
        bytes: blobs.iter().map(|(_, source)| source.size()).sum(),
        shipped: None,
    };
    let (producer, frames) = Producer::start(link.shipped.clone(), move |sender| {
        sender.send_packed(&blobs, |(digest, source)| {
            Ok(thresh_cas::pack(*digest, &content_of(digest, source)?))
        })
    });
    let messages = frames.map(|frames| PutRequest { frames });
    let reply = link.client.clone().put(messages).await;
    producer.reply(reply).await?;
    Ok(sent)
}

fn content_of(digest: &Digest, source: &BlobSource) -> Result<Vec<u8>, UploadError> {
    match source {
        BlobSource::Bytes(bytes) => Ok(bytes.clone()),
        BlobSource::File { path, .. } => {
            let content = fs::read(path).map_err(UploadError::file(path))?;
            if Digest::of(&content) != *digest {
                return Err(UploadError::Changed(path.clone()));
            }
            Ok(content)
        }
    }
}
