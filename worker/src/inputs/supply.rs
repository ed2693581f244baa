//! Where chunks come from: the coordinator, the object store that it points to, or another worker of the site.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use thresh_proto::MESSAGE_BYTES_MAX;
use thresh_proto::causes;
use thresh_proto::v1::blobs_client::BlobsClient;
use thresh_proto::v1::{Elsewhere, GetReply, GetRequest, Wanted};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::assembly::FetchError;
use super::elsewhere::ObjectReader;
use super::neighbours::Neighbours;
use crate::session::{Coordinator, Site};

/// What is read elsewhere at once, for one fetch: with the longest readings 12 MiB.
const READINGS_MAX: usize = 3;

/// A worker that gives less than about 256 KiB a second is not waited for.
const PEER_TIME: Duration = Duration::from_secs(10);
const PEER_TIME_PER_CHUNK: Duration = Duration::from_millis(500);

/// Brings chunks. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Supply {
    coordinator: Coordinator,
    /// A connection of its own, so that large blobs do not hold up heartbeats.
    channel: Arc<Mutex<Option<Channel>>>,
    objects: ObjectReader,
    neighbours: Option<Arc<Neighbours>>,
}

/// A part of what was asked for, in order.
enum Ahead {
    There(GetReply),
    Reading(Reading),
}

/// What is being read elsewhere; it ends with whoever waits for it.
struct Reading(JoinHandle<Result<Vec<GetReply>, FetchError>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Supply {
    pub(super) fn new(coordinator: Coordinator, site: Option<Site>) -> Self {
        Self {
            coordinator,
            channel: Arc::default(),
            objects: ObjectReader::new(),
            neighbours: site.map(|site| Arc::new(Neighbours::new(site))),
        }
    }

    pub(super) fn neighbours(&self) -> Option<&Neighbours> {
        self.neighbours.as_deref()
    }

    /// Brings chunks, in order, from the coordinator or where it points to.
    pub(super) async fn chunks(
        &self,
        chunks: Vec<Wanted>,
        replies: mpsc::Sender<GetReply>,
    ) -> Result<(), FetchError> {
        if chunks.is_empty() {
            return Ok(());
        }
        let elsewhere = self.objects.is_on();
        let asked: Arc<BTreeMap<_, _>> = if elsewhere {
            let by_digest = chunks
                .iter()
                .map(|wanted| (wanted.digest.clone(), wanted.clone()));
            Arc::new(by_digest.collect())
        } else {
            Arc::default()
        };
        let mut stream = self.get(GetRequest { chunks, elsewhere }).await?;
        let mut ahead = VecDeque::new();
        while let Some(reply) = stream.message().await.map_err(FetchError::Status)? {
            ahead.push_back(match reply.elsewhere {
                Some(elsewhere) => {
                    let (supply, asked) = (self.clone(), asked.clone());
                    let reading = async move { supply.read(elsewhere, &asked).await };
                    Ahead::Reading(Reading(tokio::spawn(reading)))
                }
                None => Ahead::There(reply),
            });
            while ahead.len() > READINGS_MAX || matches!(ahead.front(), Some(Ahead::There(_))) {
                if !pass_on(ahead.pop_front(), &replies).await? {
                    return Ok(());
                }
            }
        }
        while !ahead.is_empty() {
            if !pass_on(ahead.pop_front(), &replies).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Brings chunks from another worker.
    pub(super) async fn chunks_of_peer(
        &self,
        address: &str,
        chunks: Vec<Wanted>,
        replies: mpsc::Sender<GetReply>,
    ) -> Result<(), FetchError> {
        let Some(neighbours) = self.neighbours() else {
            return Err(FetchError::Connect("this worker belongs to no site".to_owned()));
        };
        let time = PEER_TIME + PEER_TIME_PER_CHUNK * u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        let bringing = async {
            let mut stream = neighbours.get(address, chunks).await?;
            while let Some(reply) = neighbours.next(&mut stream).await? {
                if reply.frames.is_empty() {
                    return Err(FetchError::Unasked);
                }
                if replies.send(reply).await.is_err() {
                    // The thread gave up; it says why.
                    break;
                }
            }
            Ok(())
        };
        let brought = tokio::time::timeout(time, bringing).await;
        brought.unwrap_or_else(|_| Err(FetchError::Connect(format!("{address} is too slow"))))
    }

    /// Reads chunks where they are kept; from the coordinator when that does not work.
    async fn read(
        &self,
        elsewhere: Elsewhere,
        asked: &BTreeMap<prost::bytes::Bytes, Wanted>,
    ) -> Result<Vec<GetReply>, FetchError> {
        let again = |record: &thresh_proto::v1::Record| asked.get(&record.digest).cloned();
        let chunks: Option<Vec<Wanted>> = elsewhere.records.iter().map(again).collect();
        let chunks = chunks.ok_or(FetchError::Unasked)?;
        // Another reading may have failed since the chunks were asked for.
        if self.objects.is_on() {
            match self.objects.read(&elsewhere, &chunks).await {
                Ok(reply) => return Ok(vec![reply]),
                Err(why) => self.objects.failed(&why),
            }
        }
        let request = GetRequest {
            chunks,
            elsewhere: false,
        };
        let mut stream = self.get(request).await?;
        let mut replies = Vec::new();
        while let Some(reply) = stream.message().await.map_err(FetchError::Status)? {
            replies.push(reply);
        }
        Ok(replies)
    }

    async fn get(&self, request: GetRequest) -> Result<Streaming<GetReply>, FetchError> {
        match self.client().await?.get(request).await {
            Ok(stream) => Ok(stream.into_inner()),
            Err(status) => Err(self.failed(status).await),
        }
    }

    /// What a call that failed means.
    pub(super) async fn failed(&self, status: tonic::Status) -> FetchError {
        if status.code() == Code::Unavailable {
            // The next try connects anew.
            *self.channel.lock().await = None;
        }
        FetchError::Status(status)
    }

    /// Asks the coordinator for blobs.
    pub(super) async fn client(&self) -> Result<BlobsClient<Channel>, FetchError> {
        let channel = self.channel().await?;
        Ok(BlobsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// The connection to the coordinator.
    pub(super) async fn channel(&self) -> Result<Channel, FetchError> {
        let mut channel = self.channel.lock().await;
        if let Some(channel) = &*channel {
            return Ok(channel.clone());
        }
        let connected = self.coordinator.connect().await;
        let connected = connected.map_err(|error| FetchError::Connect(causes(&*error)))?;
        Ok(channel.insert(connected).clone())
    }
}

/// Hands on what has come. Returns whether anybody takes more.
async fn pass_on(ahead: Option<Ahead>, replies: &mpsc::Sender<GetReply>) -> Result<bool, FetchError> {
    let ready = match ahead {
        None => return Ok(true),
        Some(Ahead::There(reply)) => vec![reply],
        Some(Ahead::Reading(mut reading)) => (&mut reading.0)
            .await
            .map_err(|ended| FetchError::Connect(ended.to_string()))??,
    };
    for reply in ready {
        if replies.send(reply).await.is_err() {
            // The thread gave up; it says why.
            return Ok(false);
        }
    }
    Ok(true)
}
