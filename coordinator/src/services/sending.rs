//! How chunks go out: as they are, or by the place where the receiver can read them.

use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use thresh_cas::PackStore;
use thresh_core::chunk::CHUNK_BYTES_MAX;
use thresh_core::digest::Digest;
use thresh_core::reading::{Located, Way, ways};
use thresh_proto::convert::{digest_to_wire, frame_to_wire};
use thresh_proto::v1;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tonic::Status;

use super::blobs::blocking;
use super::status;
use crate::bucket::Bucket;

/// Chunks in one message that goes out: with the longest chunks, 1 MiB.
const FRAMES_MAX: usize = thresh_proto::FRAMES_BYTES_MAX / CHUNK_BYTES_MAX;

/// A chunk, and those that the receiver has and that it may be packed against.
pub(super) type Wanted = (Digest, Vec<Digest>);

/// Who takes nothing for so long is sent nothing more: it would keep a thread from others.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a thread sends to a connection.
pub(super) struct Outbox {
    replies: mpsc::Sender<Result<v1::GetReply, Status>>,
    runtime: Handle,
}

impl Outbox {
    /// Must be called within a runtime.
    pub(super) fn new(replies: mpsc::Sender<Result<v1::GetReply, Status>>) -> Self {
        Self {
            replies,
            runtime: Handle::current(),
        }
    }

    /// Returns whether anybody takes it. Blocks.
    fn send(&self, reply: Result<v1::GetReply, Status>) -> bool {
        let sent = self.replies.send_timeout(reply, PATIENCE);
        self.runtime.block_on(sent).is_ok()
    }
}

/// How a few chunks that follow one another go out.
pub(super) enum Part {
    /// As they are: so many of them.
    Here(usize),
    /// By the place where they are.
    Elsewhere(usize, v1::Elsewhere),
}

/// Decides what of the chunks is to be read in the bucket.
pub(super) async fn find_parts(
    bucket: &Bucket,
    store: &PackStore,
    wanted: &Arc<Vec<Wanted>>,
) -> Result<Vec<Part>, Status> {
    let (store, kept, asked) = (store.clone(), bucket.clone(), wanted.clone());
    let ways = blocking(move || {
        let places = asked.iter().map(|(digest, bases)| {
            let place = store.place_of(digest, bases);
            place.filter(|place| kept.has(&place.pack))
        });
        Ok(ways(&places.collect::<Vec<_>>()))
    });
    let (mut parts, mut at) = (Vec::new(), 0);
    for way in ways.await? {
        let part = match way {
            Way::Here(count) => Part::Here(count),
            Way::Elsewhere(pack, places) => match bucket.signed(&pack).await {
                Ok(url) => Part::Elsewhere(places.len(), elsewhere_to_wire(url, &wanted[at..], &places)),
                Err(error) => {
                    tracing::warn!("failed to {error}; blobs come from here");
                    Part::Here(places.len())
                }
            },
        };
        at += part.count();
        parts.push(part);
    }
    Ok(parts)
}

fn elsewhere_to_wire(url: String, wanted: &[Wanted], places: &[Located]) -> v1::Elsewhere {
    let records = wanted.iter().zip(places).map(|((digest, _), place)| v1::Record {
        digest: digest_to_wire(*digest),
        offset: place.offset,
        size_bytes: u32::try_from(place.bytes).unwrap_or(u32::MAX),
        against_bases: place.against_bases,
    });
    v1::Elsewhere {
        url,
        records: records.collect(),
    }
}

impl Part {
    fn count(&self) -> usize {
        match self {
            Self::Here(count) | Self::Elsewhere(count, _) => *count,
        }
    }
}

/// Sends chunks, their places, or why one cannot be had, until the receiver goes away.
pub(super) fn read_all(store: &PackStore, wanted: &[Wanted], parts: Vec<Part>, outbox: &Outbox) {
    let mut rest = wanted;
    for part in parts {
        let (of_part, after) = rest.split_at(part.count());
        rest = after;
        let goes_on = match part {
            Part::Here(_) => read_here(store, of_part, outbox),
            Part::Elsewhere(_, elsewhere) => {
                let reply = v1::GetReply {
                    elsewhere: Some(elsewhere),
                    ..v1::GetReply::default()
                };
                outbox.send(Ok(reply))
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// Sends chunks. Returns whether all went well.
fn read_here(store: &PackStore, wanted: &[Wanted], outbox: &Outbox) -> bool {
    for wanted in wanted.chunks(FRAMES_MAX) {
        let frames = wanted
            .par_iter()
            .map(|(digest, bases)| store.frame_against(digest, bases));
        let reply = match frames.collect::<Result<Vec<_>, _>>() {
            Ok(frames) => Ok(v1::GetReply {
                frames: frames.into_iter().map(frame_to_wire).collect(),
                elsewhere: None,
            }),
            Err(error) => {
                // What is damaged is dropped as it is read: all of it at once, or each request would come upon the next.
                wanted
                    .par_iter()
                    .for_each(|(digest, bases)| drop(store.frame_against(digest, bases)));
                Err(status::of_blob(&error))
            }
        };
        let failed = reply.is_err();
        if !outbox.send(reply) || failed {
            return false;
        }
    }
    true
}
