//! Blobs that are one chunk each.

use thresh_core::chunk::Part;
use thresh_core::digest::Digest;
use thresh_proto::v1::PutRequest;
use tokio_stream::StreamExt;

use super::content::Content;
use super::put::Producer;
use super::shipment::BlobSource;
use super::upload::{Link, Sent, UploadError};

/// Sends blobs, each of them no longer than a chunk.
pub(super) async fn put_short(link: Link, blobs: Vec<(Digest, BlobSource)>) -> Result<Sent, UploadError> {
    let sent = Sent {
        blobs: blobs.len(),
        bytes: blobs.iter().map(|(_, source)| source.size()).sum(),
        ..Sent::default()
    };
    let (producer, frames) = Producer::start(link.shipped.clone(), move |sender| {
        sender.send_packed(&blobs, |(digest, source)| {
            let part = Part {
                digest: *digest,
                size: u32::try_from(source.size()).expect("it is no longer than a chunk"),
            };
            Ok(thresh_cas::pack(*digest, &Content::of(source)?.part(&part, 0)?))
        })
    });
    let messages = frames.map(|frames| PutRequest { frames });
    let reply = link.client.clone().put(messages).await;
    producer.reply(reply).await?;
    Ok(sent)
}
